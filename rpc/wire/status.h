#pragma once
// What a server says of its node: one struct for the server that fills it, the codec
// (status_codec.h), the client and the program.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/address.h"
#include "core/vote.h"

namespace tailrace::rpc {

/// What the server has done since its start, and what it holds now. A rate is the difference of
/// two answers, divided by the difference of their `uptime_s`.
struct NodeActivity {
  double uptime_s = 0;  // less than before: the server was started anew
  double cpu_s = 0;     // processor time of all threads
  uint64_t resident_bytes = 0;
  uint64_t disk_free_bytes = 0;      // of the file system of the data directory
  uint64_t disk_capacity_bytes = 0;  // 0: not known
  uint64_t writes = 0, reads = 0;    // requests that were answered without an error
  uint64_t events = 0;               // records that appends and transactions put into the log
  uint64_t record_bytes = 0;         // of all records that requests put into the log
  uint64_t refused = 0;              // requests that were answered with an error: it refused them,
  uint64_t not_leader = 0;           // it did not lead,
  uint64_t failed = 0;               // it could not serve them, or the outcome is not known
  uint64_t in_flight = 0;            // requests that are not answered yet
  uint64_t connections = 0, tails = 0;
  /// Where the time of writes goes, in seconds.
  std::vector<double> stage_bounds_s;  // ascending upper bounds of the buckets
  struct Stage {
    std::string name;
    std::vector<uint64_t> counts;  // one a bound, and one for what is above all bounds
    double sum_s = 0;
    bool operator==(const Stage&) const = default;
  };
  std::vector<Stage> stages;  // in the order in which a write passes them
  bool operator==(const NodeActivity&) const = default;
};

struct NodeStatusAnswer {
  NodeId node;
  std::string address;  // the server that was asked; not sent
  std::string role;     // "starting", "leader", "follower", "learner", "candidate" or "stopped"
  std::string problem;  // why it does not take part, or cannot for long; empty if well
  /// Of another node's state, that comes in; its stage is "idle" when there is none.
  struct Copy {
    std::string stage, problem;
    NodeId from;
    uint64_t received = 0, bytes = 0;
    bool operator==(const Copy&) const = default;
  } copy;
  Epoch epoch;
  NodeId leader;  // 0: it knows none
  NodeId source;  // who streams the log to it; 0: nobody
  std::string leader_address;
  bool serving = false;  // it leads, and takes writes
  Address begin, checkpointed, applied, committed, durable, tail;
  uint64_t log_disk_bytes = 0, store_used_bytes = 0, store_capacity_bytes = 0, live_records = 0;
  /// Addresses of the store's own log, not of the replicated one.
  struct StoreLog {
    uint64_t begin = 0;
    uint64_t head = 0;       // below it on disk only
    uint64_t read_only = 0;  // from it on updated in place
    uint64_t tail = 0;
    bool operator==(const StoreLog&) const = default;
  } store_log;
  uint64_t log_time_ns = 0;  // unix time; what has expired is decided by it
  Vote vote = Vote::kNone;   // whether its word counts
  std::string coordinator;   // why it cannot be asked; empty if it can
  std::string unhealthy;     // why it answers no reads; empty if it does
  bool diverged = false;     // its state is not the cluster's
  Address last_compared;     // newest address where its state was compared; 0: none
  struct Follower {
    NodeId node;
    bool voter = true;
    Vote vote = Vote::kNone;
    bool connected = false, needs_checkpoint = false;
    NodeId relayed_by;  // it has its stream from that node; 0: from the one that says so
    Address durable, applied;
    uint64_t lag_bytes = 0;
    double lag_seconds = 0;
    std::string unhealthy;  // as far as the leader knows
    Address last_compared;
    bool operator==(const Follower&) const = default;
  };
  std::vector<Follower> followers;
  struct Member {
    NodeId node;
    bool voter = true, joining = false;  // joining: becomes a voter once it has caught up
    std::string peer_address, client_address;
    bool operator==(const Member&) const = default;
  };
  std::vector<Member> members;   // as its log has them
  bool members_in_log = false;   // else its file names them: a young cluster
  bool removed = false;          // it is none of them
  uint32_t cluster_version = 0;  // all members know its formats and rules; 0: of before 2
  /// Of a leader: a newer version that all members know (0: none), and when the cluster goes over
  /// to it.
  uint32_t next_version = 0;
  uint64_t next_version_in_ms = 0;
  std::string cluster_identity;  // 32 hexadecimal digits; empty: it has none yet
  std::vector<std::pair<std::string, Address>> anchors;
  using Activity = NodeActivity;
  std::optional<Activity> activity;  // nothing: an older server
  /// The node's last failure, in this life or one before.
  struct LastFailure {
    uint64_t unix_time_ns = 0;
    std::string reason;  // "disk", "damage", "invariant", "store" or "other"
    std::string message;
    bool operator==(const LastFailure&) const = default;
  };
  std::optional<LastFailure> last_failure;  // nothing: none is known

  bool operator==(const NodeStatusAnswer&) const = default;
};

}  // namespace tailrace::rpc
