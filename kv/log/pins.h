#pragma once
// Who still needs the log's beginning: scans, and checkpoints while they are taken. A pin holds
// back the log's begin and the release of its disk space.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>

#include "core/mutex.h"
#include "kv/log/record.h"

namespace tailrace::kv {

/// Any thread.
class LogPins {
 public:
  /// Nothing from `address` on goes away until remove(). What is already below the log's begin is
  /// gone all the same, so who wants the present begin adds 0, reads it and then lifts the pin.
  uint64_t add(LogAddress address) {
    const MutexLock lock(mutex_);
    pins_.emplace(++last_, address);
    return last_;
  }
  void lift(uint64_t pin, LogAddress address) {
    const MutexLock lock(mutex_);
    pins_.at(pin) = address;
  }
  void remove(uint64_t pin) {
    const MutexLock lock(mutex_);
    pins_.erase(pin);
  }
  /// The greatest address there is when nothing is pinned.
  LogAddress least() const {
    const MutexLock lock(mutex_);
    return least_locked();
  }
  /// Calls `move` with `until` or the least pin: no pin is added meanwhile.
  template <typename Move>
  void up_to(LogAddress until, const Move& move) {
    const MutexLock lock(mutex_);
    move(std::min(until, least_locked()));
  }

 private:
  LogAddress least_locked() const TAILRACE_REQUIRES(mutex_) {
    LogAddress least = std::numeric_limits<LogAddress>::max();
    for (const auto& [pin, address] : pins_)
      least = std::min(least, address);
    return least;
  }

  mutable Mutex mutex_;
  uint64_t last_ TAILRACE_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, LogAddress> pins_ TAILRACE_GUARDED_BY(mutex_);  // few
};

}  // namespace tailrace::kv
