#pragma once
// When the steps behind an append passed some addresses: durable here, committed, applied. The
// parts of a write's latency are measured with it. Only a few addresses are watched at a time, so
// that it costs nothing that counts: whoever moves a watermark looks at a counter, and while there
// are some, at kPlaces numbers.

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "core/address.h"
#include "core/clock.h"

namespace tailrace::statemachine {

class StepTimes {
 public:
  static constexpr uint32_t kPlaces = 64;

  enum class Step : uint8_t { kDurable, kCommitted, kApplied, kLast = kApplied };
  static constexpr size_t kSteps = static_cast<size_t>(Step::kLast) + 1;
  /// The steps that have passed the address; nothing: not yet.
  using Times = std::array<std::optional<SteadyTime>, kSteps>;

  /// Notes from now on when the steps pass `end`; the place to take the times from, which every
  /// watch has to end with. Nothing when all places are taken. Any thread.
  std::optional<uint32_t> watch(Address end);
  /// Whoever watches: a step that had passed the address before it was watched has passed now.
  void passed_already(uint32_t place, Step step, Address address);
  /// What was noted; the place is free again. By whoever has watched.
  Times take(uint32_t place);

  /// A watermark is at `address` now, and was stored before this call. One thread a step.
  void passed(Step step, Address address);

 private:
  struct alignas(64) Place {
    std::atomic<bool> taken{false};
    std::array<std::atomic<int64_t>, kSteps> at{};
  };
  void note(uint32_t number, Step step, Address address, int64_t now);

  std::atomic<uint32_t> watched_{0};
  /// What is watched at each place; 0: nothing. Close together, for whoever moves a watermark looks
  /// at all of them.
  alignas(64) std::array<std::atomic<uint64_t>, kPlaces> ends_{};
  std::array<Place, kPlaces> places_;
};

}  // namespace tailrace::statemachine
