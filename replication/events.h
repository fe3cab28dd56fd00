#pragma once
// What the pure core is told (events) and what it wants done (actions).

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/address.h"
#include "fasterlog/log.h"
#include "replication/messages.h"

namespace tailrace::replication {

/// What a node has promised, on its disk: it takes nothing from a lower epoch than this, and in
/// this epoch only from `leader` (0: from none yet; the epoch was only heard of).
struct Promise {
  Epoch epoch;
  NodeId leader;
  uint64_t incarnation = 0;  // drawn when the promise file is created: a lost disk gets a new one
  bool operator==(const Promise&) const = default;
};

/// Where this node's log stands. `last_epoch` is that of the record which ends at `durable`.
struct LogPosition {
  Address begin, durable;
  Epoch last_epoch;
};

/// The epoch of the record that ends at `end`; 0 when no epoch began before it.
Epoch epoch_before(const std::vector<fasterlog::EpochStart>& table, Address end);

// ---- Events. Times are of one steady clock, from any origin. -----------------------------------

/// The first event, once.
struct Started {
  LogPosition log;
  std::vector<fasterlog::EpochStart> epochs;
  Promise promise;  // as read from disk
  std::chrono::nanoseconds now{0};
};
/// The coordinator says who leads; `epoch` is set where this node is the leader.
struct Granted {
  NodeId leader;
  Epoch epoch;
};
struct Tick {
  std::chrono::nanoseconds now{0};
  Address applied;
};
struct PeerConnected {
  NodeId peer;
};
struct PeerDisconnected {
  NodeId peer;
};
struct Received {
  NodeId peer;
  Message message;
};
/// The answer to PersistPromise: it is on disk.
struct PromisePersisted {
  Promise promise;
};
/// The answer to BecomeWriter: where the epoch-start record was enqueued (it need not be durable).
struct WriterReady {
  AddressRange record;
};
/// durable (or begin) has moved.
struct LogMoved {
  LogPosition log;
  Address applied;
};
/// The answer to ShipBytes: [from, end) was sent; `durable` is the log's when it was read.
struct Shipped {
  NodeId peer;
  Address from, end, durable;
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
    std::variant<Started, Granted, Tick, PeerConnected, PeerDisconnected, Received,
                 PromisePersisted, WriterReady, LogMoved, Shipped, ShipFailed, AppendFailed>;

// ---- Actions, to be carried out in order.
// --------------------------------------------------------

/// Make the promise durable, then say PromisePersisted.
struct PersistPromise {
  Promise promise;
};
/// Make the log a writer in `epoch`, enqueue the epoch-start record, then say WriterReady.
struct BecomeWriter {
  Epoch epoch;
};
struct BecomeCopy {};
struct Connect {
  NodeId peer;
};
struct Disconnect {
  NodeId peer;
};
struct Send {
  NodeId peer;
  Message message;
};
/// Read durable bytes of the log from `from` and send them as Data; then say Shipped or ShipFailed.
struct ShipBytes {
  NodeId peer;
  Epoch epoch;
  Address from;
  size_t most_bytes = 0;
  Address committed;
};
/// Give the log the bytes after the first `skip` of them; they stand at `at`. In order; while the
/// log has no room they wait.
struct AppendRaw {
  Address at;
  std::shared_ptr<const std::vector<std::byte>> bytes;
  size_t skip = 0;
};
struct AdvanceCommitted {
  Address committed;
};
/// Keep the leader's log from `address` on for `peer`.
struct SetAnchor {
  NodeId peer;
  Address address;
};
struct RemoveAnchor {
  NodeId peer;
};
/// Role, epoch, serving or the problem has changed.
struct StateChanged {};

using Action =
    std::variant<PersistPromise, BecomeWriter, BecomeCopy, Connect, Disconnect, Send, ShipBytes,
                 AppendRaw, AdvanceCommitted, SetAnchor, RemoveAnchor, StateChanged>;

}  // namespace tailrace::replication
