#pragma once
// Interfaces that the driver needs from the layers above it; rpc/ implements them with Asio.

#include <functional>
#include <string>

#include "core/address.h"
#include "replication/protocol/membership.h"
#include "replication/protocol/messages.h"

namespace tailrace::replication {

/// Runs functions one after the other on one thread. All calls of the driver, and of its
/// transport's handler, happen there.
class Executor {
 public:
  virtual ~Executor() = default;
  /// Any thread.
  virtual void post(std::function<void()> function) = 0;
};

/// What the transport tells the driver; called on the executor.
class TransportHandler {
 public:
  virtual ~TransportHandler() = default;
  /// What this node says of itself on a connection that comes up now.
  virtual Introduction introduction() const = 0;
  /// Who it is that says this of itself; nothing of it is proved.
  virtual Acquaintance acquaintance(NodeId peer, const Introduction& said) const = 0;
  /// Whether what `peer` sends may be large: it is a member, or this node follows it.
  virtual bool may_send_batches(NodeId peer) const = 0;
  /// A connection to or from `peer` is up and both sides have proved to be of one cluster.
  virtual void on_connected(NodeId peer, const Introduction& introduction) = 0;
  virtual void on_disconnected(NodeId peer, const std::string& reason) = 0;
  virtual void on_message(NodeId peer, Message message) = 0;
};

/// One connection between any two members; the one with the greater id dials, and the other one as
/// well once it has waited for that. It is kept up, with back-off, while there is a handler.
/// Whoever else comes with the cluster's name is let in: it may be a member since a record that
/// this node does not hold yet. Called on the executor.
class Transport {
 public:
  virtual ~Transport() = default;
  /// Connections come up while there is one. Is told of those that are up already.
  virtual void set_handler(TransportHandler* handler) = 0;
  /// Whom to dial, and where, from now on; before the first call: as the transport was made. A
  /// connection with one that is not named any more goes on until it ends.
  virtual void set_members(const Members& members) = 0;
  /// Drops the connection, if there is one; a new one is made as always.
  virtual void reset(NodeId peer) = 0;
  /// Queued in order; dropped when there is no connection (on_disconnected tells).
  virtual void send(NodeId peer, Message message) = 0;
};

}  // namespace tailrace::replication
