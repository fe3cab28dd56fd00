#pragma once
// What one io thread owes its clients, and what decides it: the part of the server's thread that
// knows no sockets, so that the simulation of clusters can run it with any delays. Internal.
//
// Three things reach the desk late, and in any order among each other: what was applied, how the
// role has changed, and the status by which a command is let in. So none of them is believed
// without its epoch:
//
//   1. A command is enqueued in the epoch of the status that let it in, or not at all
//      (fasterlog::Log::try_enqueue_in). owe() remembers it by epoch and address.
//   2. What was applied answers the commands of its own epoch. The first stretch of a later one
//      says that the rest of the earlier ones was cut off: "unknown".
//   3. A lost lead makes "unknown" of what was not applied by then. That only keeps the client from
//      waiting; a later stretch would say the same.

#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/mutex.h"
#include "rpc/server/pending.h"

namespace tailrace::rpc {

/// `Asker`: whom an answer goes to.
template <typename Asker>
class AnswerDesk {
 public:
  using Batch = std::shared_ptr<const statemachine::AppliedBatch>;
  using Owed = Pending<Asker>;

  explicit AnswerDesk(AnswerFaults faults = {}) : pending_(faults) {}

  // ---- Any thread.
  /// A stretch, in the order in which they are applied. True when take_applied() has to be called
  /// on the desk's thread; one call takes all that has come by then.
  bool applied(Batch batch) {
    if (expecting_.fetch_or(0, std::memory_order_acq_rel) == 0) return false;
    const MutexLock lock(mutex_);
    inbox_.push_back(std::move(batch));
    return !std::exchange(inbox_told_, true);
  }

  // ---- On its thread.
  /// To be called before enqueueing, or before looking at applied in order to wait: from then on no
  /// stretch is missed.
  void expect() {
    // An atomic exchange on both sides: either the applier sees the 1, or we see what it has
    // applied.
    if (expecting_.load(std::memory_order_relaxed) == 0)
      expecting_.exchange(1, std::memory_order_acq_rel);
  }
  /// Nothing but what is owed, or waits here, needs to be told of what is applied.
  void rest() {
    if (pending_.empty() && waiters_.empty()) expecting_.exchange(0, std::memory_order_acq_rel);
  }

  void owe(Owed owed) { pending_.push(std::move(owed)); }
  bool owes() const { return !pending_.empty(); }

  /// `done(owed, answer)` and `unknown(owed)` for all that is decided by what was applied.
  template <typename Done, typename Unknown>
  void take_applied(const Done& done, const Unknown& unknown) {
    std::vector<Batch> batches;
    {
      const MutexLock lock(mutex_);
      batches.swap(inbox_);
      inbox_told_ = false;
    }
    for (const Batch& batch : batches)
      pending_.take_applied(*batch, done, unknown);
  }
  /// `epoch`: in which the node leads; nothing: it does not. `applied`: when that became so.
  template <typename Unknown>
  void role_changed(std::optional<Epoch> epoch, statemachine::LogPoint applied,
                    const Unknown& unknown) {
    pending_.take_other_epochs(epoch, applied, unknown);
  }

  /// Reads that wait for a state new enough.
  AppliedWaiters& waiters() { return waiters_; }

 private:
  std::atomic<int> expecting_{0};  // 1: stretches are wanted
  Mutex mutex_;
  std::vector<Batch> inbox_ TAILRACE_GUARDED_BY(mutex_);
  bool inbox_told_ TAILRACE_GUARDED_BY(mutex_) = false;

  PendingQueue<Asker> pending_;
  AppliedWaiters waiters_;
};

}  // namespace tailrace::rpc
