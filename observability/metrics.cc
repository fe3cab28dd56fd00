#include "observability/metrics.h"

#include <algorithm>

#include "core/check.h"

namespace tailrace::observability {

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), slots_(std::make_unique<Slot[]>(kSlots)) {
  TAILRACE_CHECK(bounds_.size() <= kMostBounds, "too many histogram bounds");
  TAILRACE_CHECK(std::is_sorted(bounds_.begin(), bounds_.end()), "bounds must ascend");
}

void Histogram::observe(double value) {
  // The first bound that is not below the value: buckets are "less or equal".
  const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  Slot& slot = slots_[thread_slot()];
  slot.counts[bound - bounds_.begin()].fetch_add(1, std::memory_order_relaxed);
  slot.sum.fetch_add(value, std::memory_order_relaxed);
}

Histogram::Snapshot Histogram::snapshot() const {
  Snapshot result;
  result.bounds = bounds_;
  result.counts.resize(bounds_.size() + 1);
  for (size_t slot = 0; slot < kSlots; ++slot) {
    for (size_t bound = 0; bound < result.counts.size(); ++bound) {
      result.counts[bound] += slots_[slot].counts[bound].load(std::memory_order_relaxed);
    }
    result.sum += slots_[slot].sum.load(std::memory_order_relaxed);
  }
  for (const uint64_t count : result.counts) {
    result.count += count;
  }
  return result;
}

double Histogram::Snapshot::quantile(double quantile) const {
  if (count == 0 || bounds.empty()) return 0;
  const double wanted = quantile * static_cast<double>(count);
  uint64_t seen = 0;
  for (size_t bound = 0; bound < bounds.size(); ++bound) {
    seen += counts[bound];
    if (static_cast<double>(seen) >= wanted) return bounds[bound];
  }
  return bounds.back();
}

std::vector<double> latency_bounds_s() {
  return {1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 7.5e-4, 1e-3, 1.5e-3, 2e-3, 3e-3,
          5e-3, 1e-2, 2e-2, 5e-2, 0.1,  0.2,  0.5,  1,      2,    5,      10};
}

std::vector<double> size_bounds_bytes() {
  std::vector<double> bounds;
  for (double bound = 512; bound <= 64.0 * 1024 * 1024; bound *= 2) {
    bounds.push_back(bound);
  }
  return bounds;
}

}  // namespace tailrace::observability
