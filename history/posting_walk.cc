#include "history/posting_walk.h"

#include <algorithm>
#include <utility>

#include "history/format/parts.h"

namespace tailrace::history {

Result<> PostingWalk::load_leaf(size_t leaf) {
  TAILRACE_ASSIGN_OR_RETURN(leaf_, file_.leaf(directory_->rows[leaf]));
  leaf_number_ = leaf;
  return {};
}

Result<> PostingWalk::load_postings() {
  const auto decoded = decode_postings(leaf_->items[item_], file_.summary().events, postings_);
  if (!decoded)
    return damaged_part(*file_.file_, title_of(BlockKind::kLeaf), directory_->rows[leaf_number_].at,
                        decoded.error());
  return {};
}

Result<bool> PostingWalk::find(const IndexKey& wanted) {
  TAILRACE_ASSIGN_OR_RETURN(directory_, file_.leaf_directory());
  const auto& rows = directory_->rows;
  if (rows.empty()) return false;
  const auto row =
      std::upper_bound(rows.begin(), rows.end(), wanted,
                       [](const IndexKey& key, const LeafRow& each) { return key < each.first; });
  TAILRACE_RETURN_IF_ERROR(
      load_leaf(row == rows.begin() ? 0 : static_cast<size_t>(row - rows.begin()) - 1));
  const auto& items = leaf_->items;
  const auto item =
      std::upper_bound(items.begin(), items.end(), wanted,
                       [](const IndexKey& key, const IndexItem& each) { return key < each.key; });
  item_ = item == items.begin() ? 0 : static_cast<size_t>(item - items.begin()) - 1;
  return true;
}

Result<bool> PostingWalk::step(bool forwards) {
  if (forwards) {
    if (item_ + 1 < leaf_->items.size()) {
      ++item_;
    } else {
      if (leaf_number_ + 1 == directory_->rows.size()) return false;
      TAILRACE_RETURN_IF_ERROR(load_leaf(leaf_number_ + 1));
      item_ = 0;
    }
  } else if (item_ > 0) {
    --item_;
  } else {
    if (leaf_number_ == 0) return false;
    TAILRACE_RETURN_IF_ERROR(load_leaf(leaf_number_ - 1));
    item_ = leaf_->items.size() - 1;
  }
  if (!is_mine(leaf_->items[item_])) return false;
  TAILRACE_RETURN_IF_ERROR(load_postings());
  return true;
}

Result<> PostingWalk::seek_entry(uint32_t entry) {
  is_over_ = true;
  TAILRACE_ASSIGN_OR_RETURN(const bool found, find(key(entry)));
  if (!found) return {};
  const bool forwards = order_ == Order::kForwards;
  if (!is_mine(leaf_->items[item_])) {
    // All items of the name, if there are any, stand behind.
    if (!forwards) return {};
    TAILRACE_ASSIGN_OR_RETURN(const bool is_there, step(true));
    is_over_ = !is_there;
    next_ = 0;
    return {};
  }
  TAILRACE_RETURN_IF_ERROR(load_postings());
  const auto at = std::partition_point(
      postings_.begin(), postings_.end(),
      [&](const Posting& each) { return forwards ? each.entry < entry : each.entry <= entry; });
  next_ = static_cast<size_t>(at - postings_.begin());
  is_over_ = false;
  return {};
}

Result<std::optional<size_t>> PostingWalk::leaf_of_version(uint64_t version) {
  TAILRACE_ASSIGN_OR_RETURN(directory_, file_.leaf_directory());
  const auto& rows = directory_->rows;
  if (rows.empty()) return std::nullopt;
  const auto is_before = [](const LeafRow& row, const IndexKey& wanted) {
    return row.first < wanted;
  };
  const auto first = std::lower_bound(rows.begin(), rows.end(), key(0), is_before);
  // Those from `low` on begin with the name; the one before it may end with it.
  auto low = static_cast<size_t>(first - rows.begin());
  auto high = static_cast<size_t>(std::lower_bound(first, rows.end(), key(UINT32_MAX), is_before) -
                                  rows.begin());
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    TAILRACE_RETURN_IF_ERROR(load_leaf(middle));
    if (leaf_->items.front().first_version <= version)
      low = middle + 1;
    else
      high = middle;
  }
  return low == 0 ? 0 : low - 1;
}

