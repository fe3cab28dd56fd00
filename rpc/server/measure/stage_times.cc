#include "rpc/server/measure/stage_times.h"

#include <algorithm>

#include "fasterlog/log.h"
#include "statemachine/watermarks.h"

namespace tailrace::rpc {

bool StageSampler::takes(SteadyTime now) {
#ifdef TAILRACE_NO_METRICS
  return false;
#endif
  if (now - window_ >= kWindow) {
    one_of_ = std::max<uint64_t>(1, count_ / kOfWindow);
    count_ = 0;
    window_ = now;
  }
  ++count_;
  return one_of_ == 1 ? count_ <= kOfWindow : random_.below(one_of_) == 0;
}

StageTimes::Tag StageTimes::enqueued(SteadyTime arrived, SteadyTime taken, AddressRange range,
                                     const fasterlog::Log& log,
                                     const statemachine::Watermarks& marks) {
  if (!sampler_.takes(taken)) return 0;
  const SteadyTime now = std::chrono::steady_clock::now();
  const auto place = steps_.watch(range.end);
  if (!place) return 0;
  using Step = statemachine::StepTimes::Step;
  steps_.passed_already(*place, Step::kDurable, log.durable());
  steps_.passed_already(*place, Step::kCommitted, marks.committed());
  steps_.passed_already(*place, Step::kApplied, marks.applied());
  writes_[*place] = {arrived, taken, now, range.first};
  return *place + 1;
}

StageTimes::Sample StageTimes::answered(Tag tag) {
  if (tag == 0) return 0;
  const Sample sample = ++last_;
  answered_[sample % answered_.size()] = {sample, writes_[tag - 1], steps_.take(tag - 1)};
  return sample;
}

void StageTimes::dropped(Tag tag) {
  if (tag != 0) (void)steps_.take(tag - 1);
}

void StageTimes::sent(Sample sample, SteadyTime now) {
  if (sample == 0) return;
  const Applied& applied = answered_[sample % answered_.size()];
  if (applied.sample == sample) tell(applied, now);
}

void StageTimes::tell(const Applied& applied, SteadyTime sent) {
  using Step = statemachine::StepTimes::Step;
  const auto at = [&](Step step) { return applied.steps[static_cast<size_t>(step)]; };
  const auto durable = at(Step::kDurable), committed = at(Step::kCommitted),
             done = at(Step::kApplied);
  const Write& write = applied.write;
  if (!durable || !committed || !done) return;
  // Noted for one that had the place before.
  if (std::min({*durable, *committed, *done}) < write.enqueued) return;
  // A majority may have it before this node does.
  const SteadyTime majority = std::max(*durable, *committed);
  const SteadyTime applied_at = std::max(majority, *done);
  const auto tell_stage = [&](Stage stage, SteadyTime from, SteadyTime to) {
    const std::chrono::duration<double> took = to - from;
    probe_.stages[static_cast<size_t>(stage)]->observe_example(took.count(), write.address.value);
  };
  tell_stage(Stage::kHeld, write.arrived, write.taken);
  tell_stage(Stage::kEnqueue, write.taken, write.enqueued);
  tell_stage(Stage::kFlush, write.enqueued, *durable);
  tell_stage(Stage::kCommit, *durable, majority);
  tell_stage(Stage::kApply, majority, applied_at);
  tell_stage(Stage::kAnswer, applied_at, std::max(applied_at, sent));
}

}  // namespace tailrace::rpc
