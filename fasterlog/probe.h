#pragma once
// What the log counts about itself.

#include <atomic>

#include "observability/metrics.h"

namespace tailrace::fasterlog {

struct LogProbe {
  observability::Counter flushes;
  observability::Counter flushed_bytes;
  observability::Counter failures;
  observability::Counter would_block;
  observability::Histogram flush_seconds{observability::latency_bounds_s()};
  observability::Histogram flush_bytes{observability::size_bounds_bytes()};
  std::atomic<uint32_t> flushes_in_flight{0};
};

}  // namespace tailrace::fasterlog
