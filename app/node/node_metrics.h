#pragma once
// What a node tells of itself as a whole: which program and settings run, how long its start took,
// what its directories' file systems have left, and limits that its parts do not know. Internal.

#include <array>
#include <string>

#include "config/node_config.h"
#include "core/clock.h"
#include "observability/metrics.h"
#include "storage/file_system.h"

namespace tailrace::app {

class NodeMetrics {
 public:
  NodeMetrics(observability::MetricRegistry& registry, storage::FileSystem& file_system)
      : registry_(registry), file_system_(file_system), to_(registry.registration()) {}

  /// `config` as it is used, and `uses_io_uring` as it came out.
  void start(const config::NodeConfig& config, bool uses_io_uring);

  enum class Part : uint8_t { kLog, kStore, kState, kAll, kLast = kAll };
  /// A part of the start is done; NaN is told until then. The starting thread.
  void recovered(Part part, SteadyTime began);

 private:
  void add_info(const config::NodeConfig& config);
  void add_space(const std::string& name, const storage::Path& directory);

  observability::MetricRegistry& registry_;
  storage::FileSystem& file_system_;
  std::array<observability::Gauge, static_cast<size_t>(Part::kLast) + 1> recovery_{
      observability::Gauge{observability::kNotKnown},
      observability::Gauge{observability::kNotKnown},
      observability::Gauge{observability::kNotKnown},
      observability::Gauge{observability::kNotKnown}};
  observability::MetricRegistry::Registration to_;  // last: goes first
};

}  // namespace tailrace::app
