#include "history/format/entries.h"

#include <algorithm>
#include <string>

#include <xxhash.h>

#include "core/random.h"
#include "core/varint.h"
#include "history/format/layout.h"

namespace tailrace::history {

namespace {

using statemachine::ContentType;
using statemachine::EventIdBytes;

enum EntryFlags : uint8_t {
  kEntryHasId = 1,
  kEntryHasType = 2,
  kEntryHasTags = 4,
  kEntryHasMetadata = 8,
};
constexpr int kContentTypeShift = 4;

// No name that a client chooses makes the table slow.
uint64_t hash_of(std::string_view text) {
  static const uint64_t seed = random_seed();
  return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}

uint8_t flags_of(const EventEntry& entry) {
  return static_cast<uint8_t>(
      (entry.id ? kEntryHasId : 0) | (entry.type.empty() ? 0 : kEntryHasType) |
      (entry.tags.empty() ? 0 : kEntryHasTags) | (entry.metadata.empty() ? 0 : kEntryHasMetadata) |
      static_cast<uint8_t>(entry.content_type) << kContentTypeShift);
}

Result<> check_bytes(const char* field, size_t bytes, size_t least, size_t most) {
  if (bytes >= least && bytes <= most) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    std::string(field) + " is " + std::to_string(bytes) + " bytes long, " +
                        std::to_string(least) + " to " + std::to_string(most) + " are allowed");
}

}  // namespace

void TextTable::clear() {
  texts_.clear();
  std::fill(slots_.begin(), slots_.end(), 0);
}

std::pair<uint32_t, bool> TextTable::find_or_add(std::string_view text, ByteSpan block, size_t at) {
  if (texts_.size() * 2 >= slots_.size()) grow();
  const uint64_t hash = hash_of(text);
  const size_t mask = slots_.size() - 1;
  size_t slot = hash & mask;
  for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
    const Text& there = texts_[slots_[slot] - 1];
    if (there.hash == hash && as_text(block.subspan(there.at, there.bytes)) == text)
      return {slots_[slot] - 1, true};
  }
  texts_.push_back({hash, static_cast<uint32_t>(at), static_cast<uint32_t>(text.size())});
  slots_[slot] = static_cast<uint32_t>(texts_.size());
  return {slots_[slot] - 1, false};
}

void TextTable::grow() {
  slots_.assign(std::max<size_t>(256, slots_.size() * 2), 0);
  for (uint32_t number = 0; number < texts_.size(); ++number) {
    size_t slot = texts_[number].hash & (slots_.size() - 1);
    while (slots_[slot] != 0)
      slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = number + 1;
  }
}

Result<> check_entry(const EventEntry& entry) {
  TAILRACE_RETURN_IF_ERROR(
      check_bytes("the stream of an event", entry.stream.size(), 1, kMostNameBytes));
  TAILRACE_RETURN_IF_ERROR(
      check_bytes("the type of an event", entry.type.size(), 0, statemachine::kMaxEventTypeBytes));
  for (const std::string_view tag : entry.tags)
    TAILRACE_RETURN_IF_ERROR(
        check_bytes("a tag of an event", tag.size(), 1, statemachine::kMaxEventTagBytes));
  TAILRACE_RETURN_IF_ERROR(check_bytes("the metadata of an event", entry.metadata.size(), 0,
                                       statemachine::kMaxEventMetadataBytes));
  TAILRACE_RETURN_IF_ERROR(
      check_bytes("the data of an event", entry.data.size(), 0, size_t{64} << 20));
  const auto refuse = [](std::string what) {
    return make_error(ErrorCode::kInvalidArgument, std::move(what));
  };
  if (entry.tags.size() > statemachine::kMaxEventTags)
    return refuse("an event has " + std::to_string(entry.tags.size()) + " tags, " +
                  std::to_string(statemachine::kMaxEventTags) + " are allowed");
  if (entry.content_type > ContentType::kLast)
    return refuse("the content type of an event is " +
                  std::to_string(static_cast<int>(entry.content_type)) + ", " +
                  std::to_string(static_cast<int>(ContentType::kLast)) +
                  " is the greatest that is known");
  if (entry.record_address.value == 0 || entry.record_address >= entry.position)
    return refuse("an event stands at " + std::to_string(entry.position.value) +
                  ", not behind the begin of its record at " +
                  std::to_string(entry.record_address.value));
  return {};
}

bool EntryEncoder::add(const EventEntry& entry, size_t most_bytes) {
  const size_t begin = bytes_.size();
  put(entry);
  if (entries_ > 0 && bytes_.size() > most_bytes) {
    bytes_.resize(begin);
    return false;
  }
  if (entries_++ == 0) first_position_ = entry.position;
  position_ = entry.position.value;
  time_ns_ = entry.time_ns;
  epoch_ = entry.epoch.value;
  return true;
}

void EntryEncoder::put(const EventEntry& entry) {
  bytes_.push_back(static_cast<std::byte>(flags_of(entry)));
  append_varint(bytes_, entry.position.value - position_);
  append_varint(bytes_, entry.position - entry.record_address);
  append_varint(bytes_, zigzag(entry.time_ns - time_ns_));
  append_varint(bytes_, zigzag(entry.epoch.value - epoch_));
  put_text(entry.stream);
  append_varint(bytes_, entry.version);
  if (!entry.type.empty()) put_text(entry.type);
  if (entry.id) append_bytes(bytes_, *entry.id);
  if (!entry.tags.empty()) append_varint(bytes_, entry.tags.size());
  for (const std::string_view tag : entry.tags)
    put_text(tag);
  if (!entry.metadata.empty()) append_varint(bytes_, entry.metadata.size());
  append_bytes(bytes_, entry.metadata);
  append_varint(bytes_, entry.data.size());
  append_bytes(bytes_, entry.data);
}

