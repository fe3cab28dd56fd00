#pragma once
// Gives copies of this node's state to members whose logs end below its begin
// (statemachine/state_copy.h). The receiver asks for each part, so what is on the way is bounded by
// its window; the rate is bounded here, for all receivers together.
//
// While a copy is read its checkpoint stays on disk, and the anchor `transfer:ID` keeps the log
// that the receiver will go on with. Both end when the receiver is silent for `idle_after`, or is
// too far behind (NodeOptions::follower_pin_bytes): then it has to begin anew.

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <variant>

#include "core/clock.h"
#include "core/mutex.h"
#include "replication/copy/copy_reader.h"
#include "replication/protocol/messages.h"
#include "replication/types/probe.h"
#include "statemachine/anchors.h"
#include "statemachine/state_machine.h"

namespace tailrace::replication {

struct CheckpointSenderOptions {
  std::string owner;            // of this node's store
  uint64_t bytes_per_s = 0;     // 0: no bound
  uint64_t most_log_bytes = 0;  // kept for a receiver
  std::chrono::milliseconds idle_after{60'000};
};

/// The calls on the executor; a thread of its own reads the disk and answers.
class CheckpointSender {
 public:
  /// Sends a message on the executor; any thread.
  using Send = std::function<void(NodeId, Message)>;

  CheckpointSender(fasterlog::Log& log, statemachine::StateMachine& state_machine,
                   statemachine::AnchorRegistry& anchors, CheckpointSenderOptions options,
                   Send send, Probe& probe);
  ~CheckpointSender();

  void asked(NodeId peer, const AskCheckpoint& message) { add({peer, message}); }
  void asked(NodeId peer, const ReadCheckpoint& message) { add({peer, message}); }
  /// Ends the thread and lets go of all copies; before the state machine ends.
  void stop();

 private:
  struct Job {
    NodeId peer;
    std::variant<AskCheckpoint, ReadCheckpoint> message;
  };
  struct Held {
    std::unique_ptr<statemachine::StateCopySource> source;
    SteadyTime used;
    std::unique_ptr<CopyReader> reader;  // of the source
  };

  void add(Job job);
  void run();
  void answer(NodeId peer, const AskCheckpoint& message);
  void answer(NodeId peer, const ReadCheckpoint& message);
  void hold(NodeId peer, std::unique_ptr<statemachine::StateCopySource> source);
  void take_checkpoint();
  void let_go_of_idle();
  void let_go(NodeId peer);
  /// Sleeps as the rate wants; false when the thread is to end.
  bool wait_for_rate(uint64_t bytes);

  fasterlog::Log& log_;
  statemachine::StateMachine& state_machine_;
  statemachine::AnchorRegistry& anchors_;
  const CheckpointSenderOptions options_;
  const Send send_;
  Probe& probe_;

  // The thread's.
  std::map<NodeId, Held> held_;
  SteadyTime free_at_{};  // when the rate allows the next part

  std::shared_ptr<std::atomic<bool>> taking_;  // a checkpoint that was asked for runs
  Mutex mutex_;
  Condition work_;
  std::deque<Job> jobs_ TAILRACE_GUARDED_BY(mutex_);
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // runs from the first job on
};

}  // namespace tailrace::replication