Result<> PostingWalk::seek_version(uint64_t version) {
  is_over_ = true;
  TAILRACE_ASSIGN_OR_RETURN(const auto leaf, leaf_of_version(version));
  if (!leaf) return {};
  if (!leaf_ || leaf_number_ != *leaf) TAILRACE_RETURN_IF_ERROR(load_leaf(*leaf));
  const auto& items = leaf_->items;
  const auto behind = std::partition_point(items.begin(), items.end(), [&](const IndexItem& item) {
    return is_mine(item) ? item.first_version <= version : item.key < key(0);
  });
  const auto count = static_cast<size_t>(behind - items.begin());
  item_ = count == 0 ? 0 : count - 1;
  const bool forwards = order_ == Order::kForwards;
  if (count == 0 || !is_mine(items[item_])) {
    // All of the stream's events are above the version, if there are any.
    if (!forwards) return {};
    if (count == 0 && is_mine(items[item_])) {
      TAILRACE_RETURN_IF_ERROR(load_postings());
      is_over_ = false;
    } else if (count > 0) {
      TAILRACE_ASSIGN_OR_RETURN(const bool is_there, step(true));
      is_over_ = !is_there;
    }
    next_ = 0;
    return {};
  }
  TAILRACE_RETURN_IF_ERROR(load_postings());
  const auto at =
      std::partition_point(postings_.begin(), postings_.end(), [&](const Posting& each) {
        return forwards ? each.version < version : each.version <= version;
      });
  next_ = static_cast<size_t>(at - postings_.begin());
  is_over_ = false;
  return {};
}

Result<std::optional<Posting>> PostingWalk::next() {
  const bool forwards = order_ == Order::kForwards;
  while (!is_over_) {
    if (forwards && next_ < postings_.size()) return postings_[next_++];
    if (!forwards && next_ > 0) return postings_[--next_];
    TAILRACE_ASSIGN_OR_RETURN(const bool is_there, step(forwards));
    is_over_ = !is_there;
    next_ = forwards ? 0 : postings_.size();
  }
  return std::nullopt;
}

// ---- Streams.

Result<> StreamWalk::load_leaf(size_t leaf) {
  TAILRACE_ASSIGN_OR_RETURN(leaf_, file_.read_leaf(directory_->rows[leaf]));
  leaf_number_ = leaf;
  item_ = 0;
  return {};
}

Result<> StreamWalk::seek(std::string_view name) {
  TAILRACE_ASSIGN_OR_RETURN(directory_, file_.read_leaf_directory());
  const auto& rows = directory_->rows;
  if (rows.empty()) return {};
  const IndexKey wanted{IndexKind::kStream, name, 0};
  // Items of the name may begin in the leaf before.
  const auto behind =
      std::upper_bound(rows.begin(), rows.end(), wanted,
                       [](const IndexKey& key, const LeafRow& row) { return key < row.first; });
  TAILRACE_RETURN_IF_ERROR(
      load_leaf(behind == rows.begin() ? 0 : static_cast<size_t>(behind - rows.begin()) - 1));
  const auto& items = leaf_->items;
  item_ = static_cast<size_t>(
      std::partition_point(items.begin(), items.end(),
                           [&](const IndexItem& item) { return item.key < wanted; }) -
      items.begin());
  has_next_ = true;
  return {};
}

Result<bool> StreamWalk::next() {
  if (!leaf_) return false;
  if (!std::exchange(has_next_, false)) ++item_;
  while (item_ >= leaf_->items.size()) {
    if (leaf_number_ + 1 == directory_->rows.size()) return false;
    TAILRACE_RETURN_IF_ERROR(load_leaf(leaf_number_ + 1));
  }
  return leaf_->items[item_].key.kind == IndexKind::kStream;
}

Result<uint32_t> StreamWalk::count_below(uint64_t version) {
  const auto decoded = decode_postings(leaf_->items[item_], file_.summary().events, postings_);
  if (!decoded)
    return damaged_part(*file_.file_, title_of(BlockKind::kLeaf), directory_->rows[leaf_number_].at,
                        decoded.error());
  const auto end =
      std::partition_point(postings_.begin(), postings_.end(),
                           [version](const Posting& posting) { return posting.version < version; });
  return static_cast<uint32_t>(end - postings_.begin());
}

}  // namespace tailrace::history
