#include "app/node/node_metrics.h"

#include "app/cli/version.h"
#include "observability/logging.h"
#include "observability/metric_table.h"
#include "observability/process_metrics.h"

namespace tailrace::app {

namespace {

using observability::metric;
using Samples = observability::MetricRegistry::Samples;

std::string_view name_of(NodeMetrics::Part part) {
  switch (part) {
    case NodeMetrics::Part::kLog:
      return "log";
    case NodeMetrics::Part::kStore:
      return "store";
    case NodeMetrics::Part::kState:
      return "state";
    case NodeMetrics::Part::kAll:
      return "all";
  }
  return "unknown";
}

double seconds(std::chrono::milliseconds time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

void NodeMetrics::start(const config::NodeConfig& config, bool uses_io_uring) {
  observability::register_process_metrics(registry_, to_);
  observability::register_thread_metrics(registry_, to_);
  add_info(config);
  const auto constant = [&](const observability::MetricInfo& of, double value) {
    registry_.add_gauge(to_, of, {}, [value] { return value; });
  };
  constant(metric("tailrace_io_uring"), uses_io_uring ? 1 : 0);
  constant(metric("tailrace_metrics_series_left_out"), 0);  // the registry's own
  constant(metric("tailrace_checkpoint_interval_seconds"),
           seconds(config.state_machine.checkpoint_interval));
  constant(metric("tailrace_truncation_follower_limit_bytes"),
           static_cast<double>(config.node.follower_pin_bytes));
  registry_.add_series(to_, metric("tailrace_recovery_duration_seconds"), [this] {
    Samples samples;
    for (size_t part = 0; part < recovery_.size(); ++part)
      samples.push_back(
          {{{"part", std::string(name_of(static_cast<Part>(part)))}}, recovery_[part].value()});
    return samples;
  });
  add_space("data", storage::Path(config.data_dir));
  add_space("log", config.log.directory);
  add_space("store", config.store.directory);
  using observability::LogLevel;
  for (const auto& [level, name] :
       {std::pair{LogLevel::kDebug, "debug"}, std::pair{LogLevel::kInfo, "info"},
        std::pair{LogLevel::kWarning, "warning"}, std::pair{LogLevel::kError, "error"}})
    registry_.add_counter(to_, metric("tailrace_messages_logged_total"), {{"level", name}},
                          observability::lines_logged(level));
}

void NodeMetrics::add_info(const config::NodeConfig& config) {
  const auto info = [&](const observability::MetricInfo& of, observability::Labels labels) {
    registry_.add_gauge(to_, of, std::move(labels), [] { return 1.0; });
  };
  info(metric("tailrace_build_info"), {{"version", std::string(kVersion)},
                                       {"revision", std::string(kRevision)},
                                       {"compiler", std::string(kCompiler)}});
  info(metric("tailrace_node_info"),
       {{"cluster", config.node.cluster}, {"node", std::to_string(config.node.self.value)}});
  info(metric("tailrace_configuration_info"), {{"digest", config::shared_digest(config)}});
}

void NodeMetrics::add_space(const std::string& name, const storage::Path& directory) {
  // Of a directory that is not there yet, its parent's will do until it is.
  const auto read = [this, directory](uint64_t storage::SpaceInfo::*field) {
    auto space = file_system_.space(directory);
    if (!space) space = file_system_.space(directory.parent_path());
    return space ? static_cast<double>((*space).*field) : observability::kNotKnown;
  };
  const observability::Labels labels{{"directory", name}};
  registry_.add_gauge(to_, metric("tailrace_filesystem_free_bytes"), labels,
                      [read] { return read(&storage::SpaceInfo::available_bytes); });
  registry_.add_gauge(to_, metric("tailrace_filesystem_size_bytes"), labels,
                      [read] { return read(&storage::SpaceInfo::capacity_bytes); });
}

void NodeMetrics::recovered(Part part, SteadyTime began) {
  const std::chrono::duration<double> took = system_clock().now() - began;
  recovery_[static_cast<size_t>(part)].set(took.count());
}

}  // namespace tailrace::app
