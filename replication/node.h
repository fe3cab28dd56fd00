#pragma once
// The driver around the pure core: feeds it events from the log, the transport, the coordinator and
// the clock, and carries out its actions.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/clock.h"
#include "core/result.h"
#include "fasterlog/log.h"
#include "observability/metrics.h"
#include "replication/coordinator.h"
#include "replication/copy/checkpoint_copy_status.h"
#include "replication/protocol/membership.h"
#include "replication/protocol/messages.h"
#include "replication/protocol/role.h"
#include "replication/transport.h"
#include "statemachine/anchors.h"
#include "statemachine/state_machine.h"
#include "statemachine/watermarks.h"
#include "storage/file_system.h"

namespace tailrace::replication {

struct NodeOptions {
  NodeId self;
  std::string cluster;
  storage::Path directory;  // of the promise file
  Members members;          // self included, until the log has a record of them
  /// Reads the members that the configuration file names now: a new disk goes by them. Null: the
  /// file has not changed since the start.
  std::function<Result<Members>()> members_in_file;
  NodeId leader;  // the static coordinator's choice at the first start; 0 with another
  std::chrono::milliseconds tick_interval{50};
  std::chrono::milliseconds heartbeat_interval{200};
  std::chrono::milliseconds peer_timeout{3000};  // silence after which a peer is gone
  /// A leader or candidate without a majority for so long lets another try. Not with the static
  /// coordinator, which has no other.
  std::chrono::milliseconds give_up_after{6000};
  std::chrono::milliseconds transfer_timeout{2000};  // then a planned hand-over is called off
  /// The leader has all nodes digest their states and compares them, so often at most. 0: never.
  std::chrono::milliseconds digest_interval{60000};
  /// A node that has applied nothing for so long, although more is committed, is unhealthy.
  std::chrono::milliseconds apply_stall_after{10000};
  /// When all members know a newer cluster version, the leader waits for so long before the cluster
  /// goes over to it (core/cluster_version.h); until then the older program can be put back.
  std::chrono::milliseconds finalize_after{600000};
  /// The newest version that the cluster goes over to.
  uint32_t most_cluster_version = kClusterVersion;
  uint64_t window_bytes = 16u << 20;         // shipped beyond a follower's acknowledgement
  uint32_t batch_bytes = 1u << 20;           // most bytes in one Data message
  uint64_t follower_pin_bytes = 4ull << 30;  // log kept for a follower; past it the pin falls
  /// At most so much a second of copies of this node's state, to all who need one; 0: no bound.
  uint64_t checkpoint_bytes_per_s = 256u << 20;
  /// The node's own, so that a copy of another one's state can be made ready.
  fasterlog::LogOptions log;
  kv::StoreOptions store;
};

struct FollowerStatus {
  NodeId id;
  bool voter = true;
  Vote vote = Vote::kNone;
  bool connected = false;
  NodeId relayed_by;  // it has its stream from that node; 0: from this one
  bool needs_checkpoint = false;
  Address durable, applied;  // 0: not heard of in this lead; its lag is not known then
  uint64_t lag_bytes = 0;
  double lag_seconds = 0;
  std::optional<double> round_trip_s;  // until shipped log is acknowledged; nothing: none was
  std::string unhealthy;  // why it is to serve no reads, as far as the leader knows; empty if well
  Address last_compared;  // where its state's digest was compared; 0: not in this lead
};

struct NodeStatus {
  /// No status was made for so long: the node makes one at each tick.
  static constexpr std::chrono::seconds kStandsStill{10};
  bool stands_still(std::chrono::seconds time = kStandsStill) const {
    return std::chrono::steady_clock::now() - made_at > time;
  }

