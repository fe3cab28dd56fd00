#include "rpc/client/connection.h"

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

ServerHello read_hello(wire::Hello::Reader hello) {
  ServerHello result{hello.getNode(), hello.getLeader(), to_string(hello.getLeaderAddress()),
                     hello.getMaxFrameBytes()};
  result.log_time_ns = hello.getLogTimeNs();
  result.session_ttl_ns = hello.getSessionTtlNs();
  result.cluster_identity = to_string(hello.getClusterIdentity());
  for (const auto server : hello.getServers())
    result.servers.push_back(to_string(server));
  return result;
}

FramedSocket::Take ClientConnection::on_frame(capnp::MessageReader& message) {
  const auto response = message.getRoot<wire::Response>();
  if (greeted_) {
    if (!detached_) events_.response(response);
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
  flush();
}

void ClientConnection::on_written() {
  if (!detached_ && events_.written) events_.written();
}

void ClientConnection::on_closed(const std::string& reason) {
  hello_timer_.cancel();
  const auto closed = std::exchange(events_.closed, nullptr);
  if (!detached_ && closed) closed(Error{refusal_.code, fmt::format("{}: {}", address_, reason)});
}

}  // namespace tailrace::rpc
