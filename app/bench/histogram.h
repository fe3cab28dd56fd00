#pragma once
// How long operations took: a histogram of three significant digits over all times.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tailrace::app {

/// Counts of values, as HdrHistogram has them: log-linear buckets. Below 2048 each value has a
/// bucket; above, 1024 buckets cover each power of two, so a value is known to one part in 1024. It
/// takes 272 KiB, however much is counted, and nothing before. One thread.
class Histogram {
 public:
  /// What is greater is counted as this: 2.4 hours in nanoseconds.
  static constexpr uint64_t kGreatest = (uint64_t{1} << 43) - 1;

  void add(uint64_t value) {
    value = std::min(value, kGreatest);
    if (counts_.empty()) counts_.resize(kBuckets);
    ++counts_[bucket_of(value)];
    ++count_;
    greatest_ = std::max(greatest_, value);
  }
  void add(const Histogram& other);

  uint64_t count() const { return count_; }
  /// Exact; 0 of nothing.
  uint64_t greatest() const { return greatest_; }
  /// The value that at least this share of all values does not exceed: the greatest one of its
  /// bucket. 0 of nothing.
  uint64_t quantile(double share) const;
  /// Calls `visit(value, count)` for each bucket that is not empty, in order, with the greatest
  /// value of the bucket; none is above greatest().
  template <typename Visit>
  void each(Visit visit) const {
    for (size_t i = 0; i < counts_.size(); ++i)
      if (counts_[i] != 0) visit(std::min(last_of(i), greatest_), counts_[i]);
  }

 private:
  static constexpr unsigned kBits = 11;
  static constexpr size_t kLinear = size_t{1} << kBits, kHalf = kLinear / 2;

  static size_t bucket_of(uint64_t value) {
    if (value < kLinear) return value;
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - kBits;
    return kHalf * shift + (value >> shift);
  }
  static uint64_t last_of(size_t bucket) {
    if (bucket < kLinear) return bucket;
    const size_t shift = bucket / kHalf - 1;
    return ((bucket - kHalf * shift + 1) << shift) - 1;
  }

  static constexpr size_t kBuckets = kHalf * (43 - kBits) + kLinear;
  std::vector<uint64_t> counts_;  // empty before the first value
  uint64_t count_ = 0, greatest_ = 0;
};

}  // namespace tailrace::app
