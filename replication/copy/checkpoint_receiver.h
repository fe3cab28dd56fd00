#pragma once
// Takes a copy of the leader's state when this node's log ends below the leader's begin
// (statemachine/state_copy.h says what is on disk and what a crash leaves).
//
//   idle -> asking -> receiving -> checking -> complete: the node is to start anew, and installs it
//
// A connection that ends, a silent source and a new leader lead back to asking; what has been
// received of the same copy stays. A failed write or fsync is final, as everywhere; a full disk and
// a copy that does not check begin anew after a pause.

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "core/clock.h"
#include "core/mutex.h"
#include "replication/copy/checkpoint_copy_status.h"
#include "replication/protocol/messages.h"
#include "replication/types/probe.h"
#include "statemachine/state_copy.h"

namespace tailrace::replication {

/// All calls on the executor; a thread of its own writes and checks.
class CheckpointReceiver {
 public:
  struct Hooks {
    /// On the executor, as all of the receiver's calls.
    std::function<void(NodeId, Message)> send;
    /// Any thread; the function runs on the executor, or never once the receiver is gone.
    std::function<void(std::function<void()>)> post;
    /// The copy is there and checked. Who wants it still calls commit(), who does not not_wanted().
    std::function<void()> complete;
  };

  CheckpointReceiver(storage::FileSystem& file_system, statemachine::StateCopyOptions options,
                     Hooks hooks, const Clock& clock, Probe& probe);
  ~CheckpointReceiver();

  /// Looks for what an earlier run left.
  void start();
  /// `from`, which leads, cannot extend this node's log, which ends at `end`: that is below its
  /// own begin, or parted from its log before. What it offers holds all that was ever committed, so
  /// it may end before `end`: what stands there beyond is not part of the cluster's log.
  /// `committed` is what this node itself knows, and nothing that ends before that is taken.
  void wanted(NodeId from, Address end, Address committed);
  /// The log is extended after all: what was copied is dropped.
  void not_wanted();
  void received(NodeId peer, OfferCheckpoint message);
  void received(NodeId peer, CheckpointPart message);
  void tick();
  void stop();
  /// After `complete` and stop(): at its next start the node installs the copy, in place of all
  /// that it has.
  Result<> commit();
  const statemachine::StateCopyPlan& plan() const { return plan_; }
  /// Where this node's log ended when it was last refused.
  Address refused_end() const { return refused_end_; }
  const CheckpointCopyStatus& status() const { return status_; }

 private:
  using Stage = CheckpointCopyStatus::Stage;
  using Work = std::function<void()>;

  void ask();
  void pause(std::string problem, std::chrono::milliseconds time);
  void begun(uint64_t generation, const Result<>& result);
  void request();
  void written(uint64_t generation, uint64_t bytes, const Result<>& result);
  void checked(uint64_t generation, const Result<>& result);
  void failed(const Error& error);
  void work(Work work);
  void run();
  /// On the thread: runs `function`, then gives `then` its result on the executor.
  void work_then(std::function<Result<>()> function, std::function<void(const Result<>&)> then);

  const Hooks hooks_;
  const Clock& clock_;
  Probe& probe_;

  // The executor's.
  CheckpointCopyStatus status_;
  Address at_least_, refused_end_;
  bool busy_ = false;        // the thread begins or checks a copy
  uint64_t generation_ = 0;  // of what the thread was given; results of an older one are not heard
  statemachine::StateCopyPlan plan_;
  uint64_t requested_ = 0, arrived_ = 0, written_ = 0;  // written_ <= arrived_ <= requested_
  SteadyTime heard_{}, asked_{}, not_before_{};

  // The thread's.
  statemachine::IncomingState incoming_;
  uint64_t unsaved_bytes_ = 0;
  SteadyTime saved_at_{};

  Mutex mutex_;
  Condition work_;
  std::deque<Work> jobs_ TAILRACE_GUARDED_BY(mutex_);  // bounded by the window
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // runs from the first job on
};

}  // namespace tailrace::replication
