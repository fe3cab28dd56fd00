#pragma once
// Looks for a server that a client can use: dials one after the other, the next one as soon as the
// last has failed, or has not said hello for a moment, while that attempt goes on. So a server that
// is frozen or cut off costs a moment, and not the time of the call. When all were tried it pauses
// and begins again, until it is stopped. Internal; on the io_context's one thread.

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include "rpc/client/connection.h"

namespace tailrace::rpc {

/// Which cluster the servers of one client are of. A log that was begun anew has another identity,
/// and addresses of the one mean nothing in the other. On the io thread.
class KnownCluster {
 public:
  /// The first that is known stays: kUnsupported from a server that says another one, kUnavailable
  /// from one that has none yet and so may be of any. An older server does not say.
  Result<> meet(const std::string& identity, const std::string& server);
  bool known() const { return !identity_.empty(); }

 private:
  std::string identity_, server_;
};

/// A silent machine that comes back is noticed by then.
inline constexpr std::chrono::milliseconds kLongestWait{8000};

class ServerSearch : public std::enable_shared_from_this<ServerSearch> {
 public:
  using Connection = std::shared_ptr<ClientConnection>;
  struct Events {
    /// A server has said hello. True: it is the one, its connection was given other events, and the
    /// search is over.
    std::function<bool(const Connection&, const ServerHello&)> answers;
    /// An attempt has failed; the others go on.
    std::function<void(const Error&)> failed;
  };
  /// Tries `addresses` in their order. `traffic` and `cluster` outlive it; without `cluster`
  /// servers may be of any.
  ServerSearch(asio::io_context& io, size_t max_frame_bytes, Traffic& traffic,
               KnownCluster* cluster, std::vector<std::string> addresses, Events events);

  void start();
  /// How long a server may take to say hello, of those that were tried the longest. It grows where
  /// one was connected and said nothing.
  std::chrono::milliseconds patience() const {
    std::chrono::milliseconds longest{0};
    for (const Candidate& candidate : candidates_)
      longest = std::max(longest, candidate.patience);
    return longest;
  }
  /// How long each server may take at first to say hello, and how long at most. Before start().
  void set_patience(std::chrono::milliseconds first, std::chrono::milliseconds most) {
    for (Candidate& candidate : candidates_)
      candidate.patience = first;
    longest_wait_ = most;
  }
  /// One more, after the others.
  void add(const std::string& address);
  /// Where the server is said to be: tried at once, but only once before the next pause.
  void hint(const std::string& address);
  /// Closes all attempts; no event comes any more. May be called by an event.
  void stop();

 private:
  struct Candidate {
    std::string address;
    bool due = false;      // to be tried before the next pause
    bool hinted = false;   // since the last pause
    bool pending = false;  // an attempt is under way
    /// How long it may take to say hello. It grows while the server is silent: beside very many
    /// others that connect to it one waits long for one's turn, and loses it by beginning anew. (To
    /// be connected, beginning anew is the better way: a full queue drops what comes.)
    std::chrono::milliseconds patience = kDialTime;
    std::optional<SteadyTime> connected{};
    Connection connection = nullptr;
  };
  void begin_round();
  void next();
  void dial(size_t index);
  void made(size_t index, Result<Connection> connection);
  void on_hello(size_t index, const ServerHello& hello);
  void on_failed(size_t index, const Error& error);

  asio::io_context& io_;
  const size_t max_frame_bytes_;
  Traffic& traffic_;
  KnownCluster* const cluster_;
  Events events_;
  std::vector<Candidate> candidates_;  // grows only
  asio::steady_timer timer_;           // for the next attempt, or the next round
  std::chrono::milliseconds pause_;
  std::chrono::milliseconds longest_wait_ = kLongestWait;
  bool head_start_ = false;  // the one that was hinted at has it
  bool stopped_ = false;
};

}  // namespace tailrace::rpc
