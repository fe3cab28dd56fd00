// `tailrace serve`: one node, until SIGTERM or SIGINT, or until it can not go on.

#include <cerrno>
#include <csignal>
#include <memory>
#include <mutex>
#include <optional>

#include <CLI/CLI.hpp>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/node_runtime.h"
#include "app/verbs.h"
#include "config/node_config.h"
#include "observability/logging.h"

namespace tailrace::app {

namespace {

constexpr std::chrono::seconds kDrainTime{10};
constexpr std::chrono::milliseconds kDrainTimeAfterFailure{200};

struct ServeOptions {
  std::string config, data_dir, listen, metrics;
  uint64_t retention_bytes = 0;
};

/// What ends `serve`: a signal, or the node's own failure.
class StopRequest {
 public:
  StopRequest() : event_(::eventfd(0, EFD_CLOEXEC)) {
    // Before any thread starts, so that all inherit the mask and signals come only through here.
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGTERM);
    ::sigaddset(&signals, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    signals_ = ::signalfd(-1, &signals, SFD_CLOEXEC);
    std::signal(SIGPIPE, SIG_IGN);
  }
  ~StopRequest() {
    ::close(event_);
    ::close(signals_);
  }
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;

  /// Any thread.
  void fail(const Error& error) {
    {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = error;
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t put = ::write(event_, &one, sizeof one);
  }

  /// Any thread: the node is to be made anew.
  void restart() {
    {
      const std::lock_guard lock(mutex_);
      restart_ = true;
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t put = ::write(event_, &one, sizeof one);
  }
  /// Whether that is all that was wanted; forgets it.
  bool take_restart() {
    const std::lock_guard lock(mutex_);
    return std::exchange(restart_, false) && !signalled_;
  }

  /// Returns the failure, or nothing after a signal or for a restart.
  std::optional<Error> wait() {
    pollfd watched[] = {{signals_, POLLIN, 0}, {event_, POLLIN, 0}};
    while (::poll(watched, 2, -1) < 0 && errno == EINTR) {
    }
    if ((watched[0].revents & POLLIN) != 0) {
      signalfd_siginfo info{};
      if (::read(signals_, &info, sizeof info) == sizeof info)
        observability::log_info("signal {}: stopping", info.ssi_signo);
      signalled_ = true;
    }
    if ((watched[1].revents & POLLIN) != 0) {
      uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = ::read(event_, &count, sizeof count);
    }
    const std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  int signals_ = -1;
  const int event_;
  std::mutex mutex_;
  std::optional<Error> failure_;  // guarded by mutex_
  bool restart_ = false;          // guarded by mutex_
  bool signalled_ = false;        // of wait()'s thread
};

Result<config::NodeConfig> configuration(const ServeOptions& options) {
  if (options.config.empty()) {
    if (options.data_dir.empty()) {
      return make_error(ErrorCode::kInvalidArgument,
                        "serve needs --config FILE, or --data-dir DIR for a single node");
    }
    config::NodeConfig config = config::single_node_config(options.data_dir);
    if (!options.listen.empty()) config.server.listen = options.listen;
    if (!options.metrics.empty()) config.metrics.listen = options.metrics;
    config.state_machine.retention_bytes = options.retention_bytes;
    return config;
  }
  auto config = config::load_node_config(options.config);
  if (!config) return config;
  if (!options.data_dir.empty()) config::place_in_directory(*config, options.data_dir);
  config->node.members_in_file = [file = options.config]() -> Result<replication::Members> {
    auto now = config::load_node_config(file);
    if (!now) return tl::unexpected(std::move(now).error());
    return std::move(now->node.members);
  };
  return config;
}

/// One node's life, until it is told to end.
Result<> run_node(const config::NodeConfig& config, StopRequest& stop_request) {
  NodeRuntime node(
      config, [&](const Error& error) { stop_request.fail(error); },
      [&] { stop_request.restart(); });
  TAILRACE_RETURN_IF_ERROR(node.start());
  observability::log_info("node {} of {} serves clients on port {}, metrics on port {}, data in {}",
                          config.node.self.value, config.node.cluster, node.client_port(),
                          node.metrics_port(), config.data_dir);

  const auto failure = stop_request.wait();
  const auto drain = failure ? kDrainTimeAfterFailure : std::chrono::milliseconds(kDrainTime);
  const auto stopped = node.stop(drain);
  if (failure) return tl::unexpected(with_context("the node stopped", *failure));
  if (!stopped) return tl::unexpected(with_context("stop", stopped.error()));
  return {};
}

int serve(const ServeOptions& options) {
  auto config = configuration(options);
  if (!config) return report(config.error());
  observability::LogLevel level = observability::LogLevel::kInfo;
  observability::parse_log_level(config->log_level, level);
  observability::set_log_level(level);

  StopRequest stop_request;
  for (;;) {
    const auto ended = run_node(*config, stop_request);
    if (!ended) return report(ended.error());
    if (!stop_request.take_restart()) break;
    observability::log_info("starting anew with the copied state");
  }
  observability::log_info("stopped; everything enqueued is durable");
  return kDone;
}

}  // namespace

void add_serve_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("serve", "Runs one node until SIGTERM");
  const auto options = std::make_shared<ServeOptions>();
  auto* config = verb->add_option("--config", options->config, "The node's YAML file");
  verb->add_option("--data-dir", options->data_dir,
                   "Where the node keeps its data; overrides the file");
  verb->add_option("--listen", options->listen, "HOST:PORT for clients (default 127.0.0.1:7100)")
      ->excludes(config);
  verb->add_option("--metrics", options->metrics, "HOST:PORT for metrics (default 127.0.0.1:9100)")
      ->excludes(config);
  verb->add_option(
          "--retention", options->retention_bytes,
          "Keep so many bytes of the log (for example 10GiB; default 0): a checkpoint, every 60 s, "
          "removes the older events. Set it when events are to be read later than that. In "
          "a file: state_machine.retention_bytes")
      ->transform(CLI::AsSizeValue(false))
      ->excludes(config);
  verb->callback([options, &exit_code] { exit_code = serve(*options); });
}

}  // namespace tailrace::app
