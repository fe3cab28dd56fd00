#pragma once
// One connection between two nodes: hello, then messages. Internal.

#include <functional>
#include <memory>
#include <string>

#include <asio/steady_timer.hpp>

#include "replication/protocol/messages.h"
#include "rpc/peer/hello.h"
#include "rpc/wire/framed_socket.h"

namespace tailrace::rpc {

class PeerConnection : public FramedSocket {
 public:
  struct Events {
    /// What this side says of itself, when its hello is sent. To whoever has dialled: what may be
    /// told to one who says this.
    std::function<replication::Introduction()> introduction;
    std::function<replication::Introduction(NodeId, const replication::Introduction&)> answer;
    /// The other side's hello is in order by itself; an error refuses it (and is sent to it).
    std::function<Result<>(NodeId, const replication::Introduction&)> admit;
    /// Both hellos are through: messages may be sent.
    std::function<void(NodeId, const replication::Introduction&)> up;
    std::function<void(NodeId, replication::Message)> message;
    std::function<void(const std::string& reason)> closed;  // once
  };
  PeerConnection(asio::ip::tcp::socket socket, PeerIdentity self, size_t max_frame_bytes,
                 Traffic& traffic);

  /// `dialled`: this side speaks first.
  void begin(Events events, bool dialled, std::chrono::milliseconds hello_time);
  void send_message(const replication::Message& message);
  NodeId peer() const { return peer_; }
  bool dialled() const { return dialled_; }
  bool introduced() const { return peer_.value != 0; }
  using FramedSocket::take_large_frames;  // until then a frame is as small as a hello

 private:
  Take on_frame(capnp::MessageReader& message) override;
  void on_closed(const std::string& reason) override;
  void send_hello(const replication::Introduction& said);
  /// Whoever is refused is told why, and nothing of this node.
  void send_refusal(const std::string& error);

  PeerIdentity self_;
  asio::steady_timer hello_timer_;
  Events events_;
  bool dialled_ = false;
  NodeId peer_;
};

}  // namespace tailrace::rpc
