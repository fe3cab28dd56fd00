#pragma once
// The memory that clients can make the server hold: one sum for all connections. Internal.
//
// What a connection holds is what of its frames has come and is not taken, what of its answers is
// not sent, and what its requests in flight may yet bring. It may always hold its fair share, so
// that everybody is served however much others hold. Beyond that it may hold more while the sum is
// below three quarters of the budget; otherwise it is not read on (framed_socket.h) until there is
// room.

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace tailrace::rpc {

class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t most_bytes) : most_(most_bytes) {}

  uint64_t most() const { return most_; }
  uint64_t used() const {
    return static_cast<uint64_t>(std::max<int64_t>(0, used_.load(std::memory_order_relaxed)));
  }
  /// A quarter of the budget is dealt out evenly.
  uint64_t fair_share() const {
    return most_ / 4 / std::max<uint64_t>(1, holders_.load(std::memory_order_relaxed));
  }
  bool has_room(uint64_t held, uint64_t more) const {
    return held + more <= fair_share() || used() + more <= most_ / 4 * 3;
  }
  bool is_short() const { return used() > most_ / 2; }

 private:
  friend class MemoryShare;
  const uint64_t most_;
  std::atomic<int64_t> used_{0};
  std::atomic<uint64_t> holders_{0};
};

/// What one connection holds. One thread. The budget hears of it in steps, so that a request costs
/// no shared counter.
class MemoryShare {
 public:
  explicit MemoryShare(MemoryBudget& budget) : budget_(budget) {
    budget_.holders_.fetch_add(1, std::memory_order_relaxed);
  }
  ~MemoryShare() {
    budget_.used_.fetch_sub(told_, std::memory_order_relaxed);
    budget_.holders_.fetch_sub(1, std::memory_order_relaxed);
  }
  MemoryShare(const MemoryShare&) = delete;
  MemoryShare& operator=(const MemoryShare&) = delete;

  void holds(uint64_t bytes) {
    held_ = bytes;
    const int64_t change = static_cast<int64_t>(bytes) - told_;
    if (change < kStep && -change < kStep) return;
    budget_.used_.fetch_add(change, std::memory_order_relaxed);
    told_ += change;
  }
  bool has_room(uint64_t more) const { return budget_.has_room(held_, more); }
  uint64_t held() const { return held_; }

 private:
  static constexpr int64_t kStep = 16 << 10;
  MemoryBudget& budget_;
  uint64_t held_ = 0;
  int64_t told_ = 0;
};

}  // namespace tailrace::rpc
