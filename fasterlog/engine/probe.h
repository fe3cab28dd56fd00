#pragma once
// What the log counts about itself.

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "observability/metrics.h"

namespace tailrace::fasterlog {

/// Why a flush began.
enum class FlushReason : uint8_t { kNatural, kBytes, kInterval, kRequested, kPressure, kClose };
inline constexpr size_t kFlushReasons = 6;
constexpr std::string_view name_of(FlushReason reason) {
  switch (reason) {
    case FlushReason::kNatural:
      return "natural";
    case FlushReason::kBytes:
      return "bytes";
    case FlushReason::kInterval:
      return "interval";
    case FlushReason::kRequested:
      return "requested";
    case FlushReason::kPressure:
      return "pressure";
    case FlushReason::kClose:
      return "close";
  }
  return "unknown";
}

struct LogProbe {
  std::array<observability::Counter, kFlushReasons> begun;  // by FlushReason
  observability::Counter flushes;
  observability::Counter flushed_bytes;
  observability::Counter failures;
  observability::Counter would_block;
  observability::Histogram flush_seconds{observability::latency_bounds_s()};
  observability::Histogram flush_bytes{observability::size_bounds_bytes()};
  std::atomic<uint32_t> flushes_in_flight{0};
};

}  // namespace tailrace::fasterlog
