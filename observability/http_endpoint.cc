#include "observability/http_endpoint.h"

#include <cstring>
#include <mutex>

#include <CivetServer.h>

#include "observability/metrics.h"

namespace tailrace::observability {

namespace {

void respond(mg_connection* connection, int status, const char* content_type,
             const std::string& body) {
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            status, status == 200 ? "OK" : "Service Unavailable", content_type, body.size());
  mg_write(connection, body.data(), body.size());
}

class MetricsHandler final : public CivetHandler {
 public:
  explicit MetricsHandler(const MetricRegistry& metrics) : metrics_(metrics) {}
  bool handleGet(CivetServer*, mg_connection* connection) override {
    respond(connection, 200, "text/plain; version=0.0.4; charset=utf-8", metrics_.expose());
    return true;
  }

 private:
  const MetricRegistry& metrics_;
};

class HealthHandler final : public CivetHandler {
 public:
  explicit HealthHandler(std::function<Health()> ask) : ask_(std::move(ask)) {}
  bool handleGet(CivetServer*, mg_connection* connection) override {
    const Health health = ask_();
    respond(connection, health.ok ? 200 : 503, "text/plain; charset=utf-8",
            health.ok ? "ok\n" : health.reasons + "\n");
    return true;
  }

 private:
  const std::function<Health()> ask_;
};

/// Keeps all that the library says: the first message names the reason, the last one does not.
struct Messages {
  std::mutex mutex;
  std::string text;  // guarded by mutex
};

int keep_message(const mg_connection* connection, const char* message) {
  // The server object hands itself to the library and keeps our pointer as its own context.
  const auto* server =
      static_cast<const CivetServer*>(mg_get_user_data(mg_get_context(connection)));
  if (server == nullptr) return 1;
  auto* said = static_cast<Messages*>(const_cast<void*>(server->getUserContext()));
  if (said != nullptr) {
    const std::lock_guard lock(said->mutex);
    if (!said->text.empty()) said->text += "; ";
    said->text += message;
  }
  return 1;
}

class CivetEndpoint final : public HttpEndpoint {
 public:
  CivetEndpoint(const MetricRegistry& metrics, std::function<Health()> healthz,
                std::function<Health()> readyz)
      : metrics_(metrics), healthz_(std::move(healthz)), readyz_(std::move(readyz)) {}

  Result<> listen(const std::string& address) {
    CivetCallbacks callbacks;
    callbacks.log_message = keep_message;
    try {
      server_ = std::make_unique<CivetServer>(
          std::vector<std::string>{"listening_ports", address, "num_threads", "2",
                                   "request_timeout_ms", "10000"},
          &callbacks, &messages_);
    } catch (const CivetException& exception) {
      const std::lock_guard lock(messages_.mutex);
      const bool in_use = messages_.text.find("in use") != std::string::npos;
      return make_error(in_use ? ErrorCode::kInUse : ErrorCode::kInvalidArgument,
                        "metrics endpoint " + address + ": " +
                            (messages_.text.empty() ? exception.what() : messages_.text) +
                            "; choose another metrics address");
    }
    server_->addHandler("/metrics$", metrics_);
    server_->addHandler("/healthz$", healthz_);
    server_->addHandler("/readyz$", readyz_);
    const std::vector<int> ports = server_->getListeningPorts();
    port_ = ports.empty() ? 0 : ports.front();
    return {};
  }

  int port() const override { return port_; }

 private:
  Messages messages_;
  MetricsHandler metrics_;
  HealthHandler healthz_;
  HealthHandler readyz_;
  int port_ = 0;
  std::unique_ptr<CivetServer> server_;  // last: its threads use what stands above
};

}  // namespace

Result<std::unique_ptr<HttpEndpoint>> HttpEndpoint::start(const HttpEndpointOptions& options,
                                                          const MetricRegistry& metrics,
                                                          std::function<Health()> healthz,
                                                          std::function<Health()> readyz) {
  auto endpoint = std::make_unique<CivetEndpoint>(metrics, std::move(healthz), std::move(readyz));
  TAILRACE_RETURN_IF_ERROR(endpoint->listen(options.listen));
  return endpoint;
}

}  // namespace tailrace::observability
