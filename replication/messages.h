#pragma once
// What nodes say to each other. docs/formats/wire.md has the encoding.

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/address.h"
#include "fasterlog/log.h"

namespace tailrace::replication {

/// Follower to leader, first on a connection: where my log ends.
struct Subscribe {
  Epoch promised;    // the highest epoch I have heard of
  Epoch last_epoch;  // of my last record
  Address begin, durable;
  uint64_t incarnation = 0;
};

/// Leader to follower: the stream starts at the follower's durable end.
struct Accept {
  Epoch epoch;
  Address start;
  Address committed;
};

enum class RefusalReason : uint8_t {
  kNotLeader = 1,
  kStaleEpoch = 2,       // the other side knows a higher epoch
  kNeedsCheckpoint = 3,  // the follower's end is below the leader's begin
  kLogDiverges = 4,      // the follower's end or last epoch does not fit the leader's log
  kUnknownNode = 5,      // not in the leader's configuration
};
std::string_view name_of(RefusalReason reason);

struct Refuse {
  RefusalReason reason = RefusalReason::kNotLeader;
  Epoch epoch;  // the highest one known to the sender
  std::string message;
};

/// Leader to follower: whole batches, durable on the leader; `bytes` may be empty (heartbeat).
struct Data {
  Epoch epoch;
  Address from;
  std::shared_ptr<const std::vector<std::byte>> bytes;  // null: none
  Address committed;
  Address leader_durable;
  uint64_t leader_unix_time_ns = 0;
};

/// Follower to leader: after each move of durable, and as the answer to a heartbeat.
struct Acknowledge {
  Epoch epoch;
  Address durable;
  Address applied;
};

using Message = std::variant<Subscribe, Accept, Refuse, Data, Acknowledge>;

}  // namespace tailrace::replication
