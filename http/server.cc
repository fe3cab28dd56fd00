#include "http/server.h"

#include <algorithm>
#include <list>
#include <optional>
#include <thread>
#include <utility>

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include "core/clock.h"
#include "core/thread.h"
#include "http/connection.h"
#include "net/descriptors.h"
#include "net/listen.h"
#include "net/loop_watch.h"
#include "observability/logging.h"

namespace tailrace::http {
namespace {

constexpr size_t kMostAccepts = 32;
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::minutes kAcceptComplaint{1};
constexpr std::chrono::milliseconds kTimeToSpeak{20};

class ServerImpl final : public Server, public Connection::Owner {
 public:
  ServerImpl(ServerOptions server_options, Handler server_handler)
      : Owner(std::move(server_options), std::move(server_handler)) {
    probe.most_connections = options.max_connections;
  }

  ~ServerImpl() override {
    if (!thread_.joinable()) return;
    io_.stop();
    thread_.join();
  }

  Result<> listen() {
    TAILRACE_ASSIGN_OR_RETURN(auto acceptor, net::listen_on(io_, options.listen));
    acceptor_.emplace(std::move(acceptor));
    std::error_code ignored;
    acceptor_->non_blocking(true, ignored);
    port_ = acceptor_->local_endpoint(ignored).port();
    return {};
  }

  void start() override {
    accept();
    watch_.start();
    thread_ = named_thread("http", [this] { io_.run(); });
  }

  int port() const override { return port_; }
  void post(std::function<void()> function) override { asio::post(io_, std::move(function)); }
  void register_metrics(observability::MetricRegistry& registry) override {
    probe.register_at(registry);
  }

 private:
  void accept() {
    acceptor_->async_wait(asio::ip::tcp::acceptor::wait_read, [this](const std::error_code& error) {
      if (!error) take_waiting();
    });
  }

  /// Many at once: one behind a hundred that all ask something slow waits for it once and not a
  /// hundred times. Not so many that the last take the places of the first before these are read.
  void take_waiting() {
    const size_t most = std::clamp<size_t>(options.max_connections / 4, 1, kMostAccepts);
    for (size_t taken = 0; taken < most; ++taken) {
      std::error_code error;
      asio::ip::tcp::socket socket = acceptor_->accept(error);
      if (error == asio::error::would_block) break;
      if (error == asio::error::connection_aborted) continue;
      if (error) return pause(error);
      if (net::leaves_too_few(socket.native_handle()))
        return pause(std::make_error_code(std::errc::too_many_files_open));
      take(std::move(socket));
    }
    accept();
  }

  /// Out of descriptors, most likely: trying at once would spin.
  void pause(const std::error_code& error) {
    const SteadyTime now = system_clock().now();
    if (!complained_ || now - *complained_ >= kAcceptComplaint) {
      complained_ = now;
      observability::log_warning(
          "HTTP on {} cannot accept connections: {}; tried again until it can", options.listen,
          error.message());
    }
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([this](const std::error_code& stopped) {
      if (!stopped) take_waiting();
    });
  }

  void take(asio::ip::tcp::socket socket) {
    if (connections_.size() >= std::max<size_t>(1, options.max_connections)) make_room();
    connections_.push_back(std::make_shared<Connection>(std::move(socket), *this));
    probe.connections.store(static_cast<int64_t>(connections_.size()));
    connections_.back()->begin();
  }

  /// The oldest that waits for its other side, of those that have been here for a while. In a flood
  /// there may be none: then one that does what most of them do.
  void make_room() {
    const SteadyTime young = system_clock().now() - options.least_stay;
    const auto stays = [&](const auto& each) { return each->accepted_before(young); };
    const auto waits = [&](const auto& each) {
      return stays(each) && each->waits_for_other_side();
    };
    auto oldest = std::find_if(connections_.begin(), connections_.end(), waits);
    if (oldest == connections_.end()) oldest = oldest_of_the_flood();
    if (oldest == connections_.end())
      oldest = std::find_if(connections_.begin(), connections_.end(), stays);
    const auto connection = oldest != connections_.end() ? *oldest : connections_.front();
    probe.count_closed(Closed::kReplaced);
    connection->close();
  }

  /// Of those that it waits for, most are silent or most have spoken, and the others may be honest:
  /// who has just come and is about to ask, or who asks one thing after the other.
  std::list<std::shared_ptr<Connection>>::iterator oldest_of_the_flood() {
    int64_t balance = 0;
    for (const auto& each : connections_)
      if (each->waits_for_other_side()) balance += each->has_spoken() ? 1 : -1;
    // In a burst many are silent, for they have just come: each has a moment to speak.
    const SteadyTime silent = system_clock().now() - kTimeToSpeak;
    const auto oldest =
        std::find_if(connections_.begin(), connections_.end(), [&](const auto& each) {
          return balance <= 0 && each->waits_for_other_side() && !each->has_spoken() &&
                 each->accepted_before(silent);
        });
    if (oldest != connections_.end()) return oldest;
    return std::find_if(connections_.begin(), connections_.end(), [&](const auto& each) {
      return each->waits_for_other_side() && each->has_spoken();
    });
  }

  std::list<std::shared_ptr<Connection>>::iterator find(const Connection& connection) {
    return std::find_if(connections_.begin(), connections_.end(),
                        [&](const auto& each) { return each.get() == &connection; });
  }

  void refresh(Connection& connection) override {
    connections_.splice(connections_.end(), connections_, find(connection));
  }

  void forget(Connection& connection) override {
    connections_.erase(find(connection));
    probe.connections.store(static_cast<int64_t>(connections_.size()));
  }

  asio::io_context io_{1};
  std::optional<asio::ip::tcp::acceptor> acceptor_;
  asio::steady_timer pause_{io_};
  net::LoopWatch watch_{io_, [this](double late) {
                          probe.lateness.observe(late);
                          probe.turns.note();
                        }};
  // On the thread only. The oldest first: accepted, or done with a request.
  std::list<std::shared_ptr<Connection>> connections_;
  std::optional<SteadyTime> complained_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::create(ServerOptions options, Handler handler) {
  auto server = std::make_unique<ServerImpl>(std::move(options), std::move(handler));
  TAILRACE_RETURN_IF_ERROR(server->listen());
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace tailrace::http
