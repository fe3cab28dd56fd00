#pragma once
// Writes that are refused for lack of room, in the node's own log: once a minute, not once a write.

#include <atomic>
#include <chrono>
#include <cstdint>

#include "core/clock.h"
#include "core/result.h"
#include "observability/logging.h"

namespace tailrace::rpc {

/// Any thread.
class RefusedWrites {
 public:
  void note(const Error& error) {
    const uint64_t refused = refused_.fetch_add(1, std::memory_order_relaxed) + 1;
    const SteadyTime now = std::chrono::steady_clock::now();
    SteadyTime logged = logged_.load(std::memory_order_relaxed);
    if (logged != SteadyTime{} && now - logged < kPause) return;
    if (!logged_.compare_exchange_strong(logged, now)) return;  // another thread does
    observability::log_warning("writes are refused, {} since the start: {}", refused,
                               error.message);
  }

 private:
  static constexpr std::chrono::minutes kPause{1};
  std::atomic<uint64_t> refused_{0};
  std::atomic<SteadyTime> logged_{SteadyTime{}};
};

}  // namespace tailrace::rpc
