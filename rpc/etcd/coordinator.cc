#include "rpc/etcd/coordinator.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <fmt/format.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/mutex.h"
#include "core/thread.h"
#include "net/loop_turns.h"
#include "net/loop_watch.h"
#include "observability/logging.h"
#include "observability/metric_table.h"
#include "rpc/etcd/client.h"
#include "rpc/etcd/election.h"
#include "rpc/etcd/tls.h"

namespace tailrace::rpc {
namespace {

using replication::Candidacy;
using replication::CoordinatorStatus;
using replication::Grant;

/// Of a stop: after that the lease runs out by itself.
constexpr std::chrono::milliseconds kStopTime{900};
constexpr std::chrono::seconds kRefusalTime{3};

/// Whether etcd answers. Any thread.
class Contact {
 public:
  explicit Contact(std::string cluster) : cluster_(std::move(cluster)) {}

  void note(const Result<>& outcome) {
    const MutexLock lock(mutex_);
    asked_ = true;
    const ErrorCode code = outcome ? ErrorCode::kInvalidArgument : outcome.error().code;
    const bool refused = !outcome && code == ErrorCode::kFailedPrecondition;
    // That a lease is gone is an answer as good as any.
    if (outcome || refused || code == ErrorCode::kNotFound) {
      if (!reachable_) observability::log_info("etcd: cluster '{}' reaches it again", cluster_);
      reachable_ = true;
      unreachable_.clear();
      last_ = system_clock().now();
      if (refused) note_refusal(outcome.error().message);
      return;
    }
    // Once: the calls go on several times in a second.
    if (reachable_)
      observability::log_warning("etcd cannot be reached: {}", outcome.error().message);
    reachable_ = false;
    unreachable_ = outcome.error().message;
  }
  void set_problem(std::string problem) {
    const MutexLock lock(mutex_);
    problem_ = std::move(problem);
  }
  /// For the metrics: not known before the first call ended.
  double reachable() const {
    const MutexLock lock(mutex_);
    if (!asked_) return observability::kNotKnown;
    return reachable_ ? 1.0 : 0.0;
  }
  CoordinatorStatus status() const {
    const MutexLock lock(mutex_);
    const std::chrono::duration<double> since = system_clock().now() - last_;
    CoordinatorStatus status{reachable_, problem_, since.count()};
    if (problem_.empty() && is_refused()) status.problem = refusal_;
    if (!reachable_)
      status.problem =
          fmt::format("etcd has not answered for {:.1f} s: {}", since.count(), unreachable_);
    return status;
  }

 private:
  void note_refusal(const std::string& message) TAILRACE_REQUIRES(mutex_) {
    if (!is_refused()) observability::log_warning("{}", message);
    refusal_ = message;
    refused_at_ = system_clock().now();
  }
  /// Refused calls are tried again, beside others that are not refused: it lasts while there are
  /// new ones.
  bool is_refused() const TAILRACE_REQUIRES(mutex_) {
    return !refusal_.empty() && system_clock().now() - refused_at_ < kRefusalTime;
  }

  const std::string cluster_;
  mutable Mutex mutex_;
  bool reachable_ TAILRACE_GUARDED_BY(mutex_) = true;
  bool asked_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::string unreachable_ TAILRACE_GUARDED_BY(mutex_);
  std::string refusal_ TAILRACE_GUARDED_BY(mutex_);
  std::string problem_ TAILRACE_GUARDED_BY(mutex_);
  SteadyTime refused_at_ TAILRACE_GUARDED_BY(mutex_);
  /// Counted from the beginning when there was none yet.
  SteadyTime last_ TAILRACE_GUARDED_BY(mutex_) = system_clock().now();
};

class EtcdCoordinator : public replication::Coordinator {
 public:
  EtcdCoordinator(EtcdCoordinatorOptions options, EtcdClientOptions client,
                  replication::Executor& executor)
      : executor_(executor),
        contact_(options.cluster),
        work_(asio::make_work_guard(io_)),
        client_(io_, with_contact(std::move(client))),
        election_(io_, client_, options,
                  {[this](Grant grant) { tell(grant); },
                   [this](const std::string& problem) { contact_.set_problem(problem); }}) {}
  ~EtcdCoordinator() override { EtcdCoordinator::stop(); }

  void start(Epoch known, Listener listener) override {
    TAILRACE_CHECK(!delivery_, "a coordinator starts once");
    delivery_ = std::make_shared<Delivery>();
    delivery_->listener = std::move(listener);
    asio::post(io_, [this, known] { election_.start(known); });
    watch_.start();
    thread_ = named_thread("etcd", [this] { io_.run(); });
  }

  void stop() override {
    if (!thread_.joinable()) return;
    delivery_->stopped = true;
    asio::post(io_, [this] {
      stop_timer_.after(kStopTime, [this] { io_.stop(); });
      election_.stop([this] { io_.stop(); });
    });
    thread_.join();
  }

