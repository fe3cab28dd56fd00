#include "app/bench/histogram.h"

#include <cmath>

namespace tailrace::app {

void Histogram::add(const Histogram& other) {
  if (other.counts_.empty()) return;
  counts_.resize(kBuckets);
  for (size_t i = 0; i < kBuckets; ++i)
    counts_[i] += other.counts_[i];
  count_ += other.count_;
  greatest_ = std::max(greatest_, other.greatest_);
}

uint64_t Histogram::quantile(double share) const {
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count_)));
  uint64_t seen = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (counts_[i] != 0 && seen >= wanted) return std::min(last_of(i), greatest_);
  }
  return greatest_;
}

}  // namespace tailrace::app
