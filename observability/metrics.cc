#include "observability/metrics.h"

#include <algorithm>
#include <chrono>

#include "core/check.h"

namespace tailrace::observability {

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), slots_(std::make_unique<Slot[]>(kSlots)) {
  TAILRACE_CHECK(bounds_.size() <= kMostBounds, "too many histogram bounds");
  TAILRACE_CHECK(std::is_sorted(bounds_.begin(), bounds_.end()), "bounds must ascend");
}

size_t Histogram::bucket_of(double value) const {
  // The first bound that is not below the value: buckets are "less or equal".
  return static_cast<size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), value) -
                             bounds_.begin());
}

void Histogram::observe([[maybe_unused]] double value) {
#ifndef TAILRACE_NO_METRICS
  Slot& slot = slots_[thread_slot()];
  slot.counts[bucket_of(value)].fetch_add(1, std::memory_order_relaxed);
  slot.sum.fetch_add(value, std::memory_order_relaxed);
#endif
}

void Histogram::observe_example(double value, uint64_t address) {
  observe(value);
  const std::chrono::duration<double> since_1970 =
      std::chrono::system_clock::now().time_since_epoch();
  const MutexLock lock(examples_mutex_);
  if (examples_.empty()) examples_.resize(bounds_.size() + 1);
  examples_[bucket_of(value)] = {value, since_1970.count(), address};
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
  const MutexLock lock(examples_mutex_);
  result.examples = examples_;
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

std::string_view name_of(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
  }
  return "unknown";
}

std::vector<double> latency_bounds_s() {
  return {1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 7.5e-4, 1e-3, 1.5e-3, 2e-3, 3e-3,
          5e-3, 1e-2, 2e-2, 5e-2, 0.1,  0.2,  0.5,  1,      2,    5,      10};
}

std::vector<double> lateness_bounds_s() {
  return {1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1, 5};
}

std::vector<double> size_bounds_bytes() {
  std::vector<double> bounds;
  for (double bound = 512; bound <= 64.0 * 1024 * 1024; bound *= 2) {
    bounds.push_back(bound);
  }
  return bounds;
}

}  // namespace tailrace::observability
