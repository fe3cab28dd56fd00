#include "observability/http_endpoint.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <CivetServer.h>
#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "observability/metrics.h"

namespace tailrace::observability {

namespace {

// What civetweb says while it starts: its exception does not carry the reason. It speaks on the
// starting thread, so a thread's own pointer is enough.
thread_local std::string* start_log = nullptr;

int keep_message(const mg_connection*, const char* message) {
  if (start_log != nullptr) start_log->append(message).append("\n");
  return 1;  // handled: nothing is printed
}

bool valid_listen(std::string_view listen) {
  const size_t colon = listen.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  const std::string_view port = listen.substr(colon + 1);
  if (port.empty() || port.size() > 5) return false;
  if (port.find_first_not_of("0123456789") != std::string_view::npos) return false;
  if (listen.find_first_of(", \t") != std::string_view::npos) return false;
  return std::stoi(std::string(port)) <= 65535;
}

void respond(mg_connection* connection, int status, const char* reason, const char* type,
             std::string_view body, const char* more_headers = "") {
  const std::string head = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n",
      status, reason, type, body.size(), more_headers);
  mg_write(connection, head.data(), head.size());
  mg_write(connection, body.data(), body.size());
}

/// Connects once and hangs up.
void knock(const std::string& listen, int port) {
  std::string host = listen.substr(0, listen.rfind(':'));
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return;
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0) {
    (void)connect(fd, found->ai_addr, found->ai_addrlen);
    close(fd);
  }
  freeaddrinfo(found);
}

constexpr const char* kPlain = "text/plain; charset=utf-8";

class CivetEndpoint final : public HttpEndpoint {
 public:
  CivetEndpoint(const MetricRegistry& metrics, std::function<Health()> healthz,
                std::function<Health()> readyz)
      : metrics_(metrics), healthz_(std::move(healthz)), readyz_(std::move(readyz)) {}

  ~CivetEndpoint() override {
    if (!server_) return;
    // civetweb looks whether it is to stop every 2 s, or when someone connects.
    std::jthread knocking([this](const std::stop_token& stopped) {
      while (!stopped.stop_requested()) {
        knock(listen_, port_);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    });
    server_.reset();
  }

  Result<> open(const std::string& listen) {
    listen_ = listen;
    if (!valid_listen(listen))
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("metrics address '{}': write it as HOST:PORT", listen));
    const std::vector<std::string> options = {"listening_ports",    listen, "num_threads", "2",
                                              "request_timeout_ms", "10000"};
    CivetCallbacks callbacks;
    callbacks.log_message = keep_message;
    callbacks.begin_request = [](mg_connection* connection) {
      const auto* server =
          static_cast<const CivetServer*>(mg_get_user_data(mg_get_context(connection)));
      return static_cast<const CivetEndpoint*>(server->getUserContext())->handle(connection);
    };
    std::string log;
    start_log = &log;
    std::string failure;
    try {
      server_ = std::make_unique<CivetServer>(options, &callbacks, this);
    } catch (const CivetException& exception) {
      failure = exception.what();
    }
    start_log = nullptr;
    if (!server_) {
      if (log.find(std::strerror(EADDRINUSE)) != std::string::npos)
        return make_error(
            ErrorCode::kInUse,
            fmt::format("metrics address {} is in use: stop what listens there or choose another",
                        listen));
      return make_error(ErrorCode::kIo, fmt::format("can not listen on metrics address {}: {} {}",
                                                    listen, failure, log));
    }
    const std::vector<int> ports = server_->getListeningPorts();
    port_ = ports.empty() ? 0 : ports.front();
    return {};
  }

  int port() const override { return port_; }

 private:
  int handle(mg_connection* connection) const {
    const mg_request_info* request = mg_get_request_info(connection);
    const std::string_view path = request->local_uri;
    const bool known = path == "/metrics" || path == "/healthz" || path == "/readyz";
    if (!known) {
      respond(connection, 404, "Not Found", kPlain, "not found\n");
      return 404;
    }
    if (std::string_view(request->request_method) != "GET") {
      respond(connection, 405, "Method Not Allowed", kPlain, "only GET\n", "Allow: GET\r\n");
      return 405;
    }
    if (path == "/metrics") {
      respond(connection, 200, "OK", "text/plain; version=0.0.4; charset=utf-8", metrics_.expose());
      return 200;
    }
    const Health health = path == "/healthz" ? healthz_() : readyz_();
    if (health.ok) {
      respond(connection, 200, "OK", kPlain,
              health.reasons.empty() ? "ok\n" : "ok, but " + health.reasons + "\n");
      return 200;
    }
    respond(connection, 503, "Service Unavailable", kPlain, health.reasons + "\n");
    return 503;
  }

  const MetricRegistry& metrics_;
  const std::function<Health()> healthz_;
  const std::function<Health()> readyz_;
  std::string listen_;
  int port_ = 0;
  // Last, so that its threads end before what they read.
  std::unique_ptr<CivetServer> server_;
};

}  // namespace

Result<std::unique_ptr<HttpEndpoint>> HttpEndpoint::start(const HttpEndpointOptions& options,
                                                          const MetricRegistry& metrics,
                                                          std::function<Health()> healthz,
                                                          std::function<Health()> readyz) {
  auto endpoint = std::make_unique<CivetEndpoint>(metrics, std::move(healthz), std::move(readyz));
  TAILRACE_RETURN_IF_ERROR(endpoint->open(options.listen));
  return endpoint;
}

}  // namespace tailrace::observability
