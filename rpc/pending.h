#pragma once
// What waits for the state machine: commands for their answers, reads for a state new enough. Each
// belongs to one io thread.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/address.h"
#include "core/clock.h"
#include "core/result.h"
#include "rpc/probe.h"
#include "statemachine/state_machine.h"

namespace tailrace::rpc {

class Connection;

/// A command in the log whose answer is owed.
struct Pending {
  AddressRange range;
  Address last;  // where the last of its records begins
  Epoch epoch;   // the answer belongs to it
  std::weak_ptr<Connection> connection;
  uint64_t id = 0;  // of the request
  RequestKind kind = RequestKind::kPut;
  SteadyTime started;
};

/// Ordered by address: one thread enqueues, so its ranges ascend.
class PendingQueue {
 public:
  void push(Pending pending);
  bool empty() const { return queue_.empty(); }
  size_t size() const { return queue_.size(); }

  /// Takes out all that `batch` covers; `answer` is null for "done, no value".
  using Visit = std::function<void(const Pending&, const statemachine::Answer* answer)>;
  void pop_applied(const statemachine::AppliedBatch& batch, const Visit& visit);
  /// Takes out all that do not belong to `epoch` (nothing: all).
  /// What was applied before the epoch ended stays: its answer is on its way.
  void pop_other_epochs(std::optional<Epoch> epoch, Address applied,
                        const std::function<void(const Pending&)>& visit);

 private:
  std::deque<Pending> queue_;
};

/// Callbacks that run once applied (and epoch) have come far enough, or with kTimedOut.
class AppliedWaiters {
 public:
  using Callback = std::function<void(Result<>)>;
  void add(Address applied, Epoch epoch, SteadyTime deadline, Callback callback);
  bool empty() const { return waiters_.empty(); }
  void run_ready(Address applied, Epoch epoch);
  void run_expired(SteadyTime now);

 private:
  struct Waiter {
    Epoch epoch;
    SteadyTime deadline;
    Callback callback;
  };
  std::multimap<Address, Waiter> waiters_;
};

}  // namespace tailrace::rpc
