#include "rpc/pending.h"

namespace tailrace::rpc {

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

void AppliedWaiters::run_expired(SteadyTime now, Address applied) {
  std::vector<std::pair<Address, Waiter>> expired;
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    if (it->second.deadline > now) {
      ++it;
      continue;
    }
    expired.emplace_back(it->first, std::move(it->second));
    it = waiters_.erase(it);
  }
  for (auto& [address, waiter] : expired) {
    const std::string missing = applied < address
                                    ? fmt::format("address {}", address.value)
                                    : fmt::format("anything of epoch {}", waiter.epoch.value);
    waiter.callback(make_error(ErrorCode::kTimedOut,
                               fmt::format("this node has not applied {} in time: it has applied "
                                           "all below address {}",
                                           missing, applied.value)));
  }
}

Result<> check_named(Epoch found, statemachine::LogPoint asked) {
  if (asked.epoch == Epoch{} || found <= asked.epoch) return {};
  return make_error(
      ErrorCode::kFailedPrecondition,
      fmt::format("at address {} stands a record of epoch {}: what epoch {} had there was never "
                  "committed and is gone",
                  asked.address.value, found.value, asked.epoch.value));
}

Result<> check_named(const fasterlog::Log& log, statemachine::LogPoint applied,
                     statemachine::LogPoint asked) {
  if (asked.epoch >= applied.epoch) return {};  // no record below is of a later one
  return check_named(log.epoch_before(asked.address), asked);
}

}  // namespace tailrace::rpc
