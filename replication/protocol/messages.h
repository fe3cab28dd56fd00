#pragma once
// What nodes say to each other. docs/formats/wire.md has the encoding.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/address.h"
#include "core/cluster_identity.h"
#include "core/shared_bytes.h"
#include "core/vote.h"
#include "fasterlog/types/records.h"
#include "statemachine/types/copy_plan.h"

namespace tailrace::replication {

/// One life of a node: its disk, and one start of its process on that disk.
struct Life {
  uint64_t incarnation = 0;  // the disk: drawn when its promise file is created
  uint64_t starts = 0;       // of that disk, this one included, as noted on it; 0: not counted
  uint64_t run = 0;          // drawn at each start; 0: not said
  bool operator==(const Life&) const = default;
};

/// What a node says of itself when a connection comes up. Zeros: one of an older version.
struct Introduction {
  uint32_t version = 0;  // of formats and rules, the newest that it knows (kClusterVersion)
  Life life;
  // What it has promised, and to whose life; and where its log ends, in which epoch.
  Epoch promised;
  NodeId leader;
  uint64_t leader_run = 0;
  Epoch last_epoch;
  Address durable;
  /// The incarnation that this life had before it was told that its disk is there twice, or was put
  /// back; 0: none.
  uint64_t given_up = 0;
  ClusterIdentity identity = {};
  /// Not said, but found: its connection took the place of one that was still up.
  bool beside = false;
};
/// What a node knows of whoever says such things of itself.
enum class Acquaintance : uint8_t {
  kStranger,  // no member, as this node's log has them
  kMember,    // the number of a member, with a disk that this node has not heard of
  kDisk,      // a voter's with the disk that votes for it; another's with one that was seen, if any
};
/// False when both know to which cluster they belong, and it is not the same one.
inline bool may_be_of_one_cluster(const ClusterIdentity& one, const ClusterIdentity& other) {
  return !one.known() || !other.known() || one == other;
}

// ---- Choosing a leader. ------------------------------------------------------------------------

/// Candidate to voters: promise me this epoch.
struct Seal {
  Epoch epoch;
  /// Where the record of the members ends by which it is a voter; 0: its configuration file says
  /// so.
  Address members = {};
  /// Of the candidate's life: another life of the same node is promised another epoch. 0: not said.
  uint64_t run = 0;
};

/// The answer, when the promise is on disk and nothing of a lower epoch is on its way there.
struct Sealed {
  Epoch epoch;
  Epoch last_epoch;  // of my last record
  Address begin, durable;
  uint64_t incarnation = 0;
  Vote vote = Vote::kNone;
  /// Others told, when this life began, of a log that ends there: the word counts only for a log
  /// that is not below, as (epoch of the last record, its end).
  Epoch owed_epoch = {};
  Address owed = {};
};

/// Leader to every member, when it begins to lead, on a new connection and from time to time to
/// whoever does not subscribe.
struct Leading {
  Epoch epoch;
  Address members = {};  // as in Seal
  uint64_t run = 0;      // as in Seal
};

/// Leader to a voter of that incarnation: you hold all that was committed, your word counts.
struct GrantVote {
  Epoch epoch;
  uint64_t incarnation = 0;
  Vote vote = Vote::kNone;
};

/// Leader to the voter to which it hands over: it has given up, be quick.
struct TakeOver {
  Epoch epoch;
};

// ---- The stream. Its source is the leader, or the voter from which a candidate fetches the tail.

/// First on a connection: where my log ends, in the epoch in which I follow (or seek to lead).
struct Subscribe {
  Epoch promised;
  Epoch last_epoch;  // of my last record
  Address begin, durable;
  uint64_t incarnation = 0;
  Vote vote = Vote::kNone;
  uint64_t run = 0;  // of the sender's life; 0: not said
};

/// The stream starts at the follower's durable end.
struct Accept {
  Epoch epoch;
  Address start;
  Address committed;
};

/// The two logs differ: in `last_epoch`, the newest that the source has and that is not above the
/// follower's, the source's log ends at `end`. The follower cuts and subscribes anew (KIP-279).
struct Diverges {
  Epoch epoch;
  Address asked;  // the follower's durable end that this answers
  Epoch last_epoch;
  Address end;
};

enum class RefusalReason : uint8_t {
  kNotLeader = 1,
  kStaleEpoch = 2,       // the other side knows a higher epoch
  kNeedsCheckpoint = 3,  // the follower's end is below the source's begin
  kLogDiverges = 4,      // the bytes contradict the log
  kUnknownNode = 5,      // not in the configuration
  kSeenBefore = 6,       // the other side's disk is in a state from before: Refuse::life
};
std::string_view name_of(RefusalReason reason);

struct Refuse {
  RefusalReason reason = RefusalReason::kNotLeader;
  Epoch epoch;    // the highest one known to the sender
  NodeId leader;  // whom it follows at this moment; 0: nobody
  std::string message;
  Life life = {};  // kSeenBefore: of whom that is said; a later life is not meant
};

/// Whole batches, durable on the source, or being flushed there if it leads; `bytes` may be empty
/// (heartbeat).
struct Data {
  Epoch epoch;
  Address from;
  SharedBytes bytes;  // null: none
  Address committed;
  Address leader_durable;
  uint64_t leader_unix_time_ns = 0;
  uint64_t round = 0;  // to be echoed: who still obeys me?
  /// How fresh this is, without comparing clocks: `echo` is the newest `sent` of the receiver's own
  /// acknowledgements that came before; the source knew for certain that it led, and what was
  /// committed, as of `age` before it sent this.
  std::chrono::nanoseconds echo{0}, age{0};  // echo 0: there is none
  /// From here on members still need the log: whoever leads next should have it. 0: not said.
  Address keep_from = {};
};

/// After each move of durable, and as the answer to a heartbeat.
struct Acknowledge {
  Epoch epoch;
  Address durable;
  Address applied;
  uint64_t round = 0;                // the highest of the epoch that was heard
  std::chrono::nanoseconds sent{0};  // by its clock, which goes on while its connections live
  Vote vote = Vote::kNone;
  /// Of the disk that this is said of: a word of the disk before must not be added to one of this.
  uint64_t incarnation = 0;
  /// Said to the leader by a learner that has its stream from this follower: the leader ships it
  /// nothing, but knows how far it is. 0: the receiver is the source.
  NodeId relayed_by = {};
};

// ---- A copy of the state, for a member whose log ends below its source's begin. ----------------

/// What could I copy? `token`: of the copy that I have a part of, 0: none. The answer is the offer
/// of that one, if it is still there, or else of the newest. Said again it keeps the copy held.
struct AskCheckpoint {
  uint64_t token = 0;
  Address at_least;  // nothing that ends before what I know to be committed
};

struct OfferCheckpoint {
  statemachine::StateCopyPlan plan;
  std::string problem;  // not empty: there is no plan now, and why; ask again later
};

struct ReadCheckpoint {
  uint64_t fingerprint = 0;  // of the plan
  uint64_t offset = 0;
  uint32_t bytes = 0;
};

struct CheckpointPart {
  uint64_t fingerprint = 0;
  uint64_t offset = 0;
  uint32_t checksum = 0;  // CRC32C
  SharedBytes bytes;      // as many as asked for, or fewer
  std::string problem;    // not empty: no bytes, and why
};

// ---- Comparing states (state_comparison.h). ----------------------------------------------------

/// Leader to every member: what is the digest of your state at this address?
struct CompareState {
  Epoch epoch;
  Address address;  // end of a kCompare command
  uint64_t high = 0, low = 0, pairs = 0;
  bool settled = false;   // decided: this is the cluster's, whoever has another one has diverged
  bool disputed = false;  // no digest has a majority: whoever has another one is not to be read
};

/// The answer.
struct StateCompared {
  Epoch epoch;
  Address address;
  bool known = false;  // else there is no digest at that address, and what follows is zero
  uint64_t high = 0, low = 0, pairs = 0;
  bool diverged = false;  // the sender's state is known to have, here or at an earlier address
  bool disputed = false;  // the sender knows that it differs, and that nobody knows who is right
};

using Message = std::variant<Subscribe, Accept, Refuse, Data, Acknowledge, Seal, Sealed, Leading,
                             Diverges, GrantVote, TakeOver, AskCheckpoint, OfferCheckpoint,
                             ReadCheckpoint, CheckpointPart, CompareState, StateCompared>;

}  // namespace tailrace::replication
