#pragma once
// What waits for the state machine: commands for their answers, reads for a state new enough. Each
// belongs to one io thread.
//
// An address says nothing of a record without its epoch: what no majority had may be cut off, and
// another leader's records stand at the same addresses then. So commands are known by both.

#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/address.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/result.h"
#include "statemachine/state_machine.h"

namespace tailrace::rpc {

/// Deliberate faults, so that tests can show that their checkers would notice. Never set elsewhere.
struct AnswerFaults {
  bool by_address_alone = false;  // any record at a command's address answers it
  bool operator==(const AnswerFaults&) const = default;
};

/// A command in the log whose answer is owed to `asker`.
template <typename Asker>
struct Pending {
  Epoch epoch;  // of its records
  AddressRange range;
  Address last;  // where the last of them begins
  Asker asker;
};

/// Ordered by epoch, then by address: one thread enqueues, and the log takes a command only in the
/// epoch that the thread names. A node that loses the lead and gets it back enqueues below what it
/// had enqueued before.
template <typename Asker>
class PendingQueue {
 public:
  explicit PendingQueue(AnswerFaults faults = {}) : faults_(faults) {}

  void push(Pending<Asker> pending) {
    if (!queue_.empty()) {
      const Pending<Asker>& before = queue_.back();
      const bool follows =
          before.epoch < pending.epoch ||
          (before.epoch == pending.epoch && before.range.end <= pending.range.first);
      TAILRACE_CHECK(follows || faults_.by_address_alone,
                     fmt::format("pending answers must ascend: {} of epoch {} after {} of epoch {}",
                                 pending.range.first.value, pending.epoch.value,
                                 before.range.end.value, before.epoch.value));
    }
    queue_.push_back(std::move(pending));
  }
  bool empty() const { return queue_.empty(); }
  size_t size() const { return queue_.size(); }

  /// Takes out what `batch` decides, oldest first. Its own commands: `done(pending, answer)`, where
  /// null is "done, no value". Those of epochs before it: `unknown(pending)`, for all that is left
  /// of these epochs was applied, and they were not among it.
  template <typename Done, typename Unknown>
  void take_applied(const statemachine::AppliedBatch& batch, const Done& done,
                    const Unknown& unknown) {
    auto answer = batch.answers.begin();
    while (!queue_.empty()) {
      const Pending<Asker>& front = queue_.front();
      const bool older = front.epoch < batch.epoch && !faults_.by_address_alone;
      const bool covered = (front.epoch == batch.epoch || faults_.by_address_alone) &&
                           front.range.end <= batch.range.end;
      if (!older && !covered) return;
      const Pending<Asker> pending = std::move(queue_.front());
      queue_.pop_front();
      if (older) {
        unknown(pending);
        continue;
      }
      while (answer != batch.answers.end() && answer->first < pending.range.first)
        ++answer;
      const bool own = answer != batch.answers.end() && answer->first == pending.range.first;
      done(pending, own ? &answer->second : nullptr);
    }
  }

  /// The node leads in `epoch`, or not at all. Takes out what is of another epoch, but not what
  /// that epoch had applied by then: its answer is on its way.
  template <typename Unknown>
  void take_other_epochs(std::optional<Epoch> epoch, statemachine::LogPoint applied,
                         const Unknown& unknown) {
    std::deque<Pending<Asker>> kept, gone;
    for (Pending<Asker>& pending : queue_) {
      const bool present = epoch && pending.epoch == *epoch;
      const bool done = pending.epoch <= applied.epoch && pending.range.end <= applied.address;
      (present || done ? kept : gone).push_back(std::move(pending));
    }
    queue_ = std::move(kept);
    for (const Pending<Asker>& pending : gone)
      unknown(pending);
  }

 private:
  const AnswerFaults faults_;
  std::deque<Pending<Asker>> queue_;
};

/// Callbacks that run once applied (and the node's epoch) have come far enough, or with kTimedOut.
/// None is looked at before its turn: each waits for its epoch, then for its address, and expires
/// in the order of the deadlines.
class AppliedWaiters {
 public:
  using Callback = std::function<void(Result<>)>;
  using Id = uint64_t;  // from 1
  Id add(Address applied, Epoch epoch, SteadyTime deadline, Callback callback);
  /// Nobody waits for it any more; nothing when it was called already.
  void forget(Id id);
  bool empty() const { return waiters_.empty(); }
  /// At most so many at a time; true when there are more.
  bool run_ready(Address applied, Epoch epoch, size_t most = SIZE_MAX);
  /// `applied`: how far the state is, for the message.
  bool run_expired(SteadyTime now, Address applied, size_t most = SIZE_MAX);

 private:
  struct Waiter {
    Address address;
    Epoch epoch;
    SteadyTime deadline;
    Callback callback;
  };
  Callback take(Id id);

  Id last_id_ = 0;
  std::unordered_map<Id, Waiter> waiters_;  // each is by deadline, and by epoch or by address
  std::set<std::pair<Epoch, Id>> by_epoch_;
  std::set<std::pair<Address, Id>> by_address_;  // their epoch has come
  std::set<std::pair<SteadyTime, Id>> by_deadline_;
};

/// Whether the state at `applied`, which is not below `asked`, is what whoever names `asked` has
/// heard of: kFailedPrecondition when a later epoch's record stands at that address. `log` is asked
/// only for addresses of epochs before the last one.
Result<> check_named(const fasterlog::Log& log, statemachine::LogPoint applied,
                     statemachine::LogPoint asked);
/// The same, where `found` is the epoch of the record at that address; 0: not known.
Result<> check_named(Epoch found, statemachine::LogPoint asked);

}  // namespace tailrace::rpc
