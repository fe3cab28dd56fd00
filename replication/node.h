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
#include "replication/role.h"
#include "replication/transport.h"
#include "statemachine/anchors.h"
#include "statemachine/state_machine.h"
#include "statemachine/watermarks.h"
#include "storage/file_system.h"

namespace tailrace::replication {

struct Member {
  NodeId id;
  bool voter = true;
  std::string peer_address;    // HOST:PORT of its peer listener
  std::string client_address;  // HOST:PORT that clients are told
};

struct NodeOptions {
  NodeId self;
  std::string cluster;
  storage::Path directory;      // of the promise file
  std::vector<Member> members;  // self included; a single node has just itself
  NodeId leader;                // the static coordinator's choice
  std::chrono::milliseconds tick_interval{50};
  std::chrono::milliseconds heartbeat_interval{200};
  std::chrono::milliseconds peer_timeout{3000};  // silence after which a peer is gone
  uint64_t window_bytes = 16u << 20;             // shipped beyond a follower's acknowledgement
  uint32_t batch_bytes = 1u << 20;               // most bytes in one Data message
  uint64_t follower_pin_bytes = 4ull << 30;      // log kept for a follower; past it the pin falls
};

struct FollowerStatus {
  NodeId id;
  bool connected = false;
  bool needs_checkpoint = false;
  Address durable, applied;
  uint64_t lag_bytes = 0;
  double lag_seconds = 0;
};

struct NodeStatus {
  NodeId self;
  Role role = Role::kStarting;
  Epoch epoch;
  NodeId leader;                      // 0: unknown
  std::string leader_client_address;  // empty: unknown
  bool serving = false;               // leader: its epoch-start record is committed
  bool connected_to_leader = false;   // follower
  double seconds_since_leader = 0;    // follower: since the last message
  std::string problem;  // why it does not take part ("log refused: …"), empty if well
  std::vector<FollowerStatus> followers;
};

/// Created and destroyed anywhere; start/stop and the transport's calls on the executor.
class Node {
 public:
  static Result<std::unique_ptr<Node>> create(storage::FileSystem& file_system, NodeOptions options,
                                              fasterlog::Log& log,
                                              statemachine::StateMachine& state_machine,
                                              statemachine::Watermarks& watermarks,
                                              statemachine::AnchorRegistry& anchors,
                                              Executor& executor, Transport& transport,
                                              const Clock& clock = system_clock());
  virtual ~Node() = default;

  /// The leader persists its new epoch, becomes the log's writer and appends its epoch-start
  /// record.
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

  virtual void register_metrics(observability::MetricRegistry& registry) = 0;
};

}  // namespace tailrace::replication
