#pragma once
// A counter that costs a few nanoseconds where it counts, and is summed when it is read.

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tailrace {

/// How many slots a counter has; a thread uses the slot of its number modulo this.
inline constexpr size_t kSlots = 16;
/// A small number, fixed for the calling thread.
size_t thread_slot();

/// Counts up. add() is one relaxed addition in the thread's own cache line. Any thread.
class Counter {
 public:
  void add(uint64_t amount = 1) {
    slots_[thread_slot()].value.fetch_add(amount, std::memory_order_relaxed);
  }
  uint64_t value() const;

 private:
  struct alignas(64) Slot {
    std::atomic<uint64_t> value{0};
  };
  Slot slots_[kSlots];
};

}  // namespace tailrace
