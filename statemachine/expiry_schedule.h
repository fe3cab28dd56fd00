#pragma once
// When keys expire, to the second: a log that nobody writes to has its time moved only when there
// is something that expires by it.

#include <cstdint>
#include <set>

#include "core/mutex.h"

namespace tailrace::statemachine {

/// Any thread.
class ExpirySchedule {
 public:
  void note(uint64_t expires_at_ns);
  /// The log time has come so far.
  void passed(uint64_t log_time_ns);
  /// Whether something expires between the log time and `unix_time_ns`. May say so for a key that
  /// was overwritten meanwhile.
  bool due(uint64_t unix_time_ns) const;

 private:
  static constexpr size_t kMostSeconds = 65536;
  mutable Mutex mutex_;
  uint64_t log_time_ns_ TAILRACE_GUARDED_BY(mutex_) = 0;
  /// Rounded up to seconds, all above log_time_ns_.
  std::set<uint64_t> times_ns_ TAILRACE_GUARDED_BY(mutex_);
  /// There were too many; up to here every second counts as one of them.
  uint64_t dense_until_ns_ TAILRACE_GUARDED_BY(mutex_) = 0;
};

}  // namespace tailrace::statemachine
