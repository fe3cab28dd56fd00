// A connection from its hello to its end: who is let in beside whom, and which of two stays.

#include <asio/post.hpp>
#include <fmt/format.h>

#include "observability/logging.h"
#include "rpc/peer/transport_impl.h"

namespace tailrace::rpc {

namespace {
constexpr std::chrono::milliseconds kHelloTime{3000};
// So long after a connection came up another one may still be on its way that was begun before it.
constexpr std::chrono::milliseconds kYoung{2000};
// Who does not even confirm what it is sent for so long is gone.
constexpr std::chrono::milliseconds kSilent{3000};
constexpr size_t kMostPeers = 256;  // without a hello there is none
}  // namespace

void PeerTransportImpl::introduce(asio::ip::tcp::socket socket, NodeId dialled) {
  auto connection = std::make_shared<PeerConnection>(
      std::move(socket), PeerIdentity{kProtocolVersion, options_.cluster, options_.self, {}},
      options_.max_frame_bytes, traffic_);
  strangers_.insert(connection);
  PeerConnection::Events events;
  events.introduction = [this] {
    return handler_ != nullptr ? handler_->introduction() : replication::Introduction{};
  };
  // All that may be told to whoever has its connection by a number alone.
  events.answer = [this](NodeId peer, const replication::Introduction& said) {
    if (handler_ == nullptr) return replication::Introduction{};
    replication::Introduction all = handler_->introduction();
    if (is_known(peer, said)) return all;
    replication::Introduction little;
    little.version = all.version;
    return little;
  };
  events.admit = [this, dialled](NodeId peer,
                                 const replication::Introduction& introduction) -> Result<> {
    TAILRACE_RETURN_IF_ERROR(admit_beside(peer, introduction));
    return admit(peer, dialled);
  };
  // The connection owns its events: a weak reference keeps that from being a circle.
  const std::weak_ptr<PeerConnection> weak = connection;
  events.up = [this, weak, dialled](NodeId peer, const replication::Introduction& introduction) {
    const bool ours = dialled.value != 0;
    if (auto self = weak.lock())
      up(peer, introduction, std::move(self), ours == (peer < options_.self));
  };
  events.message = [this, weak](NodeId peer, replication::Message message) {
    if (handler_ == nullptr) return;
    handler_->on_message(peer, std::move(message));
    if (const auto self = weak.lock(); self && handler_ != nullptr) allow_batches(peer, *self);
  };
  PeerConnection* const raw = connection.get();
  events.closed = [this, raw, dialled](const std::string& reason) { closed(raw, dialled, reason); };
  if (dialled.value != 0)
    peers_.at(dialled).outgoing = connection;
  else
    came_.push_back(connection);
  connection->begin(std::move(events), dialled.value != 0, kHelloTime);
}

Result<> PeerTransportImpl::admit_beside(NodeId peer,
                                         const replication::Introduction& introduction) {
  const auto known = peers_.find(peer);
  if (known == peers_.end() || !known->second.connection) return {};
  PeerConnection& connection = *known->second.connection;
  const uint64_t run = known->second.introduction.life.run;
  const bool another = run != 0 && introduction.life.run != run;
  // With a number alone nobody keeps out the disk that the members know.
  if (is_known(peer, introduction) && !is_known(peer, known->second.introduction)) return {};
  if (!another || connection.other_side_closed()) return {};
  const auto silent = std::chrono::steady_clock::now() - connection.heard();
  if (silent > kSilent && connection.unconfirmed()) return {};
  return make_error(ErrorCode::kAlreadyExists,
                    fmt::format("another process is connected as node {}, from {}: if that is not "
                                "one that is about to end, two nodes have the same number; stop "
                                "one of them",
                                peer.value, connection.remote()));
}

Result<> PeerTransportImpl::admit(NodeId peer, NodeId dialled) const {
  if (dialled.value != 0 && peer != dialled)
    return make_error(ErrorCode::kFailedPrecondition,
                      fmt::format("node {} answers at {}, which should be node {}: check the "
                                  "peer addresses in the configuration",
                                  peer.value, peers_.at(dialled).target(), dialled.value));
  // The smaller one dials when it has no connection: one that is not new is dead, whether or not
  // TCP knows. Beside a new one it had begun before it knew of that.
  const auto known = peers_.find(peer);
  if (dialled.value == 0 && peer < options_.self && known != peers_.end() &&
      known->second.connection && known->second.by_greater &&
      std::chrono::steady_clock::now() - known->second.since < kYoung)
    return make_error(ErrorCode::kAlreadyExists,
                      fmt::format("node {} is connected already", peer.value));
  if (!peers_.contains(peer) && peers_.size() >= kMostPeers)
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("node {} is no member of cluster '{}' that node {} knows of, "
                                  "and too many others have come already",
                                  peer.value, options_.cluster, options_.self.value));
  return {};
}

