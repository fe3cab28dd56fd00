#pragma once
// What the pure core is told (events) and what it wants done (actions).

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/address.h"
#include "core/shared_bytes.h"
#include "fasterlog/types/records.h"
#include "replication/protocol/membership.h"
#include "replication/protocol/messages.h"

namespace tailrace::replication {

/// What a node has promised, on its disk: it takes nothing from a lower epoch than this, and in
/// this epoch only from `leader` (0: from none yet; the epoch was only heard of).
///
/// It also counts this disk's starts, and remembers those of the other members' disks: a disk that
/// was put back from a copy comes with a count that was seen already.
struct Promise {
  Epoch epoch;
  NodeId leader;
  uint64_t incarnation = 0;  // drawn when the promise file is created: a lost disk gets a new one
  Vote vote = Vote::kNone;   // never lowered but with a new incarnation
  /// Of the leader's life that the epoch was promised to; 0: not known. Another life of the same
  /// node may hold another log.
  uint64_t run = 0;
  uint64_t starts = 0;  // of this disk; 0: not counted (a file of a version before)
  /// The newest life that was seen of each disk; at most kMostDisksSeen of one node, oldest first.
  std::vector<std::pair<NodeId, Life>> seen = {};
  /// Where others' logs ended when a life began that had less: kept until it has as much, also by
  /// later lives (disks.cc).
  struct Owed {
    NodeId teller;
    uint64_t incarnation = 0;  // of the teller
    Epoch last_epoch;
    Address end;
    bool operator==(const Owed&) const = default;
  };
  std::vector<Owed> owed = {};
  /// Of the cluster that this disk belongs to: kept once a record of the members that says it is
  /// committed. Hellos tell it, and nobody of another one is let in.
  ClusterIdentity identity = {};
  bool operator==(const Promise&) const = default;
};
inline constexpr size_t kMostDisksSeen = 4;

/// Where this node's log stands. `last_epoch` is that of the record which ends at `durable`.
using EpochTable = std::vector<fasterlog::EpochStart>;
struct LogPosition {
  Address begin, durable;
  Epoch last_epoch;
  Address tail;                              // what was handed to the log; flushing <= tail
  std::shared_ptr<const EpochTable> epochs;  // ascending; null: none
  /// Records of the members, ascending, up to `tail`; null: none.
  std::shared_ptr<const fasterlog::ConfigurationTable> configurations;
  Address flushing = {};  // durable <= flushing: flushes have begun up to here; 0: not said
};

/// The epoch of the record that ends at `end`; 0 when no epoch began before it.
Epoch epoch_before(const EpochTable& table, Address end);
/// Where, in a log that ends at `durable`, the records of `epoch` and those before it end.
Address end_of_epoch(const EpochTable& table, Epoch epoch, Address durable);

// ---- Events. Times are of one steady clock, from any origin. -----------------------------------

/// The first event, once. `committed`: what is known of it from before, at least what was applied.
struct Started {
  LogPosition log;
  Promise promise;  // as read from disk, this start counted
  Address committed;
  std::chrono::nanoseconds now{0};
  uint64_t run = 1;                // drawn for this start, not 0
  ClusterIdentity drawn = {0, 1};  // as well: the cluster's, if this node has to give it one
};
/// The coordinator says who leads; this node may seek the promises for `epoch` when it is `leader`.
struct Granted {
  NodeId leader;
  Epoch epoch;
};
/// An operator's word that the disk of this node, the only voter, is to go on from what it holds
/// although the log names another one (Core::needs_word).
struct GoOnAsked {};
/// An operator's wish that `to` leads instead of this node.
struct TransferAsked {
  NodeId to;
};
/// An operator's wish that other members belong to the cluster (Core::after_change says whether
/// they can).
struct ChangeAsked {
  MemberChange change;
};
/// The answer to AppendMembers: the log as it stands now. Without room it holds no new record.
struct MembersAppended {
  LogPosition log;
};
/// Someone wants to know that this node leads now, not only when it last looked.
struct ConfirmAsked {
  std::chrono::nanoseconds now{0};
};
struct Tick {
  std::chrono::nanoseconds now{0};
  Address applied;
};
struct PeerConnected {
  NodeId peer;
  Introduction introduction = {};
};
struct PeerDisconnected {
  NodeId peer;
};
struct Received {
  NodeId peer;
  Message message;
  std::chrono::nanoseconds now{0};
};
/// The answer to PersistPromise: it is on disk.
struct PromisePersisted {
  Promise promise;
};
/// The answer to BecomeWriter: where the epoch-start record was enqueued (it need not be durable).
struct WriterReady {
  AddressRange record;
  LogPosition log;
};
/// durable (or begin, or flushing) has moved.
struct LogMoved {
  LogPosition log;
  Address applied;
};
/// The answer to BecomeCopy, DropAppends and CutLog: how the log stands now.
struct LogSettled {
  LogPosition log;
};
/// The answer to ShipBytes: [from, end) was sent; `limit` is what could have been, when it was
/// read.
struct Shipped {
  NodeId peer;
  Address from, end, limit;
};
/// The other answer to ShipBytes: `truncated` when the bytes are no longer kept.
struct ShipFailed {
  NodeId peer;
  bool truncated = false;
  std::string message;
};
/// The log refused bytes of an AppendRaw; it and all that were waiting are dropped. `tail` is what
/// the log holds.
struct AppendFailed {
  Address tail;
  std::string message;
};

using Event =
    std::variant<Started, Granted, GoOnAsked, TransferAsked, ChangeAsked, MembersAppended,
                 ConfirmAsked, Tick, PeerConnected, PeerDisconnected, Received, PromisePersisted,
                 WriterReady, LogMoved, LogSettled, Shipped, ShipFailed, AppendFailed>;

// ---- Actions, to be carried out in order. ------------------------------------------------------

/// Make the promise durable, then say PromisePersisted.
struct PersistPromise {
  Promise promise;
};
/// Make the log a writer in `epoch`, enqueue the epoch-start record, then say WriterReady.
struct BecomeWriter {
  Epoch epoch;
};
/// Enqueue this record of the members, then say MembersAppended.
struct AppendMembers {
  MembersRecord record;
};
/// Other members belong to the cluster now (CoreState::members).
struct MembersChanged {};
/// Make the log a copy: what was enqueued becomes durable, then nothing is. Then say LogSettled.
struct BecomeCopy {};
/// Forget what AppendRaw still has to give to the log: it is of an epoch that is over. Then say
/// LogSettled.
struct DropAppends {};
/// Drop the log's suffix behind `to`, durably; then say LogSettled.
struct CutLog {
  Address to;
};
/// The connection is dead although it does not know: drop it; it comes up anew by itself.
struct Disconnect {
  NodeId peer;
};
struct Send {
  NodeId peer;
  Message message;
};
/// Read bytes of the log from `from`, durable ones or those whose flush has begun (`flushing`), and
/// send them as Data; then say Shipped or ShipFailed.
struct ShipBytes {
  NodeId peer;
  Epoch epoch;
  Address from;
  size_t most_bytes = 0;
  Address committed;
  uint64_t round = 0;
  std::chrono::nanoseconds echo{0}, age{0};
  Address keep_from = {};
  bool flushing = false;  // what is not durable yet, too
};
/// Give the log the bytes after the first `skip` of them; they stand at `at`. In order; while the
/// log has no room they wait.
struct AppendRaw {
  Address at;
  SharedBytes bytes;
  size_t skip = 0;
};
struct AdvanceCommitted {
  Address committed;
};
/// Keep the log from `address` on for `peer`; with this node's own id, for whoever the leader knows
/// to need it.
struct SetAnchor {
  NodeId peer;
  Address address;
};
struct RemoveAnchor {
  NodeId peer;
};
/// Tell the coordinator that the leadership granted in `epoch` is given up; 0: for anyone.
struct Resign {
  Epoch epoch;
  NodeId successor;
};
/// Ask the coordinator for the lead: the leader handed it over to this node.
struct SeekLead {};
/// Whoever asked by ConfirmAsked, up to and with the one that was given this number, may go on.
struct Confirmed {
  uint64_t round = 0;
};
/// This node's log ends below what `from` still has: only a copy of its state helps.
struct FetchCheckpoint {
  NodeId from;
};
/// The node cannot go on: its log contradicts what was committed.
struct Fatal {
  std::string message;
};
/// Role, epoch, serving or the problem has changed.
struct StateChanged {};

using Action = std::variant<PersistPromise, BecomeWriter, AppendMembers, MembersChanged, BecomeCopy,
                            DropAppends, CutLog, Disconnect, Send, ShipBytes, AppendRaw,
                            AdvanceCommitted, SetAnchor, RemoveAnchor, Resign, SeekLead, Confirmed,
                            FetchCheckpoint, Fatal, StateChanged>;

}  // namespace tailrace::replication
