#pragma once
// The client's end of a connection to one server. Internal.

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include "rpc/wire/framed_socket.h"
#include "rpc/wire/message.h"
#include "rpc/wire/schema/client.capnp.h"

namespace tailrace::rpc {

struct ServerHello {
  uint32_t node = 0;
  bool leader = false;
  std::string leader_address;
  uint64_t max_frame_bytes = 0;
  std::vector<std::string> servers = {};  // where clients find the members
  /// Log time, and the ttl of sessions; 0: no bounds are to be sent.
  uint64_t log_time_ns = 0, session_ttl_ns = 0;
  std::string cluster_identity = {};  // or kNoIdentity; empty: it does not say
};
ServerHello read_hello(wire::Hello::Reader hello);

/// How long a client waits for one server to connect, and then for its hello; others are tried
/// beside it (server_search.h). And what it waits before it asks the same ones again.
inline constexpr std::chrono::milliseconds kDialTime{2000};
inline constexpr std::chrono::milliseconds kRetryPause{50};
/// A server that owes something and sends nothing for so long is asked for a sign of life, and left
/// when none comes for as long again.
inline constexpr std::chrono::milliseconds kSilence{1000};

/// Dials, exchanges hellos, then hands each response on. All on the io_context's one thread.
class ClientConnection : public FramedSocket {
 public:
  struct Events {
    std::function<void(const ServerHello&)> ready;
    std::function<void(wire::Response::Reader)> response;
    /// All answers that had come were handed on.
    std::function<void()> responses_taken;
    std::function<void()> written;
    /// Once, at the end; not after detach().
    std::function<void(const Error&)> closed;
  };
  using Made = std::function<void(Result<std::shared_ptr<ClientConnection>>)>;
  /// `made` gets the connection before its hello is answered.
  static void dial(asio::io_context& io, const std::string& address, std::chrono::milliseconds most,
                   size_t max_frame_bytes, Traffic& traffic, Made made);
  ClientConnection(asio::ip::tcp::socket socket, std::string address, size_t max_frame_bytes,
                   Traffic& traffic);

  /// Sends the hello; the server's must come within `most`.
  void begin(Events events, std::chrono::milliseconds most);
  /// From now on these are told.
  void set_events(Events events) { events_ = std::move(events); }
  /// Closes without telling; no event comes any more.
  void detach();
  const std::string& address() const { return address_; }
  const ServerHello& server() const { return server_; }

 private:
  Take on_frame(capnp::MessageReader& message) override;
  void on_frames_taken() override;
  void on_written() override;
  void on_closed(const std::string& reason) override;

  const std::string address_;
  asio::steady_timer hello_timer_;
  Events events_;
  ServerHello server_;
  Error refusal_{ErrorCode::kUnavailable, ""};
  bool greeted_ = false, detached_ = false;
};

}  // namespace tailrace::rpc
