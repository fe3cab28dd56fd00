#pragma once
// Where the time of a write goes: some writes are taken apart, from their arrival to their answer.
// Internal.

#include <array>
#include <cstdint>
#include <optional>

#include "core/address.h"
#include "core/clock.h"
#include "core/random.h"
#include "rpc/server/measure/probe.h"
#include "statemachine/step_times.h"

namespace tailrace::fasterlog {
class Log;
}
namespace tailrace::statemachine {
class Watermarks;
}

namespace tailrace::rpc {

/// Chooses the writes: all while there are few, about a thousand a second when there are many,
/// each as likely as the others. Of one thread.
class StageSampler {
 public:
  static constexpr std::chrono::milliseconds kWindow{10};
  static constexpr uint64_t kOfWindow = 10;

  explicit StageSampler(uint64_t seed) : random_(seed) {}
  bool takes(SteadyTime now);

 private:
  Random random_;
  SteadyTime window_{};
  uint64_t count_ = 0;   // in this window
  uint64_t one_of_ = 1;  // as the window before had it
};

/// Of one io thread.
class StageTimes {
 public:
  /// 0: the write is not taken apart.
  using Tag = uint32_t;
  /// One that has its answer. 0: it is not taken apart.
  using Sample = uint64_t;

  StageTimes(Probe& probe, statemachine::StepTimes& steps, uint64_t seed)
      : probe_(probe), steps_(steps), sampler_(seed) {}

  /// A write that came at `arrived` and was let in at `taken` is in the log now.
  Tag enqueued(SteadyTime arrived, SteadyTime taken, AddressRange range, const fasterlog::Log& log,
               const statemachine::Watermarks& marks);
  /// Its answer is on its way to the client; it is told with sent(). Of those that come to no end,
  /// for their clients do not read, the oldest is dropped.
  Sample answered(Tag tag);
  /// It has no answer that says how long it took.
  void dropped(Tag tag);
  /// The system has its answer.
  void sent(Sample sample, SteadyTime now);

 private:
  struct Write {
    SteadyTime arrived, taken, enqueued;
    Address address;
  };
  struct Applied {
    Sample sample = 0;
    Write write;
    statemachine::StepTimes::Times steps;
  };
  void tell(const Applied& applied, SteadyTime sent);

  Probe& probe_;
  statemachine::StepTimes& steps_;
  StageSampler sampler_;
  std::array<Write, statemachine::StepTimes::kPlaces> writes_;
  std::array<Applied, statemachine::StepTimes::kPlaces> answered_;
  Sample last_ = 0;
};

}  // namespace tailrace::rpc
