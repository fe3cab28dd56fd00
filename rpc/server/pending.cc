#include "rpc/server/pending.h"

namespace tailrace::rpc {

AppliedWaiters::Id AppliedWaiters::add(Address applied, Epoch epoch, SteadyTime deadline,
                                       Callback callback) {
  const Id id = ++last_id_;
  waiters_.emplace(id, Waiter{applied, epoch, deadline, std::move(callback)});
  by_epoch_.emplace(epoch, id);
  by_deadline_.emplace(deadline, id);
  return id;
}

void AppliedWaiters::forget(Id id) {
  if (waiters_.contains(id)) take(id);
}

AppliedWaiters::Callback AppliedWaiters::take(Id id) {
  const auto found = waiters_.find(id);
  by_epoch_.erase({found->second.epoch, id});
  by_address_.erase({found->second.address, id});
  by_deadline_.erase({found->second.deadline, id});
  Callback callback = std::move(found->second.callback);
  waiters_.erase(found);
  return callback;
}

bool AppliedWaiters::run_ready(Address applied, Epoch epoch, size_t most) {
  while (!by_epoch_.empty() && by_epoch_.begin()->first <= epoch) {
    const Id id = by_epoch_.begin()->second;
    by_epoch_.erase(by_epoch_.begin());
    by_address_.emplace(waiters_.at(id).address, id);
  }
  // Taken out first: a callback may add another.
  std::vector<Callback> ready;
  const auto is_ready = [&] {
    return !by_address_.empty() && by_address_.begin()->first <= applied;
  };
  while (is_ready() && ready.size() < most)
    ready.push_back(take(by_address_.begin()->second));
  const bool more = is_ready();
  for (Callback& callback : ready)
    callback({});
  return more;
}

bool AppliedWaiters::run_expired(SteadyTime now, Address applied, size_t most) {
  std::vector<std::pair<std::string, Callback>> expired;
  const auto is_over = [&] { return !by_deadline_.empty() && by_deadline_.begin()->first <= now; };
  while (is_over() && expired.size() < most) {
    const Id id = by_deadline_.begin()->second;
    const Waiter& waiter = waiters_.at(id);
    std::string missing = applied < waiter.address
                              ? fmt::format("address {}", waiter.address.value)
                              : fmt::format("anything of epoch {}", waiter.epoch.value);
    expired.emplace_back(std::move(missing), take(id));
  }
  const bool more = is_over();
  for (auto& [missing, callback] : expired)
    callback(make_error(ErrorCode::kTimedOut,
                        fmt::format("this node has not applied {} in time: it has applied all "
                                    "below address {}",
                                    missing, applied.value)));
  return more;
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