  void raise(Epoch known) override {
    asio::post(io_, [this, known] { election_.raise(known); });
  }
  void set_candidacy(Candidacy candidacy) override {
    asio::post(io_, [this, candidacy] { election_.set_candidacy(candidacy); });
  }
  void resign(Epoch epoch, NodeId successor) override {
    asio::post(io_, [this, epoch, successor] { election_.resign(epoch, successor); });
  }
  Result<> promote() override {
    return make_error(ErrorCode::kUnsupported,
                      "etcd decides who leads; use `tailrace transfer --to ID` to have the present "
                      "leader hand over to a node");
  }

  CoordinatorStatus status() const override { return contact_.status(); }

  void register_metrics(observability::MetricRegistry& registry) override {
    registration_ = registry.registration();
    registry.add_gauge(registration_, observability::metric("tailrace_coordinator_reachable"), {},
                       [this] { return contact_.reachable(); });
    registry.add_gauge(registration_,
                       observability::metric("tailrace_coordinator_since_contact_seconds"), {},
                       [this] { return contact_.status().seconds_since_contact; });
    registry.add_gauge(registration_,
                       observability::metric("tailrace_coordinator_lease_remaining_seconds"), {},
                       [this] { return election_.lease_remaining_s(); });
    registry.add_counter(registration_, observability::metric("tailrace_coordinator_calls_total"),
                         {}, client_.call_counter());
    registry.add_counter(registration_,
                         observability::metric("tailrace_coordinator_failures_total"), {},
                         client_.failure_counter());
    registry.add_counter(registration_, observability::metric("tailrace_coordinator_grants_total"),
                         {}, election_.grants());
    registry.add_histogram(registration_, observability::metric("tailrace_loop_lateness_seconds"),
                           {{"loop", "etcd"}}, lateness_);
    registry.add_gauge(registration_, observability::metric("tailrace_loop_since_turn_seconds"),
                       {{"loop", "etcd"}}, [this] { return turns_.since(); });
  }

 private:
  /// Outlives the coordinator in what is still queued on the executor.
  struct Delivery {
    std::atomic<bool> stopped{false};
    Listener listener;
  };

  EtcdClientOptions with_contact(EtcdClientOptions client) {
    client.on_outcome = [this](const Result<>& outcome) { contact_.note(outcome); };
    return client;
  }

  void tell(Grant grant) {
    executor_.post([delivery = delivery_, grant] {
      if (!delivery->stopped) delivery->listener(grant);
    });
  }

  replication::Executor& executor_;
  Contact contact_;
  std::shared_ptr<Delivery> delivery_;  // set by start(), before there is a thread
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  observability::Histogram lateness_{observability::lateness_bounds_s()};
  net::LoopTurns turns_;
  net::LoopWatch watch_{io_, [this](double late) {
                          lateness_.observe(late);
                          turns_.note();
                        }};
  std::thread thread_;

  // On the io thread only.
  EtcdTimer stop_timer_{io_};
  EtcdClient client_;
  EtcdElection election_;

  observability::MetricRegistry::Registration registration_;  // last: goes first
};

Result<std::string> read_password(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) return tl::unexpected(io_error("open the password file", file, errno));
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  while (text.ends_with('\n') || text.ends_with('\r'))
    text.pop_back();
  if (text.empty())
    return make_error(ErrorCode::kInvalidArgument, fmt::format("{} holds no password", file));
  return text;
}

}  // namespace

Result<> check_etcd_endpoint(const std::string& text) {
  TAILRACE_RETURN_IF_ERROR(parse_http_endpoint(text));
  return {};
}

Result<std::unique_ptr<replication::Coordinator>> make_etcd_coordinator(
    EtcdCoordinatorOptions options, replication::Executor& executor) {
  EtcdClientOptions client;
  client.call_timeout = options.call_timeout;
  client.username = options.username;
  bool tls = false;
  for (const std::string& text : options.endpoints) {
    TAILRACE_ASSIGN_OR_RETURN(auto endpoint, parse_http_endpoint(text));
    tls = tls || endpoint.tls;
    client.endpoints.push_back(std::move(endpoint));
  }
  if (client.endpoints.empty())
    return make_error(ErrorCode::kInvalidArgument, "no endpoint of etcd is given");
  if (tls) {
    TAILRACE_ASSIGN_OR_RETURN(client.tls, make_tls_context(options.tls));
  }
  if (!options.username.empty()) {
    TAILRACE_ASSIGN_OR_RETURN(client.password, read_password(options.password_file));
  }
  return std::make_unique<EtcdCoordinator>(std::move(options), std::move(client), executor);
}

}  // namespace tailrace::rpc
