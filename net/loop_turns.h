#pragma once
// Whether an event loop stands still. Internal.

#include <atomic>
#include <chrono>
#include <limits>

namespace tailrace::net {

/// When a loop last had a turn. Noted on its thread; any thread asks.
class LoopTurns {
 public:
  void note() {
    at_.store(std::chrono::steady_clock::now().time_since_epoch().count(),
              std::memory_order_relaxed);
  }
  /// Seconds; NaN before the first turn.
  double since() const {
    const auto at = at_.load(std::memory_order_relaxed);
    if (at == 0) return std::numeric_limits<double>::quiet_NaN();
    const std::chrono::duration<double> passed =
        std::chrono::steady_clock::now().time_since_epoch() -
        std::chrono::steady_clock::duration(at);
    return passed.count();
  }

 private:
  std::atomic<std::chrono::steady_clock::rep> at_{0};
};

}  // namespace tailrace::net
