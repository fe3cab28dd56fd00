#include "rpc/pending.h"

#include <fmt/format.h>

#include "core/check.h"

namespace tailrace::rpc {

void PendingQueue::push(Pending pending) {
  TAILRACE_CHECK(queue_.empty() || queue_.back().range.end <= pending.range.first,
                 fmt::format("pending answers must ascend: {} after {}", pending.range.first.value,
                             queue_.back().range.end.value));
  queue_.push_back(std::move(pending));
}

void PendingQueue::pop_applied(const statemachine::AppliedBatch& batch, const Visit& visit) {
  auto answer = batch.answers.begin();
  while (!queue_.empty() && queue_.front().range.end <= batch.range.end) {
    const Pending pending = std::move(queue_.front());
    queue_.pop_front();
    while (answer != batch.answers.end() && answer->first < pending.range.first)
      ++answer;
    const bool own = answer != batch.answers.end() && answer->first == pending.range.first;
    visit(pending, own ? &answer->second : nullptr);
  }
}

void PendingQueue::pop_other_epochs(std::optional<Epoch> epoch, Address applied,
                                    const std::function<void(const Pending&)>& visit) {
  std::deque<Pending> kept, gone;
  for (Pending& pending : queue_)
    ((epoch && pending.epoch == *epoch) || pending.range.end <= applied ? kept : gone)
        .push_back(std::move(pending));
  queue_ = std::move(kept);
  for (const Pending& pending : gone)
    visit(pending);
}

void AppliedWaiters::add(Address applied, Epoch epoch, SteadyTime deadline, Callback callback) {
  waiters_.emplace(applied, Waiter{epoch, deadline, std::move(callback)});
}

void AppliedWaiters::run_ready(Address applied, Epoch epoch) {
  // Taken out first: a callback may add another.
  std::vector<Callback> ready;
  for (auto it = waiters_.begin(); it != waiters_.end() && it->first <= applied;) {
    if (it->second.epoch > epoch) {
      ++it;
      continue;
    }
    ready.push_back(std::move(it->second.callback));
    it = waiters_.erase(it);
  }
  for (Callback& callback : ready)
    callback({});
}

void AppliedWaiters::run_expired(SteadyTime now) {
  std::vector<std::pair<Address, Callback>> expired;
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    if (it->second.deadline > now) {
      ++it;
      continue;
    }
    expired.emplace_back(it->first, std::move(it->second.callback));
    it = waiters_.erase(it);
  }
  for (auto& [address, callback] : expired)
    callback(
        make_error(ErrorCode::kTimedOut,
                   fmt::format("this node has not applied address {} in time", address.value)));
}

}  // namespace tailrace::rpc
