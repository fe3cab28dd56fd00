// The node with the greater id dials at once, so that hardly ever two connections meet half-way.
// The other one dials when it has waited for that in vain: it may know an address that the greater
// one, which was down, does not, or the greater one may have moved. Where two connections meet all
// the same, both sides keep the one that the greater one dialled: it takes the place of any other,
// and none of the smaller one's takes its place (transport_hello.cc: admit, up).

#include <algorithm>

#include "net/dial.h"
#include "observability/logging.h"
#include "rpc/peer/transport_impl.h"

namespace tailrace::rpc {

namespace {
constexpr std::chrono::milliseconds kPeerDialTime{2000};
constexpr std::chrono::milliseconds kLongestPause{1000};
}  // namespace

std::chrono::milliseconds PeerTransportImpl::first_pause(NodeId id) const {
  return id < options_.self ? kFirstPause : options_.dial_patience;
}

void PeerTransportImpl::begin_dialling(NodeId id) {
  if (id < options_.self) return dial(id);
  const Peer& peer = peers_.at(id);
  if (!peer.connection && !peer.dialling && !peer.waiting) dial_later(id);
}

void PeerTransportImpl::dial(NodeId id) {
  Peer& peer = peers_.at(id);
  if (stopping_ || handler_ == nullptr || peer.address.empty() || peer.dialling || peer.connection)
    return;
  peer.dialling = true;
  auto dialled = [this, id](Result<asio::ip::tcp::socket> socket) {
    Peer& to = peers_.at(id);
    const bool needless = stopping_ || handler_ == nullptr || to.connection != nullptr;
    if (needless || !socket) {
      to.dialling = false;
      if (!needless) dial_failed(id, socket.error().message);
      return;
    }
    introduce(std::move(*socket), id);
  };
  net::dial(io_, peer.target(), kPeerDialTime, std::move(dialled));
}

void PeerTransportImpl::dial_failed(NodeId id, const std::string& reason) {
  Peer& peer = peers_.at(id);
  failures_.add();
  // The same problem again is no news.
  std::string& last = peer.last_problems[peer.target()];
  if (last != reason)
    observability::log_warning("node {} at {}: {}", id.value, peer.target(), reason);
  last = reason;
  ++peer.turn;
  dial_later(id);
}

void PeerTransportImpl::dial_later(NodeId id) {
  Peer& peer = peers_.at(id);
  if (stopping_) return;
  peer.timer.expires_after(peer.pause);
  peer.waiting = true;
  peer.pause = std::min(kLongestPause, 2 * peer.pause);
  peer.timer.async_wait([this, id](const std::error_code& error) {
    if (error) return;
    peers_.at(id).waiting = false;
    dial(id);
  });
}

}  // namespace tailrace::rpc
