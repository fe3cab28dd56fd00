#include "rpc/peer/transport.h"

#include <deque>
#include <map>
#include <set>
#include <thread>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <fmt/format.h>

#include "core/thread.h"
#include "net/descriptors.h"
#include "net/dial.h"
#include "net/listen.h"
#include "net/loop_watch.h"
#include "observability/logging.h"
#include "observability/metric_table.h"
#include "rpc/peer/connection.h"

namespace tailrace::rpc {
namespace {

using replication::Member;

constexpr std::chrono::milliseconds kPeerDialTime{2000};
constexpr std::chrono::milliseconds kHelloTime{3000};
constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{1000};
constexpr std::chrono::milliseconds kAcceptRetry{50};
// So long after a connection came up another one may still be on its way that was begun before it.
constexpr std::chrono::milliseconds kYoung{2000};
// Who does not even confirm what it is sent for so long is gone.
constexpr std::chrono::milliseconds kSilent{3000};
// Beyond that the one that came first makes room, and the next is let in a moment later: a member
// says hello sooner.
constexpr size_t kMostStrangers = 64;
constexpr std::chrono::milliseconds kAcceptPause{2};
// Strangers fill no log: what happens meanwhile is counted.
constexpr std::chrono::seconds kStrangersLine{10};
constexpr size_t kMostPeers = 256;  // without a hello there is none
// The rest of a frame comes in a moment, or the other side is not well.
constexpr std::chrono::seconds kFrameSilence{10}, kFrameTime{120};

class PeerTransportImpl : public PeerTransport {
 public:
  explicit PeerTransportImpl(PeerTransportOptions options)
      : options_(std::move(options)),
        work_(asio::make_work_guard(io_)),
        tick_timer_(io_),
        accept_timer_(io_) {
    for (const Member& member : options_.members) {
      if (member.id == options_.self) continue;
      Peer& peer = peers_.try_emplace(member.id, io_, member.peer_address).first->second;
      peer.address_in_file = member.peer_address;
      peer.pause = first_pause(member.id);
    }
  }
  ~PeerTransportImpl() override { stop(); }

  Result<> listen() {
    if (options_.listen.empty()) return {};
    TAILRACE_ASSIGN_OR_RETURN(auto acceptor, net::listen_on(io_, options_.listen));
    acceptor_.emplace(std::move(acceptor));
    std::error_code ignored;
    port_ = acceptor_->local_endpoint(ignored).port();
    return {};
  }

  void start(std::chrono::milliseconds interval, std::function<void()> tick) override {
    interval_ = interval;
    tick_ = std::move(tick);
    asio::post(io_, [this] { arm_tick(); });
    watch_.start();
    thread_ = named_thread("nodes", [this] { io_.run(); });
  }

  void stop() override {
    if (!thread_.joinable()) return;
    asio::post(io_, [this] {
      stopping_ = true;
      handler_ = nullptr;
      std::error_code ignored;
      if (acceptor_) acceptor_->close(ignored);
      const auto strangers = strangers_;
      for (const auto& stranger : strangers)
        stranger->close("this node stops");
      for (auto& [id, peer] : peers_) {
        if (const auto connection = peer.connection) connection->close("this node stops");
      }
      io_.stop();
    });
    thread_.join();
  }

  int port() const override { return port_; }

  void register_metrics(observability::MetricRegistry& registry) override {
    registration_ = registry.registration();
    registry.add_counter(registration_, observability::metric("tailrace_peer_received_bytes_total"),
                         {}, traffic_.bytes_in);
    registry.add_counter(registration_, observability::metric("tailrace_peer_sent_bytes_total"), {},
                         traffic_.bytes_out);
    registry.add_counter(registration_, observability::metric("tailrace_peer_bad_frames_total"), {},
                         traffic_.bad_frames);
    registry.add_counter(registration_, observability::metric("tailrace_peer_connections_total"),
                         {}, came_up_);
    registry.add_counter(registration_, observability::metric("tailrace_peer_failures_total"), {},
                         failures_);
    registry.add_gauge(registration_, observability::metric("tailrace_peer_connections"), {},
                       [this] { return static_cast<double>(up_.load()); });
    registry.add_histogram(registration_, observability::metric("tailrace_loop_lateness_seconds"),
                           {{"loop", "nodes"}}, lateness_);
  }

