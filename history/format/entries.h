#pragma once
// Entries of events within one block (docs/formats/event-file.md). What repeats within a block (a
// stream's name, a type, a tag) stands there once. A block is read without any other. Internal.

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "history/format/event_entry.h"

namespace tailrace::history {

/// The texts of a block that is being written, by number. One thread.
class TextTable {
 public:
  void clear();
  /// The text's number and true; or, when it is a new one, the number it gets now and false.
  /// `block` is what the offsets of the table point into; the caller puts a new text at `at`.
  std::pair<uint32_t, bool> find_or_add(std::string_view text, ByteSpan block, size_t at);

 private:
  struct Text {
    uint64_t hash;
    uint32_t at, bytes;
  };
  void grow();

  std::vector<Text> texts_;
  std::vector<uint32_t> slots_;  // a power of two; number + 1, or 0
};

/// Puts entries one behind the other. One thread.
class EntryEncoder {
 public:
  /// Puts the entry behind those that are there, if all of them keep within `most_bytes`; the first
  /// one always does. False: bytes() and entries() are as before, and clear() comes next. Entries
  /// come by ascending position, and have passed check_entry().
  bool add(const EventEntry& entry, size_t most_bytes);
  ByteSpan bytes() const { return bytes_; }
  uint32_t entries() const { return entries_; }
  Address first_position() const { return first_position_; }
  /// For the next block.
  void clear();

 private:
  void put(const EventEntry& entry);
  void put_text(std::string_view text);

  std::vector<std::byte> bytes_;
  TextTable texts_;
  uint32_t entries_ = 0;
  Address first_position_;
  uint64_t position_ = 0, time_ns_ = 0, epoch_ = 0;  // of the last one
};

/// kInvalidArgument naming field, limit and value: what cannot stand in a file.
Result<> check_entry(const EventEntry& entry);

/// Entries of one block. They are views into `raw` and `tags`, so it stays where it is.
struct EntryBlock {
  EntryBlock() = default;
  EntryBlock(const EntryBlock&) = delete;
  EntryBlock& operator=(const EntryBlock&) = delete;
  /// What it takes in memory.
  size_t memory_bytes() const;

  std::vector<std::byte> raw;
  std::vector<EventEntry> entries;
  std::vector<std::string_view> tags;
};

/// Reads `block.raw` into the rest of it. kCorruption when it does not have exactly `entries`, by
/// ascending position, each as check_entry() wants it; kUnsupported for a flag or a content type of
/// a newer program. Memory: a few times raw, as a block of several entries is short.
Result<> decode_entries(EntryBlock& block, uint32_t entries);

}  // namespace tailrace::history
