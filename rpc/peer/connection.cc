#include "rpc/peer/connection.h"

#include "core/host_port.h"
#include "rpc/peer/codec.h"
#include "rpc/wire/message.h"

namespace tailrace::rpc {

namespace {
// Peers are few, and one at a time sends batches: a mebibyte, or what its log has flushed at once,
// which may be half of the memory of a log. To grow to that anew each time would cost the follower
// more than all else that it does.
constexpr size_t kKeptReadBytes = 32u << 20;
constexpr size_t kMostErrorBytes = 1000;
}  // namespace

PeerConnection::PeerConnection(asio::ip::tcp::socket socket, PeerIdentity self,
                               size_t max_frame_bytes, Traffic& traffic)
    : FramedSocket(std::move(socket), max_frame_bytes, traffic),
      self_(std::move(self)),
      hello_timer_(executor()) {
  // Another process of the same number is let in only once this one has gone (transport_hello.cc).
  notice_when_it_is_gone(1, 1);
}

void PeerConnection::begin(Events events, bool dialled, std::chrono::milliseconds hello_time) {
  events_ = std::move(events);
  dialled_ = dialled;
  hello_timer_.expires_after(hello_time);
  auto late = [weak = weak_from_this()](const std::error_code& error) {
    const auto self = std::static_pointer_cast<PeerConnection>(weak.lock());
    if (!error && self && !self->introduced()) self->close("no hello in time");
  };
  hello_timer_.async_wait(std::move(late));
  if (dialled_) send_hello(events_.introduction());
  start();
}

void PeerConnection::send_refusal(const std::string& error) {
  OutgoingMessage message;
  auto hello = message.init<wire::PeerFrame>().initHello();
  hello.setProtocolVersion(self_.protocol_version);
  hello.setNode(self_.node.value);
  hello.setError(error.c_str());
  send(message.builder());
  flush();
}

void PeerConnection::send_hello(const replication::Introduction& said) {
  OutgoingMessage message;
  auto hello = message.init<wire::PeerFrame>().initHello();
  hello.setProtocolVersion(self_.protocol_version);
  hello.setCluster(self_.cluster.c_str());
  hello.setNode(self_.node.value);
  hello.setVersion(said.version);
  hello.setIncarnation(said.life.incarnation);
  hello.setStarts(said.life.starts);
  hello.setRun(said.life.run);
  hello.setPromised(said.promised.value);
  hello.setLeader(said.leader.value);
  hello.setLeaderRun(said.leader_run);
  hello.setLastEpoch(said.last_epoch.value);
  hello.setDurable(said.durable.value);
  hello.setGivenUp(said.given_up);
  hello.setIdentityHigh(said.identity.high);
  hello.setIdentityLow(said.identity.low);
  send(message.builder());
  flush();
}

void PeerConnection::send_message(const replication::Message& message) {
  OutgoingMessage out;
  auto lent = encode_peer(message, out.init<wire::PeerFrame>());
  send(out.builder(), std::move(lent));
  flush();
}

FramedSocket::Take PeerConnection::on_frame(capnp::MessageReader& message) {
  const auto frame = message.getRoot<wire::PeerFrame>();
  if (introduced()) {
    auto decoded = decode_peer(frame, frame_memory());
    if (!decoded)
      close(decoded.error().message);
    else
      events_.message(peer_, std::move(*decoded));
    return Take::kDone;
  }
  if (!frame.isHello()) {
    close("the first message was no hello");
    return Take::kDone;
  }
  const auto hello = frame.getHello();
  if (hello.getError().size() != 0) {
    close("refused by the other side: " + printable(to_string(hello.getError()), kMostErrorBytes));
    return Take::kDone;
  }
  const PeerIdentity theirs{hello.getProtocolVersion(),
                            to_string(hello.getCluster()),
                            NodeId{hello.getNode()},
                            {hello.getVersion(),
                             {hello.getIncarnation(), hello.getStarts(), hello.getRun()},
                             Epoch{hello.getPromised()},
                             NodeId{hello.getLeader()},
                             hello.getLeaderRun(),
                             Epoch{hello.getLastEpoch()},
                             Address{hello.getDurable()},
                             hello.getGivenUp(),
                             {hello.getIdentityHigh(), hello.getIdentityLow()},
                             false}};
  self_.introduction = events_.introduction();
  Result<> checked = check_peer(theirs, self_);
  if (checked) checked = events_.admit(theirs.node, theirs.introduction);
  if (!checked) {
    send_refusal(checked.error().message);
    close_after_sending(checked.error().message);
    return Take::kDone;
  }
  peer_ = theirs.node;
  keep_read_buffer(kKeptReadBytes);
  // Before anything that up() may send.
  if (!dialled_) send_hello(events_.answer(peer_, theirs.introduction));
  if (closed()) return Take::kDone;
  events_.up(peer_, theirs.introduction);
  hello_timer_.cancel();
  return Take::kDone;
}

void PeerConnection::on_closed(const std::string& reason) {
  hello_timer_.cancel();
  const auto closed = std::exchange(events_.closed, nullptr);
  if (closed) closed(reason);
}

}  // namespace tailrace::rpc