  // ---- Executor: any thread.
  void post(std::function<void()> function) override { asio::post(io_, std::move(function)); }

  // ---- Transport: on the executor.
  void set_handler(replication::TransportHandler* handler) override {
    handler_ = handler;
    if (handler_ == nullptr) return;
    // Who has come before that waits in the listener's queue.
    if (acceptor_ && !accepting_ && !stopping_) accept();
    for (auto& [id, peer] : peers_) {
      if (peer.connection) handler_->on_connected(id, peer.introduction);
      begin_dialling(id);
    }
  }

  void set_members(const replication::Members& members) override {
    for (const Member& member : members) {
      if (member.id == options_.self) continue;
      Peer& peer = peers_.try_emplace(member.id, io_, member.peer_address).first->second;
      if (peer.address != member.peer_address) {
        peer.address = member.peer_address;
        peer.turn = 0;
        peer.pause = first_pause(member.id);
      }
      begin_dialling(member.id);
    }
    // Who is gone is not dialled again. Its connection may still have to tell it that.
    for (auto& [id, peer] : peers_)
      if (replication::find_member(members, id) == nullptr) peer.address.clear();
    greet_again();
  }

  void reset(NodeId id) override {
    const auto found = peers_.find(id);
    if (found == peers_.end()) return;
    if (const auto connection = found->second.connection)
      connection->close("this node closed the connection");
    // What it is saying there is of before as well.
    if (const auto outgoing = found->second.outgoing.lock())
      outgoing->close("this node closed the connection");
  }

  void send(NodeId id, replication::Message message) override {
    const auto found = peers_.find(id);
    if (found == peers_.end() || !found->second.connection) return;
    found->second.connection->send_message(message);
  }

 private:
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

  void arm_tick() {
    tick_timer_.expires_after(interval_);
    tick_timer_.async_wait([this](const std::error_code& error) {
      if (error || stopping_) return;
      if (tick_) tick_();
      close_unfinished();
      arm_tick();
    });
  }

  /// Whoever has become known since is told on a new connection what it was not told.
  void greet_again() {
    if (handler_ == nullptr) return;
    for (auto& [id, peer] : peers_) {
      if (!peer.connection || !peer.withheld || !is_known(id, peer.introduction)) continue;
      peer.withheld = false;
      // Not at once: who says so may have more to say on this one.
      asio::post(io_, [connection = peer.connection] {
        connection->close("this node knows the disk of the other one now: hellos are said anew");
      });
    }
  }
  bool is_known(NodeId id, const replication::Introduction& said) const {
    return handler_ != nullptr &&
           handler_->acquaintance(id, said) == replication::Acquaintance::kDisk;
  }
  void close_unfinished() {
    const auto now = std::chrono::steady_clock::now();
    std::vector<std::shared_ptr<PeerConnection>> late;
    for (const auto& [id, peer] : peers_) {
      const auto since =
          peer.connection ? peer.connection->unfinished_since() : std::optional<SteadyTime>();
      if (since && (now - *since > kFrameTime || now - peer.connection->heard() > kFrameSilence))
        late.push_back(peer.connection);
    }
    for (const auto& connection : late)
      connection->close("the rest of a frame did not come in time");
  }

  // ---- Dialling.

  // The node with the greater id dials at once, so that hardly ever two connections meet half-way.
  // The other one dials when it has waited for that in vain: it may know an address that the
  // greater one, which was down, does not, or the greater one may have moved. Where two connections
  // meet all the same, both sides keep the one that the greater one dialled: it takes the place of
  // any other (up), and none of the smaller one's takes its place (admit, up).

