#include "statemachine/expiry_schedule.h"

#include <algorithm>

namespace tailrace::statemachine {

namespace {
constexpr uint64_t kSecond = 1'000'000'000;
}  // namespace

void ExpirySchedule::note(uint64_t expires_at_ns) {
  const uint64_t rounded =
      expires_at_ns > UINT64_MAX - kSecond ? UINT64_MAX : (expires_at_ns / kSecond + 1) * kSecond;
  const MutexLock lock(mutex_);
  if (rounded <= log_time_ns_) return;
  times_ns_.insert(rounded);
  // The soonest are given up: no moment is missed, some are looked at in vain.
  while (times_ns_.size() > kMostSeconds) {
    dense_until_ns_ = std::max(dense_until_ns_, *times_ns_.begin());
    times_ns_.erase(times_ns_.begin());
  }
}

void ExpirySchedule::passed(uint64_t log_time_ns) {
  const MutexLock lock(mutex_);
  log_time_ns_ = std::max(log_time_ns_, log_time_ns);
  times_ns_.erase(times_ns_.begin(), times_ns_.upper_bound(log_time_ns_));
}

bool ExpirySchedule::due(uint64_t unix_time_ns) const {
  const MutexLock lock(mutex_);
  if (!times_ns_.empty() && *times_ns_.begin() <= unix_time_ns) return true;
  return log_time_ns_ < dense_until_ns_ && log_time_ns_ + kSecond <= unix_time_ns;
}

}  // namespace tailrace::statemachine
