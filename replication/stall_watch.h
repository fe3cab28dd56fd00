#pragma once

#include <chrono>

#include "core/address.h"

namespace tailrace::replication {

/// How long something that has work to do has not moved.
class StallWatch {
 public:
  /// Where it is, and how far it could be.
  void observe(Address at, Address target, std::chrono::nanoseconds now) {
    if (at != at_ || at >= target || !seen_) since_ = now;
    at_ = at;
    seen_ = true;
    now_ = now;
  }
  std::chrono::nanoseconds stalled_for() const { return now_ - since_; }

 private:
  Address at_;
  std::chrono::nanoseconds since_{0}, now_{0};
  bool seen_ = false;
};

}  // namespace tailrace::replication
