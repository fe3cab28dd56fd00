#pragma once
// The client's end of a connection to one server. Internal.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

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
  uint32_t cluster_version = 0;       // 0: it does not say
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

  /// From the first join() on, answers go to those who asked: each asks under ids of its own. It is
  /// told what Events has but for `ready`; an answer without a request goes to all.
  size_t join(Events events);
  /// No event comes to that one any more. The last one closes the connection.
  void leave(size_t member);
  /// For its next request: they grow.
  uint64_t make_id(size_t member) { return uint64_t{member} << kMemberShift | next_id_++; }
  /// Events::written comes to it after the next write.
  void tell_when_written(size_t member) {
    if (waiting_.empty() || waiting_.back() != member) waiting_.push_back(member);
  }
  /// Writes what was sent, with what others send in this turn of the loop.
  void flush_together();
  /// Nobody is to join any more.
  void retire() { retired_ = true; }
  bool may_be_joined() const { return greeted_ && !detached_ && !closed() && !retired_; }
  const std::string& address() const { return address_; }
  const ServerHello& server() const { return server_; }

 private:
  Take on_frame(capnp::MessageReader& message) override;
  void on_frames_taken() override;
  void on_written() override;
  void on_closed(const std::string& reason) override;
  void hand_on(wire::Response::Reader response);

  static constexpr unsigned kMemberShift = 40;  // below it a request's number

  const std::string address_;
  asio::steady_timer hello_timer_;
  Events events_;
  ServerHello server_;
  Error refusal_{ErrorCode::kUnavailable, ""};
  bool greeted_ = false, detached_ = false, retired_ = false;

  std::vector<std::shared_ptr<Events>> members_;  // null: a place that is free
  size_t joined_ = 0;                             // places that are not free
  std::vector<size_t> answered_, waiting_;        // since the last event of that kind
  uint64_t next_id_ = 1;
  bool taking_frames_ = false, flush_posted_ = false;
};

}  // namespace tailrace::rpc
