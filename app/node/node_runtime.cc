#include "app/node/node_runtime.h"

#include <algorithm>
#include <future>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "app/node/descriptor_limit.h"
#include "core/clock.h"
#include "net/port_check.h"
#include "observability/logging.h"
#include "replication/divergence_file.h"
#include "replication/promise_file.h"

namespace tailrace::app {

namespace {

constexpr std::chrono::seconds kProgressInterval{2};
constexpr std::chrono::seconds kTimeInterval{1};
constexpr std::chrono::milliseconds kClientsLeave{200};
constexpr uint64_t kLeastDescriptors = 256;
// A restart may help a node whose thread stands still for so long.
constexpr std::chrono::seconds kHangs{60};
constexpr const char* kStandsStill =
    "the thread for the other nodes stands still: the node neither leads nor follows; keep a stack "
    "of all threads (gdb -p PID -batch -ex 'thread apply all bt') and restart the node";

/// Runs `function` on the executor and waits for what it returns.
template <typename Function>
auto run_on(replication::Executor& executor, Function function) {
  // The executor may still be in set_value() when the caller has the value and goes on.
  const auto promise = std::make_shared<std::promise<decltype(function())>>();
  auto result = promise->get_future();
  executor.post([promise, &function] { promise->set_value(function()); });
  return result.get();
}

}  // namespace

NodeRuntime::NodeRuntime(config::NodeConfig config, std::function<void(const Error&)> on_failure,
                         std::function<void()> on_restart)
    : config_(std::move(config)),
      on_failure_(std::move(on_failure)),
      on_restart_(std::move(on_restart)),
      file_system_(storage::posix_file_system(config_.io)),
      node_metrics_(metrics_, file_system_),
      failures_(file_system_, config_.data_dir) {}

NodeRuntime::~NodeRuntime() {
  composed_ = false;
  monitoring_.reset();
  fetcher_.reset();
  // After a start that failed half-way threads may run that use what is destroyed before them.
  if (server_) server_->drain_and_stop(std::chrono::milliseconds(0));
  if (transport_) transport_->stop();
  flush_host_.reset();
  if (scavenger_) scavenger_->stop();
  if (history_) history_->stop();
  if (state_machine_) state_machine_->stop();
  if (failed_) (void)failures_.wait();
}

Result<> NodeRuntime::start() {
  const SteadyTime began = system_clock().now();
  TAILRACE_RETURN_IF_ERROR(look_at_system());
  const storage::Path root(config_.data_dir);
  TAILRACE_RETURN_IF_ERROR(file_system_.make_directory(root));
  TAILRACE_ASSIGN_OR_RETURN(lock_, file_system_.lock(root));

  TAILRACE_ASSIGN_OR_RETURN(
      monitoring_,
      http::Monitoring::start(
          config_.metrics, metrics_, [this] { return healthz(); }, [this] { return readyz(); }));

  TAILRACE_ASSIGN_OR_RETURN(transport_, rpc::PeerTransport::create(config_.peers));
  transport_->register_metrics(metrics_);
  // It is bound last, but a port that is taken refuses before anything on the disk is changed.
  TAILRACE_RETURN_IF_ERROR(net::check_listen(config_.server.listen));

  TAILRACE_RETURN_IF_ERROR(check_promise());
  failures_.start();
  failures_.register_metrics(metrics_);
  TAILRACE_RETURN_IF_ERROR(install_copy());
  TAILRACE_RETURN_IF_ERROR(open_store());
  TAILRACE_RETURN_IF_ERROR(open_log());
  failures_.reserve();

  watermarks_ = std::make_unique<statemachine::Watermarks>(*log_);
  set_stage("reading the state");
  const SteadyTime read = system_clock().now();
  auto options = config_.state_machine;
  if (config_.history.keep == config::KeepHistory::kEvents)
    options.outcomes =
        std::make_shared<statemachine::OutcomeLog>(file_system_, config_.history.outcomes);
  else
    TAILRACE_RETURN_IF_ERROR(forget_outcomes());  // from now on they would have gaps
  options.on_recovery_progress = [this](double part) { tell_progress("reading the state", part); };
  TAILRACE_ASSIGN_OR_RETURN(state_machine_, statemachine::StateMachine::create(
                                                *log_, *store_, *watermarks_, anchors_, options));
  node_metrics_.recovered(NodeMetrics::Part::kState, read);
  log_time_->follow(state_machine_->log_time_ns());
  state_machine_->register_metrics(metrics_);
  if (options.outcomes) TAILRACE_RETURN_IF_ERROR(open_history(*options.outcomes));

  std::unique_ptr<replication::Coordinator> coordinator;  // null: the static one
  if (config_.coordinator.kind == config::CoordinatorConfig::Kind::kEtcd) {
    auto etcd = rpc::make_etcd_coordinator(config_.coordinator.etcd, *transport_);
    if (!etcd) return tl::unexpected(with_context("replication.coordinator", etcd.error()));
    coordinator = std::move(*etcd);
    coordinator->register_metrics(metrics_);
  }
  config_.node.log = config_.log;
  config_.node.store = config_.store;
  TAILRACE_ASSIGN_OR_RETURN(
      node_,
      replication::Node::create(file_system_, config_.node, *log_, *state_machine_, *watermarks_,
                                anchors_, *transport_, *transport_, std::move(coordinator)));
  node_->register_metrics(metrics_);

  TAILRACE_ASSIGN_OR_RETURN(
      server_, rpc::Server::create(config_.server,
                                   {log_.get(), state_machine_.get(), watermarks_.get(), &anchors_,
                                    node_.get(), log_time_.get(), [this] { return last_failure(); },
                                    history_.get(), [this] { return left_event_files(); }}));
  server_->register_metrics(metrics_);

  TAILRACE_RETURN_IF_ERROR(start_replication());
  if (history_) TAILRACE_RETURN_IF_ERROR(history_->start());
  if (scavenger_) scavenger_->start();
  composed_ = true;
  state_machine_->start();
  server_->start();
  if (history_) start_fetcher();
  set_stage({});
  node_metrics_.recovered(NodeMetrics::Part::kAll, began);
  return {};
}

Result<> NodeRuntime::look_at_system() {
  const uint64_t limit = raise_descriptor_limit();
  if (limit < kLeastDescriptors)
    return make_error(ErrorCode::kFailedPrecondition,
                      fmt::format("only {} files may be open at a time; a node needs {} or more: "
                                  "raise the limit (ulimit -n, LimitNOFILE)",
                                  limit, kLeastDescriptors));
  const DescriptorShares shares(limit);
  if (config_.server.max_connections > shares.clients) {
    observability::log_warning(
        "{} files may be open at a time, so at most {} clients are let in instead of "
        "server.max_connections {}: raise the limit (ulimit -n, LimitNOFILE) to {}",
        limit, shares.clients, config_.server.max_connections,
        (uint64_t{config_.server.max_connections} + 2) / 3 * 8);
    config_.server.max_connections = static_cast<uint32_t>(shares.clients);
  }
  config_.server.max_unplaced =
      static_cast<uint32_t>(std::min<uint64_t>(config_.server.max_unplaced, shares.newcomers));
  config_.metrics.max_connections =
      std::min<size_t>(config_.metrics.max_connections, shares.probes);
  const auto obstacle = config_.io == storage::IoChoice::kPosix
                            ? std::optional<std::string>("storage.io is posix")
                            : storage::io_uring_obstacle();
  node_metrics_.start(config_, !obstacle);
  if (!obstacle) return {};
  if (config_.io == storage::IoChoice::kIoUring)
    return make_error(ErrorCode::kUnsupported,
                      "storage.io is io_uring, and this is not possible: " + *obstacle);
  observability::log_warning("the disk is used by ordinary system calls, which are slower: {}",
                             *obstacle);
  return {};
}

Result<> NodeRuntime::check_promise() {
  const replication::NodeOptions& node = config_.node;
  const replication::PromiseFile file(file_system_, node.directory, node.self, node.cluster);
  auto promise = file.read();
  if (promise || promise.error().code == ErrorCode::kNotFound) return {};
  return tl::unexpected(std::move(promise).error());
}

Result<> NodeRuntime::install_copy() {
  set_stage("installing a copied state");
  const replication::DivergenceFile divergence(file_system_, config_.node.directory);
  TAILRACE_ASSIGN_OR_RETURN(
      const auto installed,
      statemachine::install_state_copy(
          file_system_, {config_.data_dir, config_.log, config_.store, {divergence.path()}}));
  if (!installed) return {};
  observability::log_info("log and store are now a copy of another node's; theirs are gone");
  // Of a log that is gone. Event files stay: they are of the cluster's.
  return forget_outcomes();
}

Result<std::vector<storage::Path>> NodeRuntime::left_event_files() const {
  const storage::Path& directory = config_.history.directory;
  TAILRACE_ASSIGN_OR_RETURN(const bool there, file_system_.exists(directory));
  std::vector<storage::Path> files;
  if (!there) return files;
  TAILRACE_ASSIGN_OR_RETURN(const auto names, file_system_.list(directory));
  for (const std::string& name : names)
    if (name.find(".events") != std::string::npos) files.push_back(directory / name);
  return files;
}

Result<> NodeRuntime::forget_outcomes() {
  TAILRACE_ASSIGN_OR_RETURN(const bool had, file_system_.exists(config_.history.outcomes));
  if (!had) return {};
  return file_system_.remove_directory(config_.history.outcomes);
}

Result<> NodeRuntime::open_log() {
  set_stage("recovering the log");
  const SteadyTime began = system_clock().now();
  log_time_ = std::make_shared<fasterlog::LogTime>();
  log_time_->register_metrics(metrics_);
  auto options = config_.log;
  options.time = log_time_;
  options.on_recovery_progress = [this](uint64_t scanned, uint64_t total) {
    if (total > 0)
      tell_progress("recovering the log",
                    static_cast<double>(scanned) / static_cast<double>(total));
  };
  TAILRACE_ASSIGN_OR_RETURN(log_, fasterlog::Log::open(file_system_, std::move(options)));
  node_metrics_.recovered(NodeMetrics::Part::kLog, began);
  log_->register_metrics(metrics_, fasterlog::Log::TellAddresses::kNo);

  const fasterlog::RecoveryReport& found = log_->recovery();
  observability::log_info("log: begin {}, durable {}, last epoch {}, {} bytes scanned",
                          found.begin.value, found.durable.value, found.last_epoch.value,
                          found.scanned_bytes);
  if (found.discarded_end > found.durable) {
    observability::log_warning(
        "log: bytes from {} to {} belonged to batches that never became durable and were discarded",
        found.durable.value, found.discarded_end.value);
  }
  return {};
}

Result<> NodeRuntime::open_store() {
  set_stage("recovering the store");
  const SteadyTime began = system_clock().now();
  const auto horizon = std::make_shared<statemachine::ExpiryHorizon>();
  config_.state_machine.expiry_horizon = horizon;
  config_.store.is_garbage = [horizon](ByteSpan key, ByteSpan value) {
    return horizon->is_garbage(key, value);
  };
  auto options = config_.store;
  options.on_recovery_progress = [this](std::string_view stage, uint64_t done, uint64_t total) {
    if (total > 0)
      tell_progress(fmt::format("recovering the store's {}", stage),
                    static_cast<double>(done) / static_cast<double>(total));
  };
  TAILRACE_ASSIGN_OR_RETURN(store_, kv::Store::open(file_system_, std::move(options)));
  node_metrics_.recovered(NodeMetrics::Part::kStore, began);
  store_->register_metrics(metrics_);
  for (const std::string& note : store_->recovery_notes())
    observability::log_warning("store: {}", note);
  if (const auto& checkpoint = store_->recovered()) {
    observability::log_info("store: checkpoint {} with {} keys", checkpoint->token,
                            checkpoint->live_records);
  }
  return {};
}

Result<> NodeRuntime::open_history(statemachine::OutcomeLog& outcomes) {
  history::HistorianOptions options;
  options.files.compression = config_.history.compression;
  options.reserve_disk_bytes = config_.log.reserve_disk_bytes;
  // Truncation frees whole segments: a stretch that is longer would hold them back.
  options.stretch_bytes = std::min<uint64_t>(options.stretch_bytes, config_.log.segment_bytes);
  history::ScavengerOptions scavenging;
  scavenging.files = options.files;
  scavenging.wanted = [this] {
    const Address to = state_machine_->scavenge_point().to;
    // Segments that are used again would keep what is to be erased.
    if (const auto discarded = log_->discard_before(to); !discarded)
      observability::log_warning("log: {}", discarded.error().message);
    return to;
  };
  TAILRACE_ASSIGN_OR_RETURN(
      history_, history::History::open(file_system_, config_.history.directory, *log_, anchors_,
                                       outcomes, std::move(options)));
  history_->register_metrics(metrics_);
  TAILRACE_ASSIGN_OR_RETURN(
      scavenger_, history::Scavenger::open(file_system_, *history_, std::move(scavenging)));
  return {};
}

void NodeRuntime::start_fetcher() {
  fetcher_ = std::make_unique<rpc::HistoryFetcher>(file_system_, *history_, [this] {
    const auto status = node_->status();
    std::vector<std::string> others;
    for (const replication::Member& member : status->members)
      if (member.id != status->self && !member.client_address.empty())
        others.push_back(member.client_address);
    return others;
  });
  fetcher_->start();
}

Result<> NodeRuntime::start_replication() {
  set_stage("starting replication");
  state_machine_->set_applied_listener(
      [this](std::shared_ptr<const statemachine::AppliedBatch> batch) {
        server_->on_applied(std::move(batch));
      });
  node_->set_role_listener([this](const replication::NodeStatus& status) { on_role(status); });
  node_->set_restart_listener([this] {
    if (on_restart_) on_restart_();
  });
  node_->set_fatal_listener([this](const Error& error) { fail(error); });
  transport_->start(config_.node.tick_interval, [this] { tick(); });
  TAILRACE_RETURN_IF_ERROR(run_on(*transport_, [this] { return node_->start(); }));
  replicating_ = true;
  return run_on(*transport_, [this] { return host_flushes(); });
}

Result<> NodeRuntime::host_flushes() {
  auto host = transport_->host_flushes(*log_);
  if (host) flush_host_ = std::move(*host);
  if (host || host.error().code == ErrorCode::kUnsupported) return {};
  return tl::unexpected(std::move(host).error());
}

Result<> NodeRuntime::stop(std::chrono::milliseconds drain) {
  set_stage("stopping");
  fetcher_.reset();
  if (replicating_) hand_over();
  server_->drain_and_stop(drain);
  if (replicating_) {
    run_on(*transport_, [this] {
      node_->stop();
      flush_host_.reset();
      return true;
    });
  }
  transport_->stop();
  if (scavenger_) scavenger_->stop();
  if (history_) history_->stop();
  state_machine_->stop();
  return log_->close();
}

/// A leader that stops lets another lead first: clients find it without waiting for a lease to end.
void NodeRuntime::hand_over() {
  const auto status = node_->status();
  if (status->role != replication::Role::kLeader || !status->serving || status->alone) return;
  auto handed = std::make_shared<std::promise<Result<>>>();
  auto answer = handed->get_future();
  node_->transfer(NodeId{}, [handed](Result<> result) { handed->set_value(std::move(result)); });
  // Called off by the node itself after transfer_timeout.
  if (const Result<> result = answer.get(); !result)
    return observability::log_warning("stops without handing over: {}", result.error().message);
  observability::log_info("the lead is handed over");
  // What clients have sent meanwhile is still answered: that this node does not lead. An event
  // whose connection just ended would have an outcome that nobody knows.
  std::this_thread::sleep_for(kClientsLeave);
}

void NodeRuntime::tick() {
  node_->tick();
  const uint64_t applied_ns = state_machine_->log_time_ns();
  if (node_->status()->role == replication::Role::kLeader)
    log_time_->write(applied_ns);
  else
    log_time_->follow(applied_ns);
  keep_log_time();
  keep_store_failure();
}

void NodeRuntime::keep_store_failure() {
  if (store_failed_ || !composed_) return;
  const auto failure = state_machine_->failure();
  if (!failure) return;
  store_failed_ = true;
  failures_.keep(FailureReason::kStore, failure->message);
}

std::optional<rpc::NodeStatusAnswer::LastFailure> NodeRuntime::last_failure() const {
  const auto last = failures_.last();
  if (!last) return std::nullopt;
  return rpc::NodeStatusAnswer::LastFailure{last->unix_time_ns, std::string(name_of(last->reason)),
                                            last->message};
}

void NodeRuntime::keep_log_time() {
  const SteadyTime now = system_clock().now();
  if (!composed_ || now - time_appended_ < kTimeInterval) return;
  if (!state_machine_->wants_log_time(log_time_->now_ns())) return;
  const auto status = node_->status();
  if (status->role != replication::Role::kLeader || !status->serving) return;
  time_appended_ = now;
  statemachine::Command command;
  command.operation = statemachine::Operation::kTime;
  std::vector<std::byte> bytes;
  statemachine::encode(command, bytes);
  // A full buffer has a mark coming anyhow, and a failed log says so elsewhere.
  const fasterlog::RecordView record{statemachine::kCommandRecord, ByteSpan(bytes)};
  (void)log_->try_enqueue_in(status->epoch, {&record, 1});
}

void NodeRuntime::on_role(const replication::NodeStatus& status) {
  server_->on_role(status);
}

void NodeRuntime::fail(const Error& error) {
  if (failed_.exchange(true)) return;
  failures_.keep(reason_of(error), error.message);
  on_failure_(error);
}

void NodeRuntime::tell_progress(std::string_view what, double fraction) {
  if (system_clock().now() - progress_told_ < kProgressInterval) return;
  progress_told_ = system_clock().now();
  std::string now = fmt::format("{}, {:.0f} % done", what, 100 * fraction);
  observability::log_info("{}", now);
  set_stage(std::move(now));
}

void NodeRuntime::set_stage(std::string stage) {
  const MutexLock lock(stage_mutex_);
  stage_ = std::move(stage);
}

std::optional<Error> NodeRuntime::first_failure() const {
  if (!composed_) return std::nullopt;
  if (auto failure = log_->failure()) return failure;
  return state_machine_->failure();
}

bool NodeRuntime::majority_connected(const replication::NodeStatus& status) const {
  size_t voters = 0, connected = 0;
  for (const replication::Member& member : status.members) {
    if (!member.voter) continue;
    ++voters;
    const auto is_member = [&](const replication::FollowerStatus& follower) {
      return follower.id == member.id && follower.connected;
    };
    if (member.id == status.self ||
        std::any_of(status.followers.begin(), status.followers.end(), is_member))
      ++connected;
  }
  return connected > voters / 2;
}

http::Health NodeRuntime::healthz() const {
  if (const auto failure = first_failure()) return {false, failure->message};
  const MutexLock lock(stage_mutex_);
  if (stage_.empty() && node_->status()->stands_still(kHangs)) return {false, kStandsStill};
  return {};
}

http::Health NodeRuntime::readyz() const {
  {
    const MutexLock lock(stage_mutex_);
    if (!stage_.empty()) return {false, stage_};
  }
  if (const auto failure = first_failure()) return {false, failure->message};
  const auto status = node_->status();
  if (status->stands_still()) return {false, kStandsStill};
  if (!status->unhealthy.empty()) return {false, status->unhealthy};
  if (!status->problem.empty()) return {false, status->problem};
  if (status->role == replication::Role::kLeader) {
    if (!status->serving)
      return {false,
              "this node leads, but a majority of the voters has not confirmed its epoch yet"};
    if (!majority_connected(*status))
      return {false,
              "this node leads, but no majority of the voters is connected: no write is "
              "answered until one is"};
    // It is the one that is read: taken out of service as well, nothing would be.
    return {true, status->disagreement.empty() ? status->store_full : status->disagreement};
  }
  if (!status->no_leader.empty()) return {false, status->no_leader};
  if (!status->connected_to_leader) return {false, "there is no connection to the leader"};
  return {};
}

}  // namespace tailrace::app
