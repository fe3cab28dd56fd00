#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/result.h"

namespace tailrace::observability {
class MetricRegistry;
}

namespace tailrace::http {

/// What /healthz and /readyz say: 200 with "ok" or 503 with the reasons, one a line.
struct Health {
  bool ok = true;
  std::string reasons;  // why not; or what is wrong all the same
};

struct MonitoringOptions {
  std::string listen = "127.0.0.1:9100";  // HOST:PORT or [V6]:PORT; port 0 takes a free one
  /// See ServerOptions. More than all who probe and scrape at the same time.
  size_t max_connections = 128;
  /// Whether names of before are told as well (observability/metric_table.h).
  bool old_names = true;
};

/// Serves /metrics, /healthz and /readyz by GET and HEAD until destroyed, and counts that in the
/// metrics. The functions are called on its own thread. Metrics are collected for one scrape at a
/// time; those who ask meanwhile get the next ones together, and health is told in between.
class Monitoring {
 public:
  /// kInvalidArgument, or kInUse and kIo with the address.
  static Result<std::unique_ptr<Monitoring>> start(const MonitoringOptions& options,
                                                   observability::MetricRegistry& metrics,
                                                   std::function<Health()> healthz,
                                                   std::function<Health()> readyz);
  virtual ~Monitoring() = default;
  /// The port listened on.
  virtual int port() const = 0;
};

}  // namespace tailrace::http
