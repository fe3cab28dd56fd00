#pragma once
// The replication protocol: step(event) -> actions. No sockets, threads, clocks or disk, so that a
// whole cluster of cores can be run from one seed (tests/simulation).
//
// One leader, named by the coordinator, in an epoch that it has persisted. Followers subscribe from
// their own durable end; the leader checks that their log is a prefix of its own and streams bytes
// that are durable on its own disk. `committed` is what a majority of voters has durable, counted
// only once that covers the leader's epoch-start record.

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "replication/events.h"
#include "replication/role.h"

namespace tailrace::replication {

/// Deliberate faults, so that tests can show that their checkers would notice. Never set elsewhere.
struct ProtocolFaults {
  bool count_old_epochs = false;    // committed need not cover the epoch-start record
  bool accept_stale_epoch = false;  // a follower obeys an epoch below its promise
  bool skip_log_check = false;      // any follower's end is accepted
  bool ack_before_promise = false;  // a follower acknowledges before its promise is on disk
  bool minority_commits = false;    // one voter less than a majority is enough
};

struct CoreOptions {
  struct Peer {
    NodeId id;
    bool voter = true;
  };
  NodeId self;
  std::vector<Peer> members;  // self included
  std::chrono::nanoseconds heartbeat_interval{std::chrono::milliseconds(200)};
  std::chrono::nanoseconds peer_timeout{std::chrono::milliseconds(3000)};
  uint64_t window_bytes = 16u << 20;
  uint64_t batch_bytes = 1u << 20;
  uint64_t follower_pin_bytes = 4ull << 30;
  /// Stops the process when a step breaks an invariant (invariants.h).
#ifdef NDEBUG
  bool check_invariants = false;
#else
  bool check_invariants = true;
#endif
  ProtocolFaults faults;
};

/// What a leader knows of one other member.
struct FollowerState {
  bool voter = true;
  bool connected = false;
  bool streaming = false;  // its Subscribe was accepted on this connection
  bool shipping = false;   // a ShipBytes is under way
  bool needs_checkpoint = false;
  uint64_t incarnation = 0;
  Address next;          // first byte not shipped yet
  Address durable;       // its durable end, as last told; 0 while never heard
  Address acknowledged;  // acknowledged under this leader's epoch: its vote
  Address applied;
  Address told_committed;  // the last one sent to it
  std::optional<Address> pin;
  std::chrono::nanoseconds last_heard{0}, last_sent{0};
  // Lag in time: the durable end was `mark` at mark_time; it had all that was durable at
  // passed_time.
  Address mark;
  std::chrono::nanoseconds mark_time{0}, passed_time{0};
};

/// All the core remembers; readable for status, invariants and tests.
struct CoreState {
  Role role = Role::kStarting;
  NodeId leader;
  Epoch epoch;        // the one this node acts in; 0 before any
  Promise promise;    // the newest; it may still be on its way to disk
  Promise persisted;  // on disk
  LogPosition log;
  Address committed, applied;
  std::string problem;  // empty if well
  std::chrono::nanoseconds now{0};

  // Leader.
  bool serving = false;
  AddressRange epoch_start;  // of the current epoch's first record; empty before WriterReady
  std::vector<fasterlog::EpochStart> epochs;
  std::map<NodeId, FollowerState> followers;

  // Follower, learner.
  bool connected = false;  // to the leader
  bool streaming = false;  // the leader has accepted
  Address received;        // end of what was handed to the log; >= log.durable
  Address acknowledged;    // last told to the leader on this connection
  std::chrono::nanoseconds last_heard{0}, last_subscribed{0}, last_acknowledged{0}, retry_after{0};

  // Counts since the start.
  uint64_t acks_sent = 0, acks_received = 0, refusals_sent = 0, refusals_received = 0;
};

class InvariantChecker;

class Core {
 public:
  explicit Core(CoreOptions options);
  ~Core();

  /// Adds to `actions` what is to be done, in order. One thread at a time.
  void step(const Event& event, std::vector<Action>& actions);

  const CoreState& state() const { return state_; }
  const CoreOptions& options() const { return options_; }

 private:
  using Actions = std::vector<Action>;

  // core.cc
  void on(const Started& event, Actions& actions);
  void on(const Granted& event, Actions& actions);
  void on(const Tick& event, Actions& actions);
  void on(const PeerConnected& event, Actions& actions);
  void on(const PeerDisconnected& event, Actions& actions);
  void on(const Received& event, Actions& actions);
  void on(const PromisePersisted& event, Actions& actions);
  void on(const WriterReady& event, Actions& actions);
  void on(const LogMoved& event, Actions& actions);
  void on(const Shipped& event, Actions& actions);
  void on(const ShipFailed& event, Actions& actions);
  void on(const AppendFailed& event, Actions& actions);
  void refuse(NodeId peer, RefusalReason reason, std::string message, Actions& actions);
  void promise(Epoch epoch, NodeId leader, Actions& actions);
  void advance_committed(Address address, Actions& actions);
  void set_problem(std::string problem, Actions& actions);

  // leader.cc
  void leader_begin(Epoch epoch, Actions& actions);
  void leader_tick(Actions& actions);
  void leader_subscribe(NodeId peer, const Subscribe& message, Actions& actions);
  void leader_acknowledge(NodeId peer, const Acknowledge& message, Actions& actions);
  void leader_lost(NodeId peer);
  void leader_step_down(Epoch higher, NodeId told_by, Actions& actions);
  void leader_count(Actions& actions);
  void leader_ship(NodeId peer, FollowerState& follower, Actions& actions);
  void leader_ship_all(Actions& actions);
  void leader_tell_committed(Actions& actions);
  void leader_heartbeat(NodeId peer, FollowerState& follower, Actions& actions);
  void leader_pin(NodeId peer, FollowerState& follower, Actions& actions);
  std::optional<std::string> why_log_differs(const Subscribe& message) const;

  // follower.cc
  void follower_begin(Actions& actions);
  void follower_tick(Actions& actions);
  void follower_subscribe(Actions& actions);
  void follower_accept(NodeId peer, const Accept& message, Actions& actions);
  void follower_data(NodeId peer, const Data& message, Actions& actions);
  void follower_refused(NodeId peer, const Refuse& message, Actions& actions);
  void follower_acknowledge(Actions& actions);
  bool follower_obeys(NodeId peer, Epoch epoch, Actions& actions);
  bool follows() const { return state_.role == Role::kFollower || state_.role == Role::kLearner; }

  CoreOptions options_;
  CoreState state_;
  std::unique_ptr<InvariantChecker> checker_;  // null unless options_.check_invariants
};

}  // namespace tailrace::replication
