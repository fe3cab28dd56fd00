#pragma once
// The server of one simulated node, as far as it decides about answers: the real AnswerDesk, on an
// io thread that now and then stands still, told late of what is applied, of the role and of the
// status by which it lets commands in. What clients are told is judged by the committed log alone.

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cluster.h"
#include "rpc/server/answer_desk.h"

namespace tailrace::simulation {

class Cluster::ServerSide {
 public:
  /// As the node starts: what stands below the log's begin is in a checkpoint.
  ServerSide(Cluster& cluster, SimNode& node);

  /// A client's request has come.
  void arrive(std::function<void()> frame);
  /// Adds one to the counter, in a session of its own.
  void handle_add();
  enum class Level { kLinearizable, kAtLeast, kAny };
  void handle_read(Level level, statemachine::LogPoint asked);

  /// The protocol's core wants this done; it is about to be.
  void observe(const replication::Action& action);
  /// The driver's tick, and the io thread's.
  void tick();

 private:
  struct Status {
    bool leads = false, serving = false;
    Epoch epoch;
  };
  struct Asker {
    uint64_t session = 0;
  };
  /// A linearizable read that waits for a round.
  struct Confirmation {
    uint64_t round = 0;
    Epoch epoch;
    Address committed;
    std::function<void(std::optional<Address>)> done;
  };
  using Owed = rpc::AnswerDesk<Asker>::Owed;

  void post(std::function<void()> task);
  void run_tasks();
  void take_frames();
  void apply_soon();
  void apply_stretch();
  void take_inbox();
  void publish();
  void role_changed(Status status, statemachine::LogPoint applied);
  void look_at_waiters();
  void confirm(std::function<void(std::optional<Address>)> done);
  void settle_confirmations(uint64_t confirmed);
  void await(statemachine::LogPoint needed, std::function<void()> then);
  void answer_read(Level level, statemachine::LogPoint asked, Address told_before);
  void told_unknown(const Owed& owed);
  Epoch epoch_before(Address end) const;
  const Status& status();
  Time pause();

  Cluster& cluster_;
  SimNode& node_;
  Random& random_;
  Status published_;
  std::optional<Epoch> writer_;  // in which the log takes records of this node

  // The io thread.
  rpc::AnswerDesk<Asker> desk_;
  std::deque<std::function<void()>> tasks_, frames_;
  bool runs_ = false, pass_posted_ = false, look_posted_ = false;
  size_t frames_left_ = 0;        // of this pass
  std::optional<Status> status_;  // of this pass over frames

  // The applier.
  ModelState state_;
  size_t batches_ = 0;  // applied
  statemachine::LogPoint applied_;

  std::vector<Confirmation> confirmations_;
};

}  // namespace tailrace::simulation
