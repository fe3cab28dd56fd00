#pragma once
// Metric primitives of one writer: only the thread that owns one adds to it, so adding is a load
// and a store, without a locked instruction. Any thread reads. For what is counted at each request.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "observability/metrics.h"

namespace tailrace::observability {

/// Counts up. add(): by the owner.
class OwnedCounter {
 public:
  void add([[maybe_unused]] uint64_t amount = 1) {
#ifndef TAILRACE_NO_METRICS
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
#endif
  }
  uint64_t value() const {
    return value_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<uint64_t> value_{0};
};

/// As Histogram. observe(): by the owner.
class OwnedHistogram {
 public:
  /// `bounds`: as Histogram's; they outlive this.
  explicit OwnedHistogram(std::span<const double> bounds) : bounds_(bounds) {}

  void observe(double value) {
    counts_[bucket_of(value)].add();
#ifndef TAILRACE_NO_METRICS
    sum_.store(sum_.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
#endif
  }
  /// Adds what was observed here to `sum`, which has the same bounds.
  void add_to(Histogram::Snapshot& sum) const {
    for (size_t bucket = 0; bucket <= bounds_.size(); ++bucket) {
      const uint64_t count = counts_[bucket].value();
      sum.counts[bucket] += count;
      sum.count += count;
    }
    sum.sum += sum_.load(std::memory_order_relaxed);
  }

 private:
  /// Neighbours in time are mostly neighbours in value: the bucket of the last one is tried first.
  size_t bucket_of(double value) {
    const bool same = (last_ == 0 || bounds_[last_ - 1] < value) &&
                      (last_ == bounds_.size() || value <= bounds_[last_]);
    if (!same)
      last_ = static_cast<size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), value) -
                                  bounds_.begin());
    return last_;
  }

  std::span<const double> bounds_;
  size_t last_ = 0;
  std::array<OwnedCounter, Histogram::kMostBounds + 1> counts_;
  std::atomic<double> sum_{0};
};

}  // namespace tailrace::observability
