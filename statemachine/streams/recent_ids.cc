#include "statemachine/streams/recent_ids.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "statemachine/streams/stream_records.h"

namespace tailrace::statemachine {
namespace {

constexpr size_t kHeaderBytes = 8, kEntryBytesOfId = 24;
constexpr size_t kLeastRoom = 4;
constexpr StreamVersion kNotThere = UINT64_MAX;

struct Ring {
  uint16_t room = 0, count = 0, begin = 0, reserved = 0;
};
static_assert(sizeof(Ring) == kHeaderBytes && ring_bytes(1) == kHeaderBytes + kEntryBytesOfId &&
              sizeof(EventId) + sizeof(StreamVersion) == kEntryBytesOfId);

Ring ring_of(ByteSpan bytes) {
  return bytes.empty() ? Ring{} : load<Ring>(bytes.data());
}

size_t place_in(const Ring& ring, size_t number) {
  return kHeaderBytes + (ring.begin + number) % ring.room * kEntryBytesOfId;
}
EventId id_at(ByteSpan bytes, const Ring& ring, size_t number) {
  return load<EventId>(bytes.data() + place_in(ring, number));
}
StreamVersion version_at(ByteSpan bytes, const Ring& ring, size_t number) {
  return load<StreamVersion>(bytes.data() + place_in(ring, number) + sizeof(EventId));
}

void put_header(std::string& bytes, const Ring& ring) {
  std::memcpy(bytes.data(), &ring, sizeof ring);
}
void put_entry(std::string& bytes, const Ring& ring, size_t number, EventId id,
               StreamVersion version) {
  char* const at = bytes.data() + place_in(ring, number);
  std::memcpy(at, &id, sizeof id);
  std::memcpy(at + sizeof id, &version, sizeof version);
}

/// The same ids, the last `most` of them, in a ring with so much room.
void move_ring(std::string& bytes, size_t room, size_t most) {
  const Ring was = ring_of(as_bytes(bytes));
  const size_t keep = std::min<size_t>(was.count, most);
  Ring ring{static_cast<uint16_t>(room), static_cast<uint16_t>(keep), 0, 0};
  std::string moved(ring_bytes(room), '\0');
  put_header(moved, ring);
  for (size_t i = 0; i < keep; ++i) {
    const size_t from = was.count - keep + i;
    put_entry(moved, ring, i, id_at(as_bytes(bytes), was, from),
              version_at(as_bytes(bytes), was, from));
  }
  bytes = std::move(moved);
}

}  // namespace

size_t count_of_ids(ByteSpan ring) {
  return ring_of(ring).count;
}

Result<> check_ring(ByteSpan bytes) {
  if (bytes.size() < kHeaderBytes) return damaged_stream("a list of recent ids");
  const Ring ring = ring_of(bytes);
  if (ring.room == 0 || ring.room > kMostDedupe || bytes.size() != ring_bytes(ring.room) ||
      ring.count > ring.room || ring.begin >= ring.room || ring.reserved != 0)
    return damaged_stream("a list of recent ids");
  return {};
}

IdMatch IdMatcher::match(ByteSpan bytes, std::span<const EventId> batch) {
  if (batch.size() == 1) return match_one(bytes, batch[0]);
  size_t repeated = 0;
  if (!sort(batch, repeated)) return {IdMatch::Kind::kRepeated, 0, repeated};
  versions_.assign(batch.size(), kNotThere);
  size_t found = 0;
  const Ring ring = ring_of(bytes);
  for (size_t i = 0; i < ring.count && !sorted_.empty(); ++i) {
    const EventId id = id_at(bytes, ring, i);
    const auto at = std::lower_bound(
        sorted_.begin(), sorted_.end(), id,
        [](const Wanted& wanted, const EventId& other) { return wanted.id < other; });
    if (at == sorted_.end() || at->id != id) continue;
    versions_[at->index] = version_at(bytes, ring, i);
    ++found;
  }
  if (found == 0) return {};
  const StreamVersion first = versions_[0];
  for (size_t i = 0; i < batch.size(); ++i)
    if (found != batch.size() || versions_[i] != first + i) {
      const auto known = std::find_if(versions_.begin(), versions_.end(),
                                      [](StreamVersion version) { return version != kNotThere; });
      return {IdMatch::Kind::kPartial, 0, static_cast<size_t>(known - versions_.begin())};
    }
  return {IdMatch::Kind::kReplayed, first, 0};
}

IdMatch IdMatcher::match_one(ByteSpan bytes, EventId id) const {
  if (!id.is_given()) return {};
  const Ring ring = ring_of(bytes);
  // The newest first: what is sent again was sent a moment ago.
  for (size_t i = ring.count; i-- > 0;)
    if (id_at(bytes, ring, i) == id)
      return {IdMatch::Kind::kReplayed, version_at(bytes, ring, i), 0};
  return {};
}

/// False when two events have one id.
bool IdMatcher::sort(std::span<const EventId> batch, size_t& repeated) {
  sorted_.clear();
  for (size_t i = 0; i < batch.size(); ++i)
    if (batch[i].is_given()) sorted_.push_back({batch[i], i});
  std::sort(sorted_.begin(), sorted_.end(), [](const Wanted& left, const Wanted& right) {
    return std::tie(left.id, left.index) < std::tie(right.id, right.index);
  });
  std::optional<size_t> first;
  for (size_t i = 1; i < sorted_.size(); ++i)
    if (sorted_[i].id == sorted_[i - 1].id)
      first = std::min(first.value_or(SIZE_MAX), sorted_[i].index);
  repeated = first.value_or(0);
  return !first;
}

bool remember_ids(std::string& bytes, std::span<const EventId> batch, StreamVersion first,
                  uint32_t dedupe) {
  const auto given = static_cast<size_t>(
      std::count_if(batch.begin(), batch.end(), [](EventId id) { return id.is_given(); }));
  if (given == 0 || dedupe == 0) return false;
  Ring ring = ring_of(as_bytes(bytes));
  const size_t wanted = std::min<size_t>(ring.count + given, dedupe);
  if (wanted > ring.room) {
    size_t room = kLeastRoom;
    while (room < wanted)
      room *= 2;
    move_ring(bytes, std::min<size_t>(room, dedupe), dedupe);
    ring = ring_of(as_bytes(bytes));
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!batch[i].is_given()) continue;
    if (ring.count == ring.room) {
      ring.begin = static_cast<uint16_t>((ring.begin + 1) % ring.room);
      --ring.count;
    }
    put_entry(bytes, ring, ring.count++, batch[i], first + i);
  }
  put_header(bytes, ring);
  return true;
}

void limit_ids(std::string& bytes, uint32_t dedupe) {
  const Ring ring = ring_of(as_bytes(bytes));
  if (ring.room <= dedupe) return;
  if (dedupe == 0) return bytes.clear();
  move_ring(bytes, dedupe, dedupe);
}

}  // namespace tailrace::statemachine