  std::chrono::milliseconds first_pause(NodeId id) const {
    return id < options_.self ? kFirstPause : options_.dial_patience;
  }

  void begin_dialling(NodeId id) {
    if (id < options_.self) return dial(id);
    const Peer& peer = peers_.at(id);
    if (!peer.connection && !peer.dialling && !peer.waiting) dial_later(id);
  }

  void dial(NodeId id) {
    Peer& peer = peers_.at(id);
    if (stopping_ || handler_ == nullptr || peer.address.empty() || peer.dialling ||
        peer.connection)
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

  void dial_failed(NodeId id, const std::string& reason) {
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

  void dial_later(NodeId id) {
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

  // ---- Accepting.

  void accept() {
    accepting_ = true;
    auto accepted = [this](const std::error_code& error, asio::ip::tcp::socket socket) {
      if (stopping_ || error == asio::error::operation_aborted) return;
      // Other nodes may have half of what clients leave.
      const bool scarce = !error && net::leaves_too_few(socket.native_handle(), true);
      if (error || scarce) {
        observability::log_warning("accept on {}: {}", options_.listen,
                                   scarce ? net::kTooFewLeft : error.message());
        accept_timer_.expires_after(kAcceptRetry);
        return accept_timer_.async_wait([this](const std::error_code& stopped) {
          if (!stopped) accept();
        });
      }
      const bool full = came_.size() >= kMostStrangers;
      if (full) make_room_for_stranger();
      if (handler_ != nullptr) introduce(std::move(socket), NodeId{});
      if (!full) return accept();
      accept_timer_.expires_after(kAcceptPause);
      accept_timer_.async_wait([this](const std::error_code& stopped) {
        if (!stopped) accept();
      });
    };
    acceptor_->async_accept(std::move(accepted));
  }

  void make_room_for_stranger() {
    const auto first = came_.front().lock();
    came_.pop_front();
    if (first) first->close("others need its place, and it has said no hello yet");
  }

  void warn_of_stranger(const std::string& remote, const std::string& reason) {
    const auto now = std::chrono::steady_clock::now();
    ++strangers_unsaid_;
    if (now - stranger_said_ < kStrangersLine) return;
    stranger_said_ = now;
    const uint64_t others = std::exchange(strangers_unsaid_, 0) - 1;
    observability::log_warning(
        "peer connection from {}: {}{}", remote, reason,
        others == 0 ? "" : fmt::format(" ({} more failed since the last such line)", others));
  }

  // ---- Both.

  /// `dialled`: whom we mean to reach; 0: whoever has come.
  void introduce(asio::ip::tcp::socket socket, NodeId dialled) {
    auto connection = std::make_shared<PeerConnection>(
        std::move(socket), PeerIdentity{kProtocolVersion, options_.cluster, options_.self, {}},
        options_.max_frame_bytes, traffic_);
    strangers_.insert(connection);
    PeerConnection::Events events;
    events.introduction = [this] {
      return handler_ != nullptr ? handler_->introduction() : replication::Introduction{};
    };
    // All that may be told to whoever has its connection by a number alone.
    events.answer = [this](NodeId peer, const replication::Introduction& said) {
      if (handler_ == nullptr) return replication::Introduction{};
      replication::Introduction all = handler_->introduction();
      if (is_known(peer, said)) return all;
      replication::Introduction little;
      little.version = all.version;
      return little;
    };
    events.admit = [this, dialled](NodeId peer,
                                   const replication::Introduction& introduction) -> Result<> {
      TAILRACE_RETURN_IF_ERROR(admit_beside(peer, introduction));
      return admit(peer, dialled);
    };
    // The connection owns its events: a weak reference keeps that from being a circle.
    const std::weak_ptr<PeerConnection> weak = connection;
    events.up = [this, weak, dialled](NodeId peer, const replication::Introduction& introduction) {
      const bool ours = dialled.value != 0;
      if (auto self = weak.lock())
        up(peer, introduction, std::move(self), ours == (peer < options_.self));
    };
    events.message = [this, weak](NodeId peer, replication::Message message) {
      if (handler_ == nullptr) return;
      handler_->on_message(peer, std::move(message));
      if (const auto self = weak.lock(); self && handler_ != nullptr) allow_batches(peer, *self);
    };
    PeerConnection* const raw = connection.get();
    events.closed = [this, raw, dialled](const std::string& reason) {
      closed(raw, dialled, reason);
    };
    if (dialled.value != 0)
      peers_.at(dialled).outgoing = connection;
    else
      came_.push_back(connection);
    connection->begin(std::move(events), dialled.value != 0, kHelloTime);
  }

  /// A number is one process. Another one that says it is that node gets in once the first has
  /// gone: its machine says so at once where the process has ended, and within seconds where the
  /// machine has. Whatever a stranger claims, it cuts off nobody who is there.
  Result<> admit_beside(NodeId peer, const replication::Introduction& introduction) {
    const auto known = peers_.find(peer);
    if (known == peers_.end() || !known->second.connection) return {};
    PeerConnection& connection = *known->second.connection;
    const uint64_t run = known->second.introduction.life.run;
    const bool another = run != 0 && introduction.life.run != run;
    // With a number alone nobody keeps out the disk that the members know.
    if (is_known(peer, introduction) && !is_known(peer, known->second.introduction)) return {};
    if (!another || connection.other_side_closed()) return {};
    const auto silent = std::chrono::steady_clock::now() - connection.heard();
    if (silent > kSilent && connection.unconfirmed()) return {};
    return make_error(
        ErrorCode::kAlreadyExists,
        fmt::format("another process is connected as node {}, from {}: if that is not "
                    "one that is about to end, two nodes have the same number; stop "
                    "one of them",
                    peer.value, connection.remote()));
  }

  Result<> admit(NodeId peer, NodeId dialled) const {
    if (dialled.value != 0 && peer != dialled)
      return make_error(ErrorCode::kFailedPrecondition,
                        fmt::format("node {} answers at {}, which should be node {}: check the "
                                    "peer addresses in the configuration",
                                    peer.value, peers_.at(dialled).target(), dialled.value));
    // The smaller one dials when it has no connection: one that is not new is dead, whether or not
    // TCP knows. Beside a new one it had begun before it knew of that.
    const auto known = peers_.find(peer);
    if (dialled.value == 0 && peer < options_.self && known != peers_.end() &&
        known->second.connection && known->second.by_greater &&
        std::chrono::steady_clock::now() - known->second.since < kYoung)
      return make_error(ErrorCode::kAlreadyExists,
                        fmt::format("node {} is connected already", peer.value));
    if (!peers_.contains(peer) && peers_.size() >= kMostPeers)
      return make_error(ErrorCode::kResourceExhausted,
                        fmt::format("node {} is no member of cluster '{}' that node {} knows of, "
                                    "and too many others have come already",
                                    peer.value, options_.cluster, options_.self.value));
    return {};
  }

  void up(NodeId id, const replication::Introduction& introduction,
          std::shared_ptr<PeerConnection> connection, bool by_greater) {
    strangers_.erase(connection);
    std::erase_if(came_, [&](const auto& weak) { return weak.lock() == connection; });
    // Whether it is a member may be said by a record that this node does not hold yet: the protocol
    // decides what it is told.
    Peer& peer = peers_.try_emplace(id, io_, std::string()).first->second;
    // The other side has a new connection: the old one is dead, whether or not TCP knows.
    const auto old = peer.connection;
    if (old) old->close("replaced by a newer connection");
    peer.connection = std::move(connection);
    const bool same_disk = peer.introduction.life.incarnation == introduction.life.incarnation;
    peer.introduction = introduction;
    peer.introduction.beside = old != nullptr && same_disk;
    peer.withheld = !peer.connection->dialled() && !is_known(id, introduction);
    peer.by_greater = by_greater;
    peer.since = std::chrono::steady_clock::now();
    const auto outgoing = peer.outgoing.lock();
    if (outgoing == peer.connection) peer.dialling = false;
    if (outgoing && outgoing != peer.connection && id > options_.self)
      outgoing->close("the other side has connected meanwhile");
    peer.pause = first_pause(id);
    peer.last_problems.clear();
    came_up_.add();
    up_.fetch_add(1);
    if (peer.address.empty())
      warn_of_stranger(peer.connection->remote(),
                       fmt::format("node {}, which is no member here, has connected", id.value));
    else
      observability::log_info("node {} is connected ({})", id.value, peer.connection->remote());
    const auto kept = peer.connection;
    if (handler_ != nullptr) handler_->on_connected(id, peer.introduction);
    if (handler_ != nullptr && !kept->closed()) allow_batches(id, *kept);
  }

  void allow_batches(NodeId id, PeerConnection& connection) {
    if (handler_->may_send_batches(id)) connection.take_large_frames();
  }

  void closed(PeerConnection* connection, NodeId dialled, const std::string& reason) {
    std::erase_if(strangers_, [&](const auto& stranger) { return stranger.get() == connection; });
    std::erase_if(came_, [&](const auto& weak) {
      const auto stranger = weak.lock();
      return !stranger || stranger.get() == connection;
    });
    const NodeId id = connection->peer();
    if (id.value == 0) {
      if (dialled.value != 0) {
        peers_.at(dialled).dialling = false;
        if (!peers_.at(dialled).connection) dial_failed(dialled, reason);
      } else {
        failures_.add();
        if (!stopping_) warn_of_stranger(connection->remote(), reason);
      }
      return;
    }
    const auto known = peers_.find(id);
    if (known == peers_.end() || known->second.connection.get() != connection) return;
    Peer& peer = known->second;
    peer.connection.reset();
    up_.fetch_sub(1);
    const bool stranger = peer.address.empty();
    if (!stranger) observability::log_info("node {} is disconnected: {}", id.value, reason);
    if (handler_ != nullptr) handler_->on_disconnected(id, reason);
    if (!stranger) return dial_later(id);
    // Not at once: whoever closed it may be using what is known of it.
    asio::post(io_, [this, id] { forget(id); });
  }

  /// A number that is no member's, and has no connection.
  void forget(NodeId id) {
    const auto known = peers_.find(id);
    if (known == peers_.end()) return;
    const Peer& peer = known->second;
    if (!peer.connection && peer.address.empty() && !peer.dialling && !peer.waiting)
      peers_.erase(known);
  }

  const PeerTransportOptions options_;
  Traffic traffic_;
  observability::Counter came_up_, failures_;
  std::atomic<int64_t> up_{0};
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  observability::Histogram lateness_{observability::lateness_bounds_s()};
  net::LoopWatch watch_{io_, [this](double late) { lateness_.observe(late); }};
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

}  // namespace

Result<std::unique_ptr<PeerTransport>> PeerTransport::create(PeerTransportOptions options) {
  for (const Member& member : options.members) {
    if (member.id == options.self) continue;
    if (auto parsed = net::parse_endpoint(member.peer_address); !parsed)
      return tl::unexpected(with_context(fmt::format("peer address of node {}", member.id.value),
                                         std::move(parsed).error()));
  }
  auto transport = std::make_unique<PeerTransportImpl>(std::move(options));
  TAILRACE_RETURN_IF_ERROR(transport->listen());
  return std::unique_ptr<PeerTransport>(std::move(transport));
}

}  // namespace tailrace::rpc