void EntryEncoder::put_text(std::string_view text) {
  // 0, its length and its bytes; or its number, from 1.
  std::byte head[1 + kMostVarintBytes] = {};
  const size_t head_bytes = 1 + write_varint(head + 1, text.size());
  const auto [number, is_known] = texts_.find_or_add(text, bytes_, bytes_.size() + head_bytes);
  if (is_known) return append_varint(bytes_, uint64_t{number} + 1);
  append_bytes(bytes_, ByteSpan(head).first(head_bytes));
  append_bytes(bytes_, as_bytes(text));
}

void EntryEncoder::clear() {
  bytes_.clear();
  texts_.clear();
  entries_ = 0;
  position_ = time_ns_ = epoch_ = 0;
}

size_t EntryBlock::memory_bytes() const {
  return sizeof *this + raw.capacity() + entries.capacity() * sizeof(EventEntry) +
         tags.capacity() * sizeof(std::string_view);
}

namespace {

class EntryDecoder {
 public:
  explicit EntryDecoder(EntryBlock& block) : block_(block), reader_(block.raw) {}

  Result<> run(uint32_t entries) {
    // No entry is shorter than that: what a head says makes room for no more.
    constexpr size_t kLeastEntryBytes = 8;
    if (entries > block_.raw.size() / kLeastEntryBytes)
      reader_.damaged(std::to_string(entries) + " entries cannot be in it");
    else
      block_.entries.reserve(entries);
    for (uint32_t entry = 0; entry < entries && reader_.is_sound(); ++entry)
      block_.entries.push_back(next());
    if (!reader_.at_end()) reader_.damaged("it goes on behind its last entry");
    if (entries > 1 && block_.raw.size() > kBlockOfEntriesBytes)
      reader_.damaged("a block that is too long");
    TAILRACE_RETURN_IF_ERROR(reader_.result());
    const std::string_view* tags = block_.tags.data();
    for (EventEntry& entry : block_.entries) {
      entry.tags = {tags, entry.tags.size()};
      tags += entry.tags.size();
    }
    return {};
  }

 private:
  EventEntry next() {
    EventEntry entry;
    const uint8_t flags = reader_.byte();
    read_flags(flags, entry);
    read_place(entry);
    entry.stream = text(1, kMostNameBytes);
    entry.version = reader_.varint();
    if ((flags & kEntryHasType) != 0) entry.type = text(1, statemachine::kMaxEventTypeBytes);
    if ((flags & kEntryHasId) != 0) entry.id = read_id();
    if ((flags & kEntryHasTags) != 0) read_tags(entry);
    if ((flags & kEntryHasMetadata) != 0) {
      const uint64_t bytes = reader_.varint(statemachine::kMaxEventMetadataBytes, "long metadata");
      if (bytes == 0) reader_.damaged("metadata without bytes");
      entry.metadata = reader_.bytes(bytes);
    }
    entry.data = reader_.bytes(reader_.varint());
    return entry;
  }

  void read_flags(uint8_t flags, EventEntry& entry) {
    const uint8_t type = flags >> kContentTypeShift;
    if (type > static_cast<uint8_t>(ContentType::kLast))
      reader_.newer("content type " + std::to_string(type));
    entry.content_type = ContentType{type};
  }

  void read_place(EventEntry& entry) {
    const uint64_t ahead = reader_.varint();
    if (ahead == 0 || ahead > ~position_) reader_.damaged("positions that do not ascend");
    position_ += ahead;
    const uint64_t behind = reader_.varint();
    if (behind == 0 || behind >= position_) reader_.damaged("an event outside of its record");
    entry.position = Address{position_};
    entry.record_address = Address{position_ - behind};
    entry.time_ns = time_ns_ += from_zigzag(reader_.varint());
    epoch_ += from_zigzag(reader_.varint());
    entry.epoch = Epoch{epoch_};
  }

  std::string_view text(size_t least, size_t most) {
    const uint64_t number = reader_.varint(texts_.size(), "a text that was not there before");
    std::string_view found;
    if (number != 0) {
      found = texts_[number - 1];
    } else {
      found = as_text(reader_.bytes(reader_.varint(kMostNameBytes, "a long text")));
      texts_.push_back(found);
    }
    if (found.size() < least || found.size() > most) reader_.damaged("a text that is too long");
    return found;
  }

  EventIdBytes read_id() {
    EventIdBytes id{};
    const ByteSpan bytes = reader_.bytes(id.size());
    std::copy(bytes.begin(), bytes.end(), id.begin());
    return id;
  }

  /// How many there are stands in the entry's span, until all are there.
  void read_tags(EventEntry& entry) {
    const uint64_t count = reader_.varint(statemachine::kMaxEventTags, "too many tags");
    if (count == 0) reader_.damaged("tags without one");
    for (uint64_t tag = 0; tag < count && reader_.is_sound(); ++tag)
      block_.tags.push_back(text(1, statemachine::kMaxEventTagBytes));
    entry.tags = {static_cast<const std::string_view*>(nullptr), count};
  }

  EntryBlock& block_;
  PackedReader reader_;
  std::vector<std::string_view> texts_;
  uint64_t position_ = 0, time_ns_ = 0, epoch_ = 0;
};

}  // namespace

Result<> decode_entries(EntryBlock& block, uint32_t entries) {
  block.entries.clear();
  block.tags.clear();
  return EntryDecoder(block).run(entries);
}

}  // namespace tailrace::history
