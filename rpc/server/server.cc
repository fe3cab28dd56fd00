#include "rpc/server/server.h"

#include <algorithm>
#include <thread>

#include <asio/steady_timer.hpp>

#include "net/descriptors.h"
#include "net/listen.h"
#include "observability/logging.h"
#include "observability/metric_table.h"
#include "rpc/server/connection.h"
#include "rpc/server/io_thread.h"

namespace tailrace::rpc {
namespace {

constexpr std::chrono::milliseconds kAcceptRetry{50};
constexpr std::chrono::milliseconds kPlaceRetry{2};
constexpr std::chrono::milliseconds kLull{100};  // who comes later comes after a flood, not in it
constexpr std::chrono::seconds kAcceptWarning{10};  // not more often
constexpr std::chrono::milliseconds kLongestGoodbye{1500};

bool wait_until(const std::function<bool()>& holds, std::chrono::milliseconds most) {
  const auto deadline = std::chrono::steady_clock::now() + most;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

class ServerImpl : public Server {
 public:
  ServerImpl(ServerOptions options, ServerDependencies to) : context_(std::move(options), to) {
    for (uint32_t i = 0; i < context_.options.io_threads; ++i)
      threads_.push_back(std::make_unique<IoThread>(context_));
    context_.want_place = [this] { make_room(false); };
  }
  ~ServerImpl() override { stop(); }

  Result<> listen() {
    TAILRACE_ASSIGN_OR_RETURN(auto acceptor,
                              net::listen_on(threads_[0]->io(), context_.options.listen));
    acceptor_.emplace(std::move(acceptor));
    retry_.emplace(threads_[0]->io());
    std::error_code ignored;
    port_ = acceptor_->local_endpoint(ignored).port();
    return {};
  }

  void start() override {
    durable_ = context_.to.log->add_durable_listener(
        [&steps = context_.to.watermarks->steps()](Address durable, const Error*) {
          steps.passed(statemachine::StepTimes::Step::kDurable, durable);
        });
    accept();
    for (auto& thread : threads_)
      thread->start();
    started_ = true;
  }

  void drain_and_stop(std::chrono::milliseconds most) override {
    if (stopped_) return;
    if (started_) {
      threads_[0]->poster()->post([this] { close_acceptor(); });
      for (auto& thread : threads_)
        thread->stop_reading();
      // Nothing is taken any more: what is in flight only becomes less.
      const auto answered = [this] {
        return context_.probe.in_flight() == 0 &&
               std::all_of(threads_.begin(), threads_.end(),
                           [](const auto& thread) { return thread->all_sent(); });
      };
      if (wait_until(answered, most)) {
        for (auto& thread : threads_)
          thread->close_after_sending();
        wait_until([this] { return context_.probe.connections.load() == 0; }, kLongestGoodbye);
      }
    }
    stop();
  }

  int port() const override { return port_; }

  void on_applied(std::shared_ptr<const statemachine::AppliedBatch> batch) override {
    // Once, and before any answer that shows the rules: who has said hello before the log had them
    // has no bound for its sessions.
    if (!rules_told_ && context_.to.state_machine->rules().in_log) {
      rules_told_ = true;
      for (auto& thread : threads_)
        thread->members_changed();
    }
    for (auto& thread : threads_)
      thread->applied(batch);
  }

  void on_role(const replication::NodeStatus& status) override {
    const bool leads = status.role == replication::Role::kLeader;
    for (auto& thread : threads_)
      thread->role_changed(status.epoch, leads, context_.to.watermarks->applied_point());
    if (status.members == members_) return;
    members_ = status.members;
    for (auto& thread : threads_)
      thread->members_changed();
  }

  void register_metrics(observability::MetricRegistry& registry) override {
    context_.probe.register_at(registry);
    metrics_ = registry.registration();
    registry.add_gauge(metrics_, observability::metric("tailrace_rpc_memory_bytes"), {},
                       [this] { return static_cast<double>(context_.memory.used()); });
    registry.add_gauge(metrics_, observability::metric("tailrace_rpc_memory_limit_bytes"), {},
                       [this] { return static_cast<double>(context_.memory.most()); });
    const auto gauge = [&](const observability::MetricInfo& metric, auto read) {
      registry.add_gauge(metrics_, metric, {}, [read] { return static_cast<double>(read()); });
    };
    gauge(observability::metric("tailrace_rpc_tails"), [this] { return context_.tails.load(); });
    gauge(observability::metric("tailrace_rpc_tail_lag_bytes"), [this] { return tail_lag(); });
    gauge(observability::metric("tailrace_rpc_scans"), [this] { return context_.scans.count(); });
    gauge(observability::metric("tailrace_rpc_connections_limit"),
          [this] { return context_.options.max_connections; });
    gauge(observability::metric("tailrace_apply_lag_limit_bytes"),
          [this] { return context_.options.max_unapplied_bytes; });
  }

 private:
  /// Of the slowest of all tails.
  double tail_lag() const {
    std::optional<uint64_t> lag;
    for (const auto& thread : threads_)
      lag = std::max(lag, thread->tail_lag());
    return lag ? static_cast<double>(*lag) : observability::kNotKnown;
  }

  /// Whoever comes waits in the listener's queue while there are too many without a place.
  void accept() {
    if (context_.too_many_unplaced()) {
      const auto now = std::chrono::steady_clock::now();
      if (now - crowded_ >= kLull) context_.crowded_since.store(now);
      crowded_ = now;
      make_room(true);
      return accept_after(kPlaceRetry);
    }
    IoThread& thread = *threads_[next_++ % threads_.size()];
    auto accepted = [this, &thread](const std::error_code& error, asio::ip::tcp::socket socket) {
      if (error == asio::error::operation_aborted || !acceptor_->is_open()) return;
      const bool scarce = !error && net::leaves_too_few(socket.native_handle());
      if (error || scarce) {
        // Out of descriptors, most likely: trying at once would spin. (The socket closes here.)
        const auto now = std::chrono::steady_clock::now();
        if (now - accept_warned_ >= kAcceptWarning) {
          accept_warned_ = now;
          observability::log_warning("accept on {}: {}", context_.options.listen,
                                     scarce ? net::kTooFewLeft : error.message());
        }
        return accept_after(kAcceptRetry);
      }
      take(thread, std::move(socket));
      accept();
    };
    acceptor_->async_accept(thread.io(), std::move(accepted));
  }

  void accept_after(std::chrono::milliseconds pause) {
    retry_->expires_after(pause);
    retry_->async_wait([this](const std::error_code& stopped) {
      if (!stopped && acceptor_->is_open()) accept();
    });
  }

  void take(IoThread& thread, asio::ip::tcp::socket socket) {
    Probe& probe = context_.probe;
    context_.unplaced.fetch_add(1);
    probe.connections.fetch_add(1);
    probe.accepted.add();
    auto shared = std::make_shared<asio::ip::tcp::socket>(std::move(socket));
    thread.poster()->post([&thread, shared] { thread.adopt(std::move(*shared)); });
  }

  /// Any thread.
  void make_room(bool unplaced) {
    for (auto& thread : threads_)
      thread->poster()->post([to = thread.get(), unplaced] { to->make_room(unplaced); });
  }

  void close_acceptor() {
    std::error_code ignored;
    if (acceptor_) acceptor_->close(ignored);
    if (retry_) retry_->cancel();
  }

  void stop() {
    if (std::exchange(stopped_, true)) return;
    context_.checkpoints.stop();
    context_.digests.stop();
    context_.scans.stop();
    context_.reads.stop();
    // The acceptor lives on the first thread: it goes last, after no one posts to the others.
    for (auto thread = threads_.rbegin(); thread != threads_.rend(); ++thread)
      (*thread)->stop();
    close_acceptor();
  }

  ServerContext context_;
  std::vector<std::unique_ptr<IoThread>> threads_;
  replication::Members members_;  // as clients were told last; whoever calls on_role()
  bool rules_told_ = false;       // the log has them, and clients know; whoever calls on_applied()
  std::optional<asio::ip::tcp::acceptor> acceptor_;
  std::optional<asio::steady_timer> retry_;
  fasterlog::Log::ListenerHandle durable_;  // of the steps of writes
  SteadyTime accept_warned_{}, crowded_{};
  size_t next_ = 0;
  int port_ = 0;
  bool started_ = false, stopped_ = false;
  observability::MetricRegistry::Registration metrics_;  // last: goes first
};

}  // namespace

Result<std::unique_ptr<Server>> Server::create(ServerOptions options, ServerDependencies to) {
  if (options.io_threads == 0)
    options.io_threads = std::clamp(std::thread::hardware_concurrency() / 4, 1u, 8u);
  auto server = std::make_unique<ServerImpl>(std::move(options), to);
  TAILRACE_RETURN_IF_ERROR(server->listen());
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace tailrace::rpc
