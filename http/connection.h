#pragma once
// One connection of the HTTP server. Internal; everything on the server's thread.
//
//     reading ──▶ answering ──▶ writing ──▶ reading …       keep-alive: what was pipelined comes
//     next
//        │                         └─────▶ lingering ──▶ closed
//        └── refused: writing ─────────────▶
//
// While a request is answered nothing is read: who pipelines waits in the socket. A last response
// is followed by the end of the stream, and what still comes is read and dropped for a moment: a
// socket that is closed with unread bytes resets the connection, and the response may be lost with
// it.

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>

#include "core/clock.h"
#include "http/message.h"
#include "http/probe.h"
#include "http/request_parser.h"
#include "http/server.h"

namespace tailrace::http {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  /// What it needs of its server, which outlives all use of it.
  struct Owner {
    const ServerOptions options;
    const Handler handler;
    Probe probe;
    /// It has answered a request.
    virtual void refresh(Connection& connection) = 0;
    /// It is closed.
    virtual void forget(Connection& connection) = 0;

    Owner(ServerOptions server_options, Handler server_handler)
        : options(std::move(server_options)), handler(std::move(server_handler)) {}

   protected:
    ~Owner() = default;
  };

  Connection(asio::ip::tcp::socket socket, Owner& owner);
  void begin();
  void close();
  /// For the next request, or the rest of one; until its answer is read; or for its end.
  bool waits_for_other_side() const { return stage_ != Stage::kAnswering; }
  /// Whether it has said anything yet.
  bool has_spoken() const { return answered_ > 0 || parser_.begun(); }
  bool accepted_before(SteadyTime time) const { return accepted_ < time; }

 private:
  enum class Stage { kReading, kAnswering, kWriting, kLingering, kClosed };

  void read();
  /// Goes on with what was read and not parsed yet.
  void parse();
  void next_request();
  void send(Response response, bool keep_alive);
  void sent(bool keep_alive);
  void linger();
  void drop();
  void expect_within(std::chrono::milliseconds most);
  void deadline_passed();

  Owner& owner_;
  asio::ip::tcp::socket socket_;
  asio::steady_timer timer_;
  const SteadyTime accepted_;
  Stage stage_ = Stage::kReading;
  RequestParser parser_;
  std::array<char, 4096> buffer_;
  std::string_view unparsed_;  // of buffer_
  uint64_t answered_ = 0;      // requests
  std::string head_;           // of the response that is being sent
  std::shared_ptr<const std::string> body_;
};

}  // namespace tailrace::http
