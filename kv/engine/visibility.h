#pragma once
// Which records of a chain count.
//
// A checkpoint of version v ends at an address `end`; between `boundary`, where the tail was when
// the first session crossed over, and `end` lie records of v and of v + 1 side by side, and records
// that were written "beneath" (kSnapshotOnly: part of v although a record of v + 1 came before
// them). Recovering v undoes those of v + 1 and makes those beneath count. What is in memory then
// is marked; the blocks on disk are not written again: the range is remembered instead, in every
// later manifest, until the log begins beyond it.

#include <algorithm>
#include <vector>

#include "kv/log/record.h"

namespace tailrace::kv {

/// [from, to): records of `version` do not count, those beneath do.
struct UndoneRange {
  LogAddress from = 0;
  LogAddress to = 0;
  uint32_t version = 0;
};

class UndoneRanges {
 public:
  UndoneRanges() = default;
  explicit UndoneRanges(std::vector<UndoneRange> ranges) : ranges_(std::move(ranges)) {
    for (const UndoneRange& range : ranges_)
      end_ = std::max(end_, range.to);
  }
  const std::vector<UndoneRange>& ranges() const { return ranges_; }
  /// From here on a record says by itself whether it counts.
  LogAddress end() const { return end_; }

  /// Whether a record at `address`, as it is on disk or in memory, is part of the state (or hides
  /// older records: a tombstone counts).
  bool counts(LogAddress address, const Record& record) const {
    const uint64_t state = record.state.load(std::memory_order_relaxed);
    if ((state & Record::kInvalid) != 0) return false;
    if (address >= end_) [[likely]]
      return (state & Record::kSnapshotOnly) == 0;
    for (const UndoneRange& range : ranges_) {
      if (address >= range.from && address < range.to) {
        return record.version_bits() != (range.version & Record::kVersionMask);
      }
    }
    return (state & Record::kSnapshotOnly) == 0;
  }

 private:
  std::vector<UndoneRange> ranges_;  // disjoint; few
  LogAddress end_ = 0;               // of all of them
};

/// A moment of the store: what a checkpoint holds or a scan shows. Records at or beyond `end` came
/// later, and so did those of `version` + 1 from `boundary` on; those beneath count there.
struct PointInLog {
  uint32_t version = 0;
  LogAddress boundary = 0;
  LogAddress end = 0;

  bool counts(LogAddress address, const Record& record, const UndoneRanges& undone) const {
    if (address >= end) return false;
    if (address < boundary) return undone.counts(address, record);
    const uint64_t state = record.state.load(std::memory_order_relaxed);
    if ((state & Record::kInvalid) != 0) return false;
    return record.version_bits() == (version & Record::kVersionMask);
  }
};

}  // namespace tailrace::kv
