#pragma once
// What the index of a file names for one stream, category, type or tag, one after the other; and
// its streams by name. Internal.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "history/event_file.h"
#include "history/format/index.h"

namespace tailrace::history {

/// One thread.
class PostingWalk {
 public:
  PostingWalk(const EventFile& file, IndexKind kind, std::string_view name, Order order)
      : file_(file), kind_(kind), name_(name), order_(order) {}

  /// The next one comes at or above that entry; backwards, at or below it.
  Result<> seek_entry(uint32_t entry);
  /// The same by version, for a stream.
  Result<> seek_version(uint64_t version);
  /// Nothing: that was the last one.
  Result<std::optional<Posting>> next();

 private:
  IndexKey key(uint32_t first_entry) const { return {kind_, name_, first_entry}; }
  bool is_mine(const IndexItem& item) const { return item.key.is_of(key(0)); }
  /// The last leaf that may have an item of the name whose first version is not above that one, by
  /// halving: a stream may have thousands of leaves. Nothing: there are no leaves.
  Result<std::optional<size_t>> leaf_of_version(uint64_t version);
  /// The last item that is not behind the key, or the first one of all. False: there are no items.
  Result<bool> find(const IndexKey& wanted);
  Result<> load_leaf(size_t leaf);
  Result<> load_postings();
  /// To the next item, or the one before. False if that is not of the name.
  Result<bool> step(bool forwards);

  const EventFile& file_;
  const IndexKind kind_;
  const std::string name_;
  const Order order_;
  std::shared_ptr<const LeafDirectory> directory_;
  std::shared_ptr<const Leaf> leaf_;
  size_t leaf_number_ = 0, item_ = 0;
  std::vector<Posting> postings_;
  size_t next_ = 0;  // of postings_; backwards one more than its index
  bool is_over_ = true;
};

/// One thread. Does not use the cache.
class StreamWalk {
 public:
  explicit StreamWalk(const EventFile& file) : file_(file) {}

  /// The next stream is the first one whose name is not before that one. Before next().
  Result<> seek(std::string_view name);
  /// To the next item of a stream; a stream of many events has several, one behind the other.
  /// False: there is none.
  Result<bool> next();
  /// Of the item; valid until the next call.
  std::string_view name() const { return leaf_->items[item_].key.name; }
  /// How many of the item's events have a version below that one.
  Result<uint32_t> count_below(uint64_t version);

 private:
  Result<> load_leaf(size_t leaf);

  const EventFile& file_;
  std::shared_ptr<const LeafDirectory> directory_;
  std::shared_ptr<const Leaf> leaf_;
  size_t leaf_number_ = 0, item_ = 0;
  bool has_next_ = false;  // item_ is the next one, not the present one
  std::vector<Posting> postings_;
};

}  // namespace tailrace::history
