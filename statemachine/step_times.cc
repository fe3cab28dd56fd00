#include "statemachine/step_times.h"

namespace tailrace::statemachine {

namespace {

int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

}  // namespace

std::optional<uint32_t> StepTimes::watch(Address end) {
  for (uint32_t number = 0; number < kPlaces; ++number) {
    Place& place = places_[number];
    if (place.taken.load(std::memory_order_relaxed)) continue;
    if (place.taken.exchange(true, std::memory_order_acquire)) continue;
    for (auto& at : place.at)
      at.store(0, std::memory_order_relaxed);
    // Either whoever moves a watermark sees this, or we see the watermark (passed_already).
    ends_[number].store(end.value, std::memory_order_seq_cst);
    watched_.fetch_add(1, std::memory_order_seq_cst);
    return number;
  }
  return std::nullopt;
}

void StepTimes::note(uint32_t number, Step step, Address address, int64_t now) {
  const uint64_t end = ends_[number].load(std::memory_order_seq_cst);
  if (end == 0 || end > address.value) return;
  int64_t none = 0;
  places_[number].at[static_cast<size_t>(step)].compare_exchange_strong(none, now);
}

void StepTimes::passed_already(uint32_t place, Step step, Address address) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  note(place, step, address, now_ns());
}

void StepTimes::passed(Step step, Address address) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (watched_.load(std::memory_order_seq_cst) == 0) return;
  const int64_t now = now_ns();
  for (uint32_t number = 0; number < kPlaces; ++number)
    note(number, step, address, now);
}

StepTimes::Times StepTimes::take(uint32_t number) {
  Place& place = places_[number];
  Times times;
  for (size_t step = 0; step < kSteps; ++step) {
    const int64_t at = place.at[step].load();
    if (at != 0) times[step] = SteadyTime(SteadyTime::duration(at));
  }
  ends_[number].store(0);
  watched_.fetch_sub(1);
  place.taken.store(false, std::memory_order_release);
  return times;
}

}  // namespace tailrace::statemachine
