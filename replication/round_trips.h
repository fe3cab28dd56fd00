#pragma once
// How long followers take: from shipping log to them until they acknowledged it as durable. One
// shipment of each follower is timed at a time. Of the driver's thread.

#include <chrono>
#include <map>
#include <optional>

#include "core/address.h"

namespace tailrace::replication {

class RoundTrips {
 public:
  void shipped(NodeId follower, Address end, std::chrono::nanoseconds now) {
    Timed& timed = timed_[follower];
    if (timed.end == Address{}) timed.end = end, timed.at = now;
  }
  void acknowledged(NodeId follower, Address durable, std::chrono::nanoseconds now) {
    const auto found = timed_.find(follower);
    if (found == timed_.end()) return;
    Timed& timed = found->second;
    if (timed.end == Address{} || durable < timed.end) return;
    timed.end = Address{};
    const std::chrono::duration<double> took = now - timed.at;
    // As TCP smooths its own (RFC 6298): an eighth of each new one.
    timed.smoothed_s = timed.smoothed_s ? *timed.smoothed_s + (took.count() - *timed.smoothed_s) / 8
                                        : took.count();
  }
  /// What was on its way is not acknowledged any more.
  void forget(NodeId follower) { timed_.erase(follower); }
  std::optional<double> seconds(NodeId follower) const {
    const auto found = timed_.find(follower);
    return found == timed_.end() ? std::nullopt : found->second.smoothed_s;
  }

 private:
  struct Timed {
    Address end;  // of the shipment that is timed; 0: none
    std::chrono::nanoseconds at{0};
    std::optional<double> smoothed_s;
  };
  std::map<NodeId, Timed> timed_;
};

}  // namespace tailrace::replication
