#pragma once
// What the server counts. Internal.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "net/loop_turns.h"
#include "observability/metrics.h"

namespace tailrace::http {

/// Why the server closed a connection that its other side had not done with.
enum class Closed : uint8_t { kRequestTimeout, kIdleTimeout, kResponseTimeout, kReplaced };
inline constexpr size_t kClosedReasons = 4;

/// Any thread.
struct Probe {
  void count_response(int status);
  void count_closed(Closed reason) { closed[static_cast<size_t>(reason)].add(); }
  void register_at(observability::MetricRegistry& registry);

  static constexpr int kFirstClass = 2, kClasses = 4;  // 2xx to 5xx
  std::array<observability::Counter, kClasses> responses;
  std::array<observability::Counter, kClosedReasons> closed;
  std::atomic<int64_t> connections{0};
  size_t most_connections = 0;
  observability::Histogram lateness{observability::lateness_bounds_s()};  // of the server's thread
  net::LoopTurns turns;

 private:
  observability::MetricRegistry::Registration registration_;  // last: goes first
};

}  // namespace tailrace::http
