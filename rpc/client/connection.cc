#include "rpc/client/connection.h"

#include <algorithm>

#include <asio/post.hpp>
#include <fmt/format.h>

#include "net/dial.h"
#include "rpc/wire/hello.h"
#include "rpc/wire/wire_error.h"

namespace tailrace::rpc {

void ClientConnection::dial(asio::io_context& io, const std::string& address,
                            std::chrono::milliseconds most, size_t max_frame_bytes,
                            Traffic& traffic, Made made) {
  auto dialled = [address, max_frame_bytes, &traffic,
                  made = std::move(made)](Result<asio::ip::tcp::socket> socket) {
    if (!socket) return made(tl::unexpected(std::move(socket).error()));
    made(std::make_shared<ClientConnection>(std::move(*socket), address, max_frame_bytes, traffic));
  };
  net::dial(io, address, most, std::move(dialled));
}

ClientConnection::ClientConnection(asio::ip::tcp::socket socket, std::string address,
                                   size_t max_frame_bytes, Traffic& traffic)
    : FramedSocket(std::move(socket), max_frame_bytes, traffic),
      address_(std::move(address)),
      hello_timer_(executor()) {}

void ClientConnection::begin(Events events, std::chrono::milliseconds most) {
  events_ = std::move(events);
  hello_timer_.expires_after(most);
  auto late = [weak = weak_from_this()](const std::error_code& error) {
    const auto self = std::static_pointer_cast<ClientConnection>(weak.lock());
    if (!error && self && !self->greeted_) self->close("the server does not answer the hello");
  };
  hello_timer_.async_wait(std::move(late));
  OutgoingMessage message;
  message.init<wire::Request>().initHello().setProtocolVersion(kProtocolVersion);
  send(message.builder());
  flush();
  start();
}

void ClientConnection::detach() {
  detached_ = true;  // the events stay: one of them may be what calls this
  close("not needed any more");
}

// ---- Several who share it.

size_t ClientConnection::join(Events events) {
  if (members_.empty()) events_ = {};  // whoever has dialled is told no more
  const auto place = std::ranges::find(members_, nullptr);
  const auto member = static_cast<size_t>(place - members_.begin());
  if (place == members_.end()) members_.emplace_back();
  members_[member] = std::make_shared<Events>(std::move(events));
  ++joined_;
  return member;
}

void ClientConnection::leave(size_t member) {
  if (!std::exchange(members_[member], nullptr)) return;
  if (--joined_ == 0) detach();
}

/// Each event is held while it runs: it may be what makes its member leave.
void ClientConnection::hand_on(wire::Response::Reader response) {
  const uint64_t id = response.getId();
  if (id == 0) {
    // Who joins later begins with the newest word.
    if (response.isHello()) server_ = read_hello(response.getHello());
    for (size_t i = 0; i < members_.size(); ++i)
      if (const auto member = members_[i]) member->response(response);
    return;
  }
  const uint64_t asked = id >> kMemberShift;
  if (asked >= members_.size() || !members_[asked]) return;  // it has left
  const auto member = members_[asked];
  if (answered_.empty() || answered_.back() != asked) answered_.push_back(asked);
  member->response(response);
}

void ClientConnection::flush_together() {
  if (closed() || taking_frames_) return;  // it is flushed when all are taken
  if (joined_ <= 1) return flush();
  if (std::exchange(flush_posted_, true)) return;
  asio::post(executor(), [self = shared_from_this(), this] {
    flush_posted_ = false;
    flush();
  });
}

ServerHello read_hello(wire::Hello::Reader hello) {
  ServerHello result{hello.getNode(), hello.getLeader(), to_string(hello.getLeaderAddress()),
                     hello.getMaxFrameBytes()};
  result.log_time_ns = hello.getLogTimeNs();
  result.session_ttl_ns = hello.getSessionTtlNs();
  result.cluster_identity = to_string(hello.getClusterIdentity());
  result.cluster_version = hello.getClusterVersion();
  for (const auto server : hello.getServers())
    result.servers.push_back(to_string(server));
  return result;
}

FramedSocket::Take ClientConnection::on_frame(capnp::MessageReader& message) {
  const auto response = message.getRoot<wire::Response>();
  if (greeted_) {
    taking_frames_ = true;
    if (!members_.empty())
      hand_on(response);
    else if (!detached_)
      events_.response(response);
    return Take::kDone;
  }
  if (response.isError()) {
    refusal_ = read_error(response.getError());
    close(refusal_.message);
    return Take::kDone;
  }
  if (!response.isHello()) {
    close("the server's first message was no hello");
    return Take::kDone;
  }
  const auto hello = response.getHello();
  if (hello.getError().size() != 0) {
    refusal_ = Error{ErrorCode::kUnsupported, to_string(hello.getError())};
    close(refusal_.message);
    return Take::kDone;
  }
  if (const auto checked = check_protocol_version(hello.getProtocolVersion()); !checked) {
    refusal_ = checked.error();
    close(refusal_.message);
    return Take::kDone;
  }
  greeted_ = true;
  take_large_frames();
  hello_timer_.cancel();
  server_ = read_hello(hello);
  // A copy: the callback may detach this connection.
  const auto ready = events_.ready;
  ready(server_);
  return Take::kDone;
}

void ClientConnection::on_frames_taken() {
  if (detached_) return;
  if (events_.responses_taken) events_.responses_taken();
  for (size_t i = 0; i < answered_.size(); ++i)
    if (const auto member = members_[answered_[i]]) member->responses_taken();
  answered_.clear();
  taking_frames_ = false;
  if (!closed()) flush();
}

void ClientConnection::on_written() {
  if (detached_) return;
  if (events_.written) events_.written();
  auto waiting = std::exchange(waiting_, {});
  // Another one is first each time: the first one may take all the room.
  if (!waiting.empty()) std::rotate(waiting.begin(), waiting.begin() + 1, waiting.end());
  for (const size_t one : waiting)
    if (const auto member = members_[one]) member->written();
}

void ClientConnection::on_closed(const std::string& reason) {
  hello_timer_.cancel();
  const auto closed = std::exchange(events_.closed, nullptr);
  if (detached_) return;
  const Error error{refusal_.code, fmt::format("{}: {}", address_, reason)};
  if (closed) closed(error);
  for (size_t i = 0; i < members_.size(); ++i)
    if (const auto member = std::exchange(members_[i], nullptr)) member->closed(error);
}

}  // namespace tailrace::rpc
