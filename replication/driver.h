#pragma once
// The driver: node.h's implementation. Its own header so that node.cc (events, actions) and
// node_status.cc (status, metrics) stay files of one idea.

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "replication/clock_offset.h"
#include "replication/coordinator.h"
#include "replication/copy/checkpoint_receiver.h"
#include "replication/copy/checkpoint_sender.h"
#include "replication/divergence_file.h"
#include "replication/leader_rules.h"
#include "replication/node.h"
#include "replication/promise_file.h"
#include "replication/protocol/core.h"
#include "replication/round_trips.h"
#include "replication/stall_watch.h"
#include "replication/state_comparison.h"
#include "replication/types/probe.h"

namespace tailrace::replication {

class Driver final : public Node, public TransportHandler {
 public:
  Driver(storage::FileSystem& file_system, NodeOptions options, fasterlog::Log& log,
         statemachine::StateMachine& state_machine, statemachine::Watermarks& watermarks,
         statemachine::AnchorRegistry& anchors, Executor& executor, Transport& transport,
         std::unique_ptr<Coordinator> coordinator, const Clock& clock);
  ~Driver() override;

  Result<> start() override;
  void stop() override;
  void tick() override;
  std::shared_ptr<const NodeStatus> status() const override;
  void set_role_listener(std::function<void(const NodeStatus&)> listener) override;
  void set_fatal_listener(std::function<void(const Error&)> listener) override;
  void set_restart_listener(std::function<void()> listener) override;
  void confirm_leadership(SteadyTime deadline, Node::Confirmed done) override;
  void transfer(NodeId to, Done done) override;
  void change_members(MemberChange change, Done done) override;
  void promote(Done done) override;
  void register_metrics(observability::MetricRegistry& registry) override;

  Introduction introduction() const override { return core_.introduction(); }
  Acquaintance acquaintance(NodeId peer, const Introduction& said) const override {
    return core_.acquaintance(peer, said);
  }
  bool may_send_batches(NodeId peer) const override { return core_.may_send_batches(peer); }
  void on_connected(NodeId peer, const Introduction& introduction) override;
  void on_disconnected(NodeId peer, const std::string& reason) override;
  void on_message(NodeId peer, Message message) override;

 private:
  /// Lets a posted function find out that the driver is gone.
  struct Link {
    Mutex mutex;
    Driver* driver TAILRACE_GUARDED_BY(mutex) = nullptr;
    std::atomic<bool> posted{false};
    std::atomic<bool> leads{false};  // only then a flush that begins is of interest
  };

  // All below, but what is named otherwise, belongs to the executor.
  void handle(Event event);
  void perform(Action& action);
  void perform_one(const PersistPromise& action);
  void perform_one(const BecomeWriter& action);
  void perform_one(const AppendMembers& action);
  void perform_one(const MembersChanged& action);
  void perform_one(const BecomeCopy& action);
  void perform_one(const DropAppends& action);
  void perform_one(const CutLog& action);
  void perform_one(const Disconnect& action);
  void perform_one(Send& action);
  void perform_one(const ShipBytes& action);
  /// Reads them, or gives those that are on their way to another follower.
  Result<SharedBytes> bytes_to_ship(const ShipBytes& action);
  void perform_one(AppendRaw& action);
  void perform_one(const AdvanceCommitted& action);
  void perform_one(const SetAnchor& action);
  void perform_one(const RemoveAnchor& action);
  void perform_one(const Resign& action);
  void perform_one(const SeekLead& action);
  void perform_one(const replication::Confirmed& action);
  void perform_one(const FetchCheckpoint& action);
  void perform_one(const Fatal& action);
  void perform_one(const StateChanged& action);
  void on_log_moved();
  /// Runs `function` on the executor unless the driver is gone by then.
  void post(std::function<void(Driver&)> function);
  /// Whether it is about a copy of a state: nothing that the protocol has to know.
  bool about_checkpoint(NodeId peer, Message& message);
  /// A copy of another node's state is complete.
  void adopt_copy();
  /// With what was received and waits for room in the log.
  Address log_end() const;
  /// As post(), for who lives no longer than the driver.
  std::function<void(std::function<void()>)> poster();
  Result<Promise> open_promise();
  Candidacy candidacy() const;
  void log_refusal(NodeId peer, const Refuse& refused);
  void start_coordinator();
  void start_without_coordinator();
  void warn_of_other_members() const;
  Result<> check_file_before(const Members& next) const;
  void ask_round();
  void settle_confirmations();
  void settle_transfer();
  void settle_change();
  void drain_appends();
  void write_epoch_start();
  // leader_rules.cc
  void tick_rules();
  // node_health.cc
  Result<> recall_divergence();
  void tick_health();
  void count_without_leader();
  void ask_for_digest();
  /// A leader whose state has diverged lets another lead.
  void step_down_diverged();
  void remember_divergence();
  void on_compare(NodeId peer, const CompareState& question);
  void on_compared(NodeId peer, const StateCompared& answer);
  /// Healthy, by a comparison that this node has led, and fit to lead; 0: none.
  NodeId compared_successor() const;
  std::string remedy() const;
  std::string unhealthy() const;
  /// On the leader: whose states differ, when nobody knows which is right; empty: none.
  std::string disagreement() const;
  std::optional<Error> store_refusal() const;
  std::string unhealthy(const FollowerState& follower, NodeId id) const;
  LogPosition position();
  /// The protocol's time: goes on while the machine is suspended, for what was fresh before is not.
  std::chrono::nanoseconds now() const;
  void fail(Error error);
  void publish();
  std::shared_ptr<NodeStatus> make_status() const;
  std::string why_no_leader() const;

