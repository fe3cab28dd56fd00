#pragma once
// How far this node's wall clock is from that of the node that streams the log to it. Each message
// says when it was sent by the sender's clock; what was under way for the shortest time says it
// best, so the least difference of the last seconds counts. Of the driver's thread.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

namespace tailrace::replication {

class ClockOffset {
 public:
  static constexpr std::chrono::seconds kWindow{10};

  /// A message that was sent at `sent_ns` (Unix time) came at `came_ns`; `now` goes on steadily.
  void heard(uint64_t sent_ns, uint64_t came_ns, std::chrono::nanoseconds now) {
    if (sent_ns == 0) return;  // not said
    if (now - since_ >= kWindow) {
      before_ = std::exchange(least_, std::nullopt);
      since_ = now;
    }
    const double difference_s = 1e-9 * static_cast<double>(static_cast<int64_t>(came_ns - sent_ns));
    least_ = least_ ? std::min(*least_, difference_s) : difference_s;
  }
  void forget() { *this = ClockOffset(); }
  /// This node's clock minus the other's, and the way of a message; nothing: not heard of lately.
  std::optional<double> seconds() const {
    if (!before_) return least_;
    return least_ ? std::min(*least_, *before_) : before_;
  }

 private:
  std::chrono::nanoseconds since_{0};
  std::optional<double> least_, before_;  // of this window, and of the one before
};

}  // namespace tailrace::replication