  SteadyTime made_at = std::chrono::steady_clock::now();
  NodeId self;
  Role role = Role::kStarting;
  Epoch epoch;
  NodeId leader;                      // 0: unknown
  std::string leader_client_address;  // empty: unknown
  bool serving = false;               // leader: its epoch-start record is committed
  bool alone = false;                 // it is the only voter: it need not ask whether it leads
  /// Leader: where its epoch's first record ends. What was acknowledged in leads before it stands
  /// below, and is in this node's state once so much is applied.
  Address lead_begins;
  Vote vote = Vote::kNone;  // whether its word counts
  CoordinatorStatus coordinator;
  bool connected_to_leader = false;  // follower: has its stream, from the leader or its upstream
  /// Of a leader that serves: how many voters there are, and how many of them it reaches whose vote
  /// counts, itself among them.
  std::optional<uint32_t> voters, voters_connected;
  /// This node's clock minus its source's; nothing: it has none, or has not heard of it.
  std::optional<double> clock_offset_s;
  NodeId source;                               // from that node; 0: it has none
  std::optional<double> seconds_since_leader;  // follower: since the last message; leader: 0
  std::string no_leader;  // follower, or candidate: why it has no stream; empty if it has one
  /// What this node has applied holds all that was acknowledged to anyone before that. Nothing: no
  /// such moment is known (never connected, or a leader that no majority has confirmed yet).
  /// By Clock::elapsed().
  std::optional<Nanoseconds> fresh_at;
  /// Why it does not take part ("log refused: …"), or cannot for long: its disk is full. Empty if
  /// well.
  std::string problem;
  /// Why this node's state is not to be read: it differs from the cluster's, or is not applied any
  /// more. Empty if well.
  std::string unhealthy;
  /// On the leader: the states of nodes differ and none has a majority. It goes on to be read, the
  /// others are unhealthy. Empty if they do not.
  std::string disagreement;
  /// On the leader: why it would refuse the largest put now, for its store is as large as
  /// store.disk_bytes lets it be. It goes on to be read, and keys can be deleted. Empty if it would
  /// not. (A full disk is a `problem`.)
  std::string store_full;
  bool diverged = false;        // that: it stays so until its data directory is removed
  Address last_compared;        // the newest address where its state's digest was compared; 0: none
  Members members;              // as this node's log has them
  bool members_in_log = false;  // else the file names them: a young cluster
  bool removed = false;         // this node is none of them
  uint32_t cluster_version = 1;  // what all members know of formats and rules, as the log says
  /// Leader: the newer version that all members know, and when the cluster goes over to it; 0:
  /// there is none.
  uint32_t next_version = 0;
  std::chrono::milliseconds next_version_in{0};
  ClusterIdentity identity;  // of the cluster that this node belongs to
  std::vector<FollowerStatus> followers;
  CheckpointCopyStatus copy;  // of another node's state, that comes in
};

/// Created and destroyed anywhere; start/stop and the transport's calls on the executor.
class Node {
 public:
  /// Without a coordinator the static one, with `options.leader`.
  static Result<std::unique_ptr<Node>> create(
      storage::FileSystem& file_system, NodeOptions options, fasterlog::Log& log,
      statemachine::StateMachine& state_machine, statemachine::Watermarks& watermarks,
      statemachine::AnchorRegistry& anchors, Executor& executor, Transport& transport,
      std::unique_ptr<Coordinator> coordinator = nullptr, const Clock& clock = system_clock());
  virtual ~Node() = default;

  /// Takes part from here on: as a follower, until the coordinator grants it an epoch (core.h).
  virtual Result<> start() = 0;
  virtual void stop() = 0;
  /// To be called every tick_interval, on the executor.
  virtual void tick() = 0;

  /// Any thread; a snapshot, at most one tick old.
  virtual std::shared_ptr<const NodeStatus> status() const = 0;
  /// Called on the executor when role, epoch or serving changes. A leader that loses its role must
  /// answer what is pending with "unknown".
  virtual void set_role_listener(std::function<void(const NodeStatus&)> listener) = 0;
  /// A failure that must stop the process (sticky log failure, divergence below committed).
  virtual void set_fatal_listener(std::function<void(const Error&)> listener) = 0;
  /// A copy of another node's state is complete: stop this node and start it anew, which installs
  /// the copy (statemachine/state_copy.h). Called on the executor.
  virtual void set_restart_listener(std::function<void()> listener) = 0;

  using Done = std::function<void(Result<>)>;
  using Confirmed = std::function<void(Result<Address>)>;
  /// Whether this node leads now: a majority of the voters confirms it after the call. Gives the
  /// address below which stands all that was acknowledged by anyone before the call: what a
  /// linearizable read has to wait for. Any thread; `done` on the executor, with kNotLeader or
  /// kTimedOut when it could not be confirmed.
  virtual void confirm_leadership(SteadyTime deadline, Confirmed done) = 0;
  /// Hands the lead to `to`, or with 0 to the voter that has most: no writes are taken until it
  /// holds everything, then this node follows. `done` says that it has given up the lead for
  /// `to`, which holds everything, or why not: kTimedOut (it goes on to lead), kUnknownOutcome (it
  /// lost the lead to another one first, or stopped). Any thread; `done` on the executor.
  virtual void transfer(NodeId to, Done done) = 0;
  /// Adds, changes or removes one member (membership.h): `done` when that is committed, or why it
  /// cannot be: kNotLeader; kUnavailable (the one before is not committed yet, or no room in the
  /// log: later); kUnknownOutcome when this node lost the lead meanwhile; or as changed(). Nothing
  /// to be done is success. A new voter begins as joining: status() tells when it has become one.
  /// Any thread; `done` on the executor.
  virtual void change_members(MemberChange change, Done done) = 0;
  /// An operator's order that this node is to lead; `done` says that it seeks the promises for it.
  virtual void promote(Done done) = 0;

  virtual void register_metrics(observability::MetricRegistry& registry) = 0;
};

}  // namespace tailrace::replication
