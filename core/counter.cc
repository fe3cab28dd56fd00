#include "core/counter.h"

namespace tailrace {

size_t thread_slot() {
  static std::atomic<size_t> next{0};
  thread_local const size_t slot = next.fetch_add(1, std::memory_order_relaxed) % kSlots;
  return slot;
}

uint64_t Counter::value() const {
  uint64_t sum = 0;
  for (const Slot& slot : slots_) {
    sum += slot.value.load(std::memory_order_relaxed);
  }
  return sum;
}

}  // namespace tailrace
