#pragma once
// The transport between nodes: its parts are in transport.cc, transport_dial.cc,
// transport_accept.cc and transport_hello.cc. Internal.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>

#include "net/loop_turns.h"
#include "net/loop_watch.h"
#include "rpc/peer/connection.h"
#include "rpc/peer/flush_host.h"
#include "rpc/peer/transport.h"

namespace tailrace::rpc {

class PeerTransportImpl : public PeerTransport {
 public:
  explicit PeerTransportImpl(PeerTransportOptions options);
  ~PeerTransportImpl() override { stop(); }

  Result<> listen();
  void start(std::chrono::milliseconds interval, std::function<void()> tick) override;
  void stop() override;
  Result<std::shared_ptr<void>> host_flushes(fasterlog::Log& log) override {
    return rpc::host_flushes(io_, log);
  }
  int port() const override { return port_; }
  void register_metrics(observability::MetricRegistry& registry) override;

  // ---- Executor: any thread.
  void post(std::function<void()> function) override;

  // ---- Transport: on the executor.
  void set_handler(replication::TransportHandler* handler) override;
  void set_members(const replication::Members& members) override;
  void reset(NodeId id) override;
  void send(NodeId id, replication::Message message) override;

 private:
  static constexpr std::chrono::milliseconds kFirstPause{50};

  struct Peer {
    Peer(asio::io_context& io, std::string at) : address(std::move(at)), timer(io) {}
    std::string address;  // as the members have it now; empty: it is none, and not dialled
    std::string address_in_file;
    uint32_t turn = 0;  // which of the two is dialled next
    asio::steady_timer timer;
    std::shared_ptr<PeerConnection> connection;   // up
    replication::Introduction introduction;       // as said on it
    bool by_greater = false;                      // who dialled that
    std::chrono::steady_clock::time_point since;  // when it came up
    std::chrono::milliseconds pause = kFirstPause;
    bool dialling = false, waiting = false;            // to dial
    std::weak_ptr<PeerConnection> outgoing;            // dialled, without the other's hello yet
    std::map<std::string, std::string> last_problems;  // by address
    bool withheld = false;  // it was not told what a disk that is known is told

    const std::string& target() const {
      return turn % 2 == 1 && !address_in_file.empty() ? address_in_file : address;
    }
  };

  // ---- transport.cc
  void arm_tick();
  /// Whoever has become known since is told on a new connection what it was not told.
  void greet_again();
  bool is_known(NodeId id, const replication::Introduction& said) const;
  void close_unfinished();

  // ---- transport_dial.cc
  std::chrono::milliseconds first_pause(NodeId id) const;
  void begin_dialling(NodeId id);
  void dial(NodeId id);
  void dial_failed(NodeId id, const std::string& reason);
  void dial_later(NodeId id);

  // ---- transport_accept.cc
  void accept();
  void make_room_for_stranger();
  void warn_of_stranger(const std::string& remote, const std::string& reason);

  // ---- transport_hello.cc
  /// `dialled`: whom we mean to reach; 0: whoever has come.
  void introduce(asio::ip::tcp::socket socket, NodeId dialled);
  /// A number is one process. Another one that says it is that node gets in once the first has
  /// gone: its machine says so at once where the process has ended, and within seconds where the
  /// machine has. Whatever a stranger claims, it cuts off nobody who is there.
  Result<> admit_beside(NodeId peer, const replication::Introduction& introduction);
  Result<> admit(NodeId peer, NodeId dialled) const;
  void up(NodeId id, const replication::Introduction& introduction,
          std::shared_ptr<PeerConnection> connection, bool by_greater);
  void allow_batches(NodeId id, PeerConnection& connection);
  void closed(PeerConnection* connection, NodeId dialled, const std::string& reason);
  /// A number that is no member's, and has no connection.
  void forget(NodeId id);

  const PeerTransportOptions options_;
  Traffic traffic_;
  observability::Counter came_up_, failures_;
  std::atomic<int64_t> up_{0};
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  observability::Histogram lateness_{observability::lateness_bounds_s()};
  net::LoopTurns turns_;
  net::LoopWatch watch_{io_, [this](double late) {
                          lateness_.observe(late);
                          turns_.note();
                        }};
  std::optional<asio::ip::tcp::acceptor> acceptor_;
  std::thread thread_;
  int port_ = 0;

  // On the io thread only.
  replication::TransportHandler* handler_ = nullptr;
  bool accepting_ = false;
  std::map<NodeId, Peer> peers_;
  std::set<std::shared_ptr<PeerConnection>> strangers_;  // without a hello yet
  std::deque<std::weak_ptr<PeerConnection>> came_;       // of these, who has dialled; oldest first
  std::chrono::steady_clock::time_point stranger_said_{};
  uint64_t strangers_unsaid_ = 0;
  asio::steady_timer tick_timer_, accept_timer_;
  std::chrono::milliseconds interval_{};
  std::function<void()> tick_;
  bool stopping_ = false;

  observability::MetricRegistry::Registration registration_;  // last: goes first
};

}  // namespace tailrace::rpc
