#pragma once
// The index of a file: which entries are of a stream, a category, a type or a tag. Items, sorted by
// kind, name and first entry, stand in leaves; a directory says with which item each leaf begins.
// Entries have the numbers 0, 1, 2, … in the file. Internal.

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "history/format/event_entry.h"
#include "history/format/layout.h"

namespace tailrace::history {

/// What an item begins with, and what it is found by.
struct IndexKey {
  IndexKind kind = IndexKind::kStream;
  std::string_view name;
  uint32_t first_entry = 0;
  auto operator<=>(const IndexKey&) const = default;
  bool is_of(const IndexKey& other) const { return kind == other.kind && name == other.name; }
};

/// One that an item names.
struct Posting {
  uint32_t entry = 0;
  uint64_t version = 0;  // of a stream only: that of the event
  bool operator==(const Posting&) const = default;
};

/// Gathers the index of a file while its entries come. One thread.
class IndexBuilder {
 public:
  IndexBuilder();
  /// The entry gets the next number. It has passed check_entry(). kInvalidArgument when its version
  /// is not above the stream's last one.
  Result<> add(const EventEntry& entry);
  uint32_t entries() const { return entries_; }
  /// What is kept in memory, about: the same on every machine.
  uint64_t bytes() const { return bytes_; }
  /// Each leaf in order, and the key of its first item. Once; ends at the first error.
  using Sink = std::function<Result<>(const IndexKey& first, ByteSpan leaf)>;
  Result<> write(const Sink& sink);

 private:
  /// Of one name.
  struct List {
    std::vector<std::byte> postings;  // coded, without the first of each item
    struct Item {
      Posting first;
      uint32_t count;
      size_t begin;  // in `postings`
    };
    std::vector<Item> items;
    Posting last;
  };
  struct Hash {
    using is_transparent = void;
    uint64_t seed;
    size_t operator()(std::string_view name) const;
  };
  using Lists = std::unordered_map<std::string, List, Hash, std::equal_to<>>;

  void add(IndexKind kind, std::string_view name, Posting posting);
  List& list_of(IndexKind kind, std::string_view name);

  std::vector<Lists> lists_;  // by kind, from 1
  uint32_t entries_ = 0;
  uint64_t bytes_ = 0;
};

/// One item of a leaf; a view into its bytes.
struct IndexItem {
  IndexKey key;
  uint64_t first_version = 0;  // of a stream only: of the first posting
  uint32_t postings = 0;
  ByteSpan list;
};

/// Replaces `items`. kCorruption: not what IndexBuilder writes, as far as can be seen without the
/// lists.
Result<> decode_leaf(ByteSpan leaf, std::vector<IndexItem>& items);
/// Replaces `into`. kCorruption when the list is not sound, or names an entry at or beyond
/// `entries`.
Result<> decode_postings(const IndexItem& item, uint32_t entries, std::vector<Posting>& into);

/// Items are views into `raw`: it stays where it is.
struct Leaf {
  std::vector<std::byte> raw;
  std::vector<IndexItem> items;
};

/// Where a leaf is. Views into the directory.
struct LeafRow {
  IndexKey first;
  uint32_t stored_bytes = 0, raw_bytes = 0;
  uint64_t at = 0;  // in the file; reckoned
};
/// Rows are views into `raw`: it stays where it is.
struct LeafDirectory {
  std::vector<std::byte> raw;
  std::vector<LeafRow> rows;
};
void append_leaf_row(const IndexKey& first, const BlockHead& head, std::vector<std::byte>& into);
/// Replaces `rows`. kCorruption unless they ascend and fill the file from `leaves_at` to
/// `leaves_end`.
Result<> decode_leaf_rows(ByteSpan directory, uint32_t leaves, uint64_t leaves_at,
                          uint64_t leaves_end, std::vector<LeafRow>& rows);

}  // namespace tailrace::history
