#include "rpc/server/checkpoint_desk.h"

#include <algorithm>
#include <utility>

#include "core/thread.h"

namespace tailrace::rpc {

CheckpointDesk::CheckpointDesk(Take take, std::chrono::milliseconds least_pause)
    : take_(std::move(take)),
      least_pause_(least_pause),
      thread_(named_thread("checkpoint_ask", [this] { run(); })) {}

CheckpointDesk::~CheckpointDesk() {
  stop();
}

void CheckpointDesk::stop() {
  {
    const MutexLock lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  if (thread_.joinable()) thread_.join();
}

void CheckpointDesk::ask(std::weak_ptr<void> wanted, Done done) {
  {
    const MutexLock lock(state_->mutex);
    state_->waiting.push_back({std::move(wanted), std::move(done)});
  }
  state_->changed.notify_all();
}

std::vector<CheckpointDesk::Asker> CheckpointDesk::next_askers(SteadyTime not_before) {
  State& state = *state_;
  MutexLock lock(state.mutex);
  for (;;) {
    state.changed.wait(lock, [&]() TAILRACE_REQUIRES(state.mutex) {
      return state.stopping || !state.waiting.empty();
    });
    state.changed.wait_until(lock, not_before,
                             [&]() TAILRACE_REQUIRES(state.mutex) { return state.stopping; });
    if (state.stopping) return {};
    std::erase_if(state.waiting, [](const Asker& asker) { return asker.wanted.expired(); });
    if (!state.waiting.empty()) return std::exchange(state.waiting, {});
  }
}

void CheckpointDesk::run() {
  SteadyTime not_before{};
  for (;;) {
    const std::vector<Asker> askers = next_askers(not_before);
    if (askers.empty()) return;
    const SteadyTime begun = std::chrono::steady_clock::now();
    take_([state = state_](Result<Address> outcome) {
      const MutexLock lock(state->mutex);
      state->outcome = std::move(outcome);
      state->changed.notify_all();
    });
    MutexLock lock(state_->mutex);
    state_->changed.wait(lock, [this]() TAILRACE_REQUIRES(state_->mutex) {
      return state_->stopping || state_->outcome.has_value();
    });
    if (state_->stopping) return;
    const Result<Address> outcome = *std::exchange(state_->outcome, std::nullopt);
    lock.unlock();
    const SteadyTime ended = std::chrono::steady_clock::now();
    not_before = ended + std::max<std::chrono::nanoseconds>(least_pause_, ended - begun);
    for (const Asker& asker : askers)
      asker.done(outcome);
  }
}

}  // namespace tailrace::rpc
