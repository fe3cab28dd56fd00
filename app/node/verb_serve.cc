// `tailrace serve`: one node, until SIGTERM or SIGINT, or until it cannot go on.

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "app/node/node_runtime.h"
#include "config/node_config.h"
#include "core/host_port.h"
#include "core/mutex.h"
#include "fasterlog/format/log_metadata.h"
#include "observability/logging.h"
#include "replication/promise_file.h"
#include "replication/protocol/membership.h"
#include "replication/transport.h"
#include "rpc/etcd/coordinator.h"

namespace tailrace::app {

namespace {

constexpr std::chrono::seconds kDrainTime{10};
constexpr std::chrono::milliseconds kDrainTimeAfterFailure{200};

struct ServeOptions {
  std::string config, data_dir, listen, advertise, metrics;
  uint64_t retention_bytes = 0;
  bool check = false;
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
      const MutexLock lock(mutex_);
      if (!failure_) failure_ = error;
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t put = ::write(event_, &one, sizeof one);
  }

  /// Any thread: the node is to be made anew.
  void restart() {
    {
      const MutexLock lock(mutex_);
      restart_ = true;
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t put = ::write(event_, &one, sizeof one);
  }
  /// Whether that is all that was wanted; forgets it.
  bool take_restart() {
    const MutexLock lock(mutex_);
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
    const MutexLock lock(mutex_);
    return failure_;
  }

 private:
  int signals_ = -1;
  const int event_;
  Mutex mutex_;
  std::optional<Error> failure_ TAILRACE_GUARDED_BY(mutex_);
  bool restart_ TAILRACE_GUARDED_BY(mutex_) = false;
  bool signalled_ = false;  // of wait()'s thread
};

Result<config::NodeConfig> configuration(const ServeOptions& options) {
  if (options.config.empty()) {
    if (options.data_dir.empty()) {
      return make_error(ErrorCode::kInvalidArgument,
                        "serve needs --config FILE, or --data-dir DIR for a single node");
    }
    config::NodeConfig config = config::single_node_config(options.data_dir, options.advertise);
    if (!options.listen.empty()) config.server.listen = options.listen;
    if (!options.metrics.empty()) config.metrics.listen = options.metrics;
    if (listen_at_once(config.server.listen, config.metrics.listen))
      return make_error(ErrorCode::kInvalidArgument,
                        "clients and metrics cannot both be served at " + config.server.listen +
                            ": give --listen or --metrics another port");
    config.state_machine.retention_bytes = options.retention_bytes;
    return config;
  }
  TAILRACE_ASSIGN_OR_RETURN(auto config, config::load_node_config(options.config));
  if (!options.data_dir.empty()) config::place_in_directory(config, options.data_dir);
  config.node.members_in_file = [file = options.config]() -> Result<replication::Members> {
    TAILRACE_ASSIGN_OR_RETURN(auto now, config::load_node_config(file));
    return std::move(now.node.members);
  };
  return config;
}

/// HOST:PORT with the port that was taken where 0 is given.
std::string with_port(const std::string& listen, int port) {
  return listen.substr(0, listen.rfind(':')) + ":" + std::to_string(port);
}

/// Where others are told to find what is listened on: nothing where it is the same, or not told.
std::string advertised(const std::string& listen, const std::string& address) {
  return address.empty() || address == listen ? "" : fmt::format(" (advertised as {})", address);
}

replication::Member this_member(const config::NodeConfig& config) {
  const auto* member = replication::find_member(config.node.members, config.node.self);
  return member == nullptr ? replication::Member{} : *member;
}

/// One node's life, until it is told to end.
Result<> run_node(const config::NodeConfig& config, StopRequest& stop_request) {
  NodeRuntime node(
      config, [&](const Error& error) { stop_request.fail(error); },
      [&] { stop_request.restart(); });
  TAILRACE_RETURN_IF_ERROR(node.start());
  const std::string client = with_port(config.server.listen, node.client_port());
  const replication::Member self = this_member(config);
  observability::log_info("node {} of {} serves clients at {}{}, metrics at {}, data in {}",
                          config.node.self.value, config.node.cluster, client,
                          advertised(client, self.client_address),
                          with_port(config.metrics.listen, node.metrics_port()), config.data_dir);
  if (!config.peers.listen.empty())
    observability::log_info("node {} of {} serves other nodes at {}{}", config.node.self.value,
                            config.node.cluster, config.peers.listen,
                            advertised(config.peers.listen, self.peer_address));

  const auto failure = stop_request.wait();
  const auto drain = failure ? kDrainTimeAfterFailure : std::chrono::milliseconds(kDrainTime);
  const auto stopped = node.stop(drain);
  if (failure) return tl::unexpected(with_context("the node stopped", *failure));
  if (!stopped) return tl::unexpected(with_context("stop", stopped.error()));
  return {};
}

class IdleExecutor : public replication::Executor {
 public:
  void post(std::function<void()>) override {}
};

/// What can be told without opening the data.
int check_node(const config::NodeConfig& config) {
  std::error_code ignored;
  if (std::filesystem::exists(config.data_dir, ignored) &&
      !std::filesystem::is_directory(config.data_dir, ignored))
    return report(Error{ErrorCode::kIo, config.data_dir + " is not a directory"});
  const replication::PromiseFile file(storage::posix_file_system(), config.node.directory,
                                      config.node.self, config.node.cluster);
  const auto promise = file.read();
  if (!promise && promise.error().code != ErrorCode::kNotFound) return report(promise.error());
  const auto metadata =
      fasterlog::read_log_metadata(storage::posix_file_system(), config.log.directory);
  if (!metadata && metadata.error().code != ErrorCode::kNotFound) return report(metadata.error());
  if (metadata) {
    const auto fits = fasterlog::check_log_fits(*metadata, config.log);
    if (!fits) return report(fits.error());
  }
  if (config.coordinator.kind == config::CoordinatorConfig::Kind::kEtcd) {
    // Reads certificates and the password; asks nobody before it is started.
    IdleExecutor idle;
    const auto etcd = rpc::make_etcd_coordinator(config.coordinator.etcd, idle);
    if (!etcd) return report(with_context("replication.coordinator", etcd.error()));
  }
  const replication::Member self = this_member(config);
  const auto say = [](const char* whom, const std::string& listen, const std::string& address) {
    if (!listen.empty())
      print_error("{}: listens on {}, {}\n", whom, listen,
                  address.empty() ? "not advertised" : "advertised as " + address);
  };
  say("clients", config.server.listen, self.client_address);
  say("nodes", config.peers.listen, self.peer_address);
  print_out("ok\n");
  return kDone;
}

int serve(const ServeOptions& options) {
  auto config = configuration(options);
  if (!config) return report(config.error());
  if (options.check) return check_node(*config);
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
  auto* config =
      verb->add_option("--config", options->config, "The node's YAML file")->type_name("FILE");
  const auto named = [](std::string& text) {
    return text.empty() ? "it names no directory" : std::string();
  };
  verb->add_option("--data-dir", options->data_dir,
                   "Where the node keeps its data; goes before what the file says. From the "
                   "working directory on, unless it begins with /")
      ->type_name("DIR")
      ->check(CLI::Validator(named, ""));
  host_port(verb->add_option("--listen", options->listen,
                             "Where clients are served, without --config (default 127.0.0.1:7100)"))
      ->excludes(config);
  reachable_host_port(
      verb->add_option("--advertise", options->advertise,
                       "Where clients are told that the node is, without --config: for a port "
                       "that is published elsewhere than it is listened on. Without it they go "
                       "on with the address that they were given"))
      ->excludes(config);
  host_port(verb->add_option("--metrics", options->metrics,
                             "Where metrics and health are served, without --config (default "
                             "127.0.0.1:9100)"))
      ->excludes(config);
  byte_size(verb->add_option(
                "--retention", options->retention_bytes,
                "Keep so much of the log for tails (for example 10GiB; default 0): a checkpoint, "
                "every 60 s, removes the rest. Events of streams stay in event files. In a file: "
                "state_machine.retention_bytes"),
            uint64_t{1024} << 40)
      ->excludes(config);
  verb->add_flag("--check", options->check,
                 "Starts nothing: checks the file and the files it names, and, if the data "
                 "directory is there, that it is this node's and fits the file. Prints where "
                 "the node listens and what it advertises, and ok; exit codes as without it. "
                 "Also while the node runs");
  verb->callback([options, &exit_code] { exit_code = serve(*options); });
}

}  // namespace tailrace::app
