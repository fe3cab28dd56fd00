#include "statemachine/streams/stream_records.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace tailrace::statemachine {
namespace {

constexpr uint8_t kHeadFormat = 1;
constexpr size_t kHeadBytes = 48, kHeadPolicyBytes = 16, kPlaceBytes = 8;
constexpr size_t kNumbersBytes = 24, kDroppedBytes = 16;
static_assert(kPageBytes == 520 && EventPlace::kAddressEnd == uint64_t{1} << 48);

// The second byte of a head.
constexpr uint8_t kIsDeleted = 1, kIsTombstoned = 2, kRemembersIds = 4, kHasPolicy = 8;
constexpr uint8_t kHeadFlags = kIsDeleted | kIsTombstoned | kRemembersIds | kHasPolicy;

template <typename T>
T field_at(ByteSpan bytes, size_t at) {
  return load<T>(bytes.data() + at);
}

template <typename T>
void set_field(std::string& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

/// So that pairs of one kind sort by their numbers.
template <typename T>
void append_big_endian(std::string& to, T number) {
  for (int shift = 8 * (sizeof number - 1); shift >= 0; shift -= 8)
    to.push_back(static_cast<char>(number >> shift));
}

uint64_t packed(EventPlace place) {
  return place.record_address << EventPlace::kOrdinalBits | place.ordinal;
}
EventPlace unpacked(uint64_t place) {
  return {place >> EventPlace::kOrdinalBits, static_cast<uint16_t>(place)};
}

/// Room for so many events: 2, 4 or 8, and 8 for good once there were more. A head that keeps its
/// length is written in place.
size_t inline_room(const StreamHead& head) {
  if (head.tombstoned) return 0;
  if (head.next > StreamHead::kMostInline) return StreamHead::kMostInline;
  return std::max<size_t>(2, std::bit_ceil(static_cast<size_t>(head.next)));
}

size_t offset_on_page(StreamVersion version) {
  return 8 + version % kPageEvents * kPlaceBytes;
}

bool has_policy(const StreamPolicy& policy) {
  return policy.max_count != 0 || policy.max_age_ns != 0;
}

}  // namespace

tl::unexpected<Error> damaged_stream(std::string_view what) {
  return make_error(ErrorCode::kCorruption,
                    std::string(what) +
                        " in the store does not parse; remove the newest checkpoint or copy the "
                        "state from a peer");
}

void head_key(std::string_view stream, std::string& into) {
  into.assign(1, kHeadKey);
  into.append(stream);
}

void page_key(uint64_t dense_id, uint64_t page, std::string& into) {
  into.assign(1, kPageKey);
  append_big_endian(into, dense_id);
  append_big_endian(into, static_cast<uint32_t>(page));
}

void ids_key(uint64_t dense_id, std::string& into) {
  into.assign(1, kIdsKey);
  append_big_endian(into, dense_id);
}

void dropped_key(uint64_t number, std::string& into) {
  into.assign(1, kDroppedKey);
  append_big_endian(into, number);
}

void encode_head(const StreamHead& head, std::string& into) {
  uint8_t flags = head.deleted ? kIsDeleted : 0;
  if (head.tombstoned) flags |= kIsTombstoned;
  if (head.remembers_ids) flags |= kRemembersIds;
  if (has_policy(head.policy)) flags |= kHasPolicy;
  const size_t policy_bytes = has_policy(head.policy) ? kHeadPolicyBytes : 0;
  const size_t room = inline_room(head);
  into.assign(kHeadBytes + policy_bytes + room * kPlaceBytes, '\0');
  set_field(into, 0, kHeadFormat);
  set_field(into, 1, flags);
  set_field(into, 2, static_cast<uint8_t>(room));
  set_field(into, 3, static_cast<uint8_t>(head.inline_count));
  set_field(into, 4, head.policy.dedupe);
  set_field(into, 8, head.dense_id);
  set_field(into, 16, head.next);
  set_field(into, 24, head.first);
  set_field(into, 32, packed(head.last_place));
  set_field(into, 40, head.last_time_ns);
  if (policy_bytes != 0) {
    set_field(into, kHeadBytes, head.policy.max_count);
    set_field(into, kHeadBytes + 8, head.policy.max_age_ns);
  }
  for (size_t i = 0; i < head.inline_count; ++i)
    set_field(into, kHeadBytes + policy_bytes + i * kPlaceBytes, packed(head.inlined[i]));
}

Result<StreamHead> decode_head(ByteSpan value) {
  constexpr std::string_view kWhat = "the head of a stream";
  if (value.empty()) return damaged_stream(kWhat);
  if (const auto format = field_at<uint8_t>(value, 0); format > kHeadFormat)
    return make_error(ErrorCode::kUnsupported,
                      "the head of a stream is of format " + std::to_string(format) +
                          ", this version knows " + std::to_string(kHeadFormat) +
                          "; upgrade this node");
  if (value.size() < kHeadBytes || field_at<uint8_t>(value, 0) != kHeadFormat)
    return damaged_stream(kWhat);
  const auto flags = field_at<uint8_t>(value, 1);
  const size_t room = field_at<uint8_t>(value, 2), count = field_at<uint8_t>(value, 3);
  const size_t policy_bytes = (flags & kHasPolicy) != 0 ? kHeadPolicyBytes : 0;
  if ((flags & ~kHeadFlags) != 0 || count > room || room > StreamHead::kMostInline ||
      value.size() != kHeadBytes + policy_bytes + room * kPlaceBytes)
    return damaged_stream(kWhat);
  StreamHead head;
  head.deleted = (flags & kIsDeleted) != 0;
  head.tombstoned = (flags & kIsTombstoned) != 0;
  head.remembers_ids = (flags & kRemembersIds) != 0;
  head.inline_count = count;
  head.policy.dedupe = field_at<uint32_t>(value, 4);
  head.dense_id = field_at<uint64_t>(value, 8);
  head.next = field_at<uint64_t>(value, 16);
  head.first = field_at<uint64_t>(value, 24);
  head.last_place = unpacked(field_at<uint64_t>(value, 32));
  head.last_time_ns = field_at<uint64_t>(value, 40);
  if (policy_bytes != 0) {
    head.policy.max_count = field_at<uint64_t>(value, kHeadBytes);
    head.policy.max_age_ns = field_at<uint64_t>(value, kHeadBytes + 8);
  }
  if (head.dense_id == 0 || head.next > kVersionEnd || head.first > head.next ||
      count > head.next || room != inline_room(head) || head.policy.dedupe > kMostDedupe ||
      has_policy(head.policy) != (policy_bytes != 0))
    return damaged_stream(kWhat);
  for (size_t i = 0; i < room; ++i) {
    const auto place = field_at<uint64_t>(value, kHeadBytes + policy_bytes + i * kPlaceBytes);
    if (i >= count && place != 0) return damaged_stream(kWhat);
    if (i < count) head.inlined[i] = unpacked(place);
  }
  return head;
}

std::string encode_numbers(const StreamNumbers& numbers) {
  std::string value(kNumbersBytes, '\0');
  set_field(value, 0, numbers.next_dense_id);
  set_field(value, 8, numbers.first_dropped);
  set_field(value, 16, numbers.end_dropped);
  return value;
}

Result<StreamNumbers> decode_numbers(ByteSpan value) {
  constexpr std::string_view kWhat = "the numbers of all streams";
  if (value.size() != kNumbersBytes) return damaged_stream(kWhat);
  const StreamNumbers numbers{field_at<uint64_t>(value, 0), field_at<uint64_t>(value, 8),
                              field_at<uint64_t>(value, 16)};
  if (numbers.next_dense_id == 0 || numbers.first_dropped > numbers.end_dropped)
    return damaged_stream(kWhat);
  return numbers;
}

std::string encode_dropped(const DroppedPages& dropped) {
  std::string value(kDroppedBytes, '\0');
  set_field(value, 0, dropped.dense_id);
  set_field(value, 8, static_cast<uint32_t>(dropped.from));
  set_field(value, 12, static_cast<uint32_t>(dropped.to));
  return value;
}

Result<DroppedPages> decode_dropped(ByteSpan value) {
  constexpr std::string_view kWhat = "a list of pages to be removed";
  if (value.size() != kDroppedBytes) return damaged_stream(kWhat);
  const DroppedPages dropped{field_at<uint64_t>(value, 0), field_at<uint32_t>(value, 8),
                             field_at<uint32_t>(value, 12)};
  if (dropped.from >= dropped.to) return damaged_stream(kWhat);
  return dropped;
}

Result<> check_page(ByteSpan value) {
  if (value.size() != kPageBytes) return damaged_stream("a page of a stream");
  return {};
}

EventPlace place_on(ByteSpan page, StreamVersion version) {
  return unpacked(field_at<uint64_t>(page, offset_on_page(version)));
}

void set_place_on(std::string& page, StreamVersion version, EventPlace place) {
  set_field(page, offset_on_page(version), packed(place));
}

uint64_t time_of_page(ByteSpan page) {
  return field_at<uint64_t>(page, 0);
}

void set_time_of_page(std::string& page, uint64_t time_ns) {
  set_field(page, 0, time_ns);
}

}  // namespace tailrace::statemachine