void PeerTransportImpl::up(NodeId id, const replication::Introduction& introduction,
                           std::shared_ptr<PeerConnection> connection, bool by_greater) {
  strangers_.erase(connection);
  std::erase_if(came_, [&](const auto& weak) { return weak.lock() == connection; });
  // Whether it is a member may be said by a record that this node does not hold yet: the protocol
  // decides what it is told.
  Peer& peer = peers_.try_emplace(id, io_, std::string()).first->second;
  // The other side has a new connection: the old one is dead, whether or not TCP knows.
  const auto old = peer.connection;
  if (old) old->close("replaced by a newer connection");
  peer.connection = std::move(connection);
  const bool same_disk = peer.introduction.life.incarnation == introduction.life.incarnation;
  peer.introduction = introduction;
  peer.introduction.beside = old != nullptr && same_disk;
  peer.withheld = !peer.connection->dialled() && !is_known(id, introduction);
  peer.by_greater = by_greater;
  peer.since = std::chrono::steady_clock::now();
  const auto outgoing = peer.outgoing.lock();
  if (outgoing == peer.connection) peer.dialling = false;
  if (outgoing && outgoing != peer.connection && id > options_.self)
    outgoing->close("the other side has connected meanwhile");
  peer.pause = first_pause(id);
  peer.last_problems.clear();
  came_up_.add();
  up_.fetch_add(1);
  if (peer.address.empty())
    warn_of_stranger(peer.connection->remote(),
                     fmt::format("node {}, which is no member here, has connected", id.value));
  else
    observability::log_info("node {} is connected ({})", id.value, peer.connection->remote());
  const auto kept = peer.connection;
  if (handler_ != nullptr) handler_->on_connected(id, peer.introduction);
  if (handler_ != nullptr && !kept->closed()) allow_batches(id, *kept);
}

void PeerTransportImpl::allow_batches(NodeId id, PeerConnection& connection) {
  if (handler_->may_send_batches(id)) connection.take_large_frames();
}

void PeerTransportImpl::closed(PeerConnection* connection, NodeId dialled,
                               const std::string& reason) {
  std::erase_if(strangers_, [&](const auto& stranger) { return stranger.get() == connection; });
  std::erase_if(came_, [&](const auto& weak) {
    const auto stranger = weak.lock();
    return !stranger || stranger.get() == connection;
  });
  const NodeId id = connection->peer();
  if (id.value == 0) {
    if (dialled.value != 0) {
      peers_.at(dialled).dialling = false;
      if (!peers_.at(dialled).connection) dial_failed(dialled, reason);
    } else {
      failures_.add();
      if (!stopping_) warn_of_stranger(connection->remote(), reason);
    }
    return;
  }
  const auto known = peers_.find(id);
  if (known == peers_.end() || known->second.connection.get() != connection) return;
  Peer& peer = known->second;
  peer.connection.reset();
  up_.fetch_sub(1);
  const bool stranger = peer.address.empty();
  if (!stranger) observability::log_info("node {} is disconnected: {}", id.value, reason);
  if (handler_ != nullptr) handler_->on_disconnected(id, reason);
  if (!stranger) return dial_later(id);
  // Not at once: whoever closed it may be using what is known of it.
  asio::post(io_, [this, id] { forget(id); });
}

void PeerTransportImpl::forget(NodeId id) {
  const auto known = peers_.find(id);
  if (known == peers_.end()) return;
  const Peer& peer = known->second;
  if (!peer.connection && peer.address.empty() && !peer.dialling && !peer.waiting)
    peers_.erase(known);
}

}  // namespace tailrace::rpc
