#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/result.h"

namespace tailrace::observability {

class MetricRegistry;

/// What /healthz and /readyz say: 200 with "ok" or 503 with the reasons, one a line.
struct Health {
  bool ok = true;
  std::string reasons;  // why not; or what is wrong all the same
};

struct HttpEndpointOptions {
  std::string listen = "127.0.0.1:9100";  // HOST:PORT; port 0 takes a free one
};

/// Serves /metrics, /healthz and /readyz by GET until destroyed. The functions are called on the
/// endpoint's own threads.
class HttpEndpoint {
 public:
  static Result<std::unique_ptr<HttpEndpoint>> start(const HttpEndpointOptions& options,
                                                     const MetricRegistry& metrics,
                                                     std::function<Health()> healthz,
                                                     std::function<Health()> readyz);
  virtual ~HttpEndpoint() = default;
  /// The port listened on.
  virtual int port() const = 0;
};

}  // namespace tailrace::observability