  const NodeOptions options_;
  fasterlog::Log& log_;
  statemachine::StateMachine& state_machine_;
  statemachine::Watermarks& watermarks_;
  statemachine::AnchorRegistry& anchors_;
  Executor& executor_;
  Transport& transport_;
  const Clock& clock_;
  PromiseFile promise_file_;
  const bool has_coordinator_;
  std::unique_ptr<Coordinator> coordinator_;  // without one: null until the others were heard
  std::optional<std::chrono::nanoseconds> refusal_said_;  // to no member
  uint64_t refusals_unsaid_ = 0;
  NodeId promised_at_start_;  // whom this disk had promised its epoch to
  Core core_;
  Probe probe_;
  std::shared_ptr<Link> link_;
  CheckpointSender checkpoint_sender_;
  CheckpointReceiver checkpoint_receiver_;
  StateComparison comparison_;
  uint32_t version_told_ = 0;  // of the cluster, in a line of the log; 0: none yet
  DivergenceFile divergence_file_;
  bool divergence_told_ = false;            // in the program's log
  bool divergence_kept_ = false;            // on disk
  bool dispute_told_ = false;               // in the program's log
  std::optional<SteadyTime> stepped_down_;  // when that was tried
  StallWatch applier_;
  std::map<NodeId, StallWatch> appliers_;  // of the followers, as far as they say

  std::deque<Event> events_;     // waiting for step()
  std::vector<Action> actions_;  // of the present step
  bool handling_ = false;
  bool running_ = false;
  bool epoch_start_waits_ = false;  // this node leads; its epoch's first record waits for room
  std::deque<AppendRaw> appends_;   // waiting for room in the log, in order
  /// Bytes of the log that were read for a follower: the next one often wants the same. Until the
  /// next tick, at most.
  struct OnTheirWay {
    Address from;
    uint64_t most_bytes = 0;
    bool flushing = false;
    SharedBytes bytes;
  };
  RoundTrips round_trips_;
  ClockOffset clock_offset_;
  std::optional<std::chrono::nanoseconds> leader_looked_;  // when without_leader was counted last
  OnTheirWay shipped_;  // the newest; forgotten where the log's bytes may change
  /// A confirmation that is waited for; round 0: the next one to be asked.
  struct Confirmation {
    uint64_t round;
    Epoch epoch;
    Address committed;  // when it was asked
    SteadyTime deadline;
    Node::Confirmed done;
  };
  std::vector<Confirmation> confirmations_;
  uint64_t asked_round_ = 0;  // the one on its way, unless it is confirmed
  /// A hand-over that runs.
  struct PendingTransfer {
    NodeId to;
    Epoch epoch;               // in which this node leads
    bool handed_over = false;  // this node has resigned for `to`
    Done done;
  };
  std::optional<PendingTransfer> transfer_;
  /// A change of the members that is enqueued and not committed yet.
  struct PendingChange {
    Epoch epoch;
    AddressRange record;
    Done done;
  };
  std::optional<PendingChange> change_;
  uint64_t incarnation_ = 0;  // of the disk, as the promise on it says
  std::string role_told_;     // the last line of the log about it
  LeaderRules leader_rules_;
  std::optional<Error> failed_;  // told to the fatal listener
  Epoch table_epoch_;            // log.last_epoch() when table_ was read
  Address table_begin_;
  std::shared_ptr<const EpochTable> table_;
  std::function<void(const NodeStatus&)> role_listener_;
  std::function<void(const Error&)> fatal_listener_;
  std::function<void()> restart_listener_;
  fasterlog::Log::ListenerHandle log_listener_;

  mutable Mutex status_mutex_;
  std::shared_ptr<const NodeStatus> status_ TAILRACE_GUARDED_BY(status_mutex_);
};

}  // namespace tailrace::replication
