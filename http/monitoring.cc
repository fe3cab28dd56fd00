#include "http/monitoring.h"

#include <utility>
#include <vector>

#include "http/server.h"
#include "observability/metrics.h"

namespace tailrace::http {
namespace {

constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

class MonitoringImpl final : public Monitoring {
 public:
  MonitoringImpl(observability::MetricRegistry& metrics, std::function<Health()> healthz,
                 std::function<Health()> readyz)
      : metrics_(metrics), healthz_(std::move(healthz)), readyz_(std::move(readyz)) {}

  Result<> open(const MonitoringOptions& from) {
    ServerOptions options;
    options.listen = from.listen;
    options.max_connections = from.max_connections;
    auto server = Server::create(std::move(options), [this](const Request& request, Answer answer) {
      handle(request, std::move(answer));
    });
    if (!server) return tl::unexpected(with_context("metrics", std::move(server).error()));
    server_ = std::move(*server);
    server_->register_metrics(metrics_);
    server_->start();
    return {};
  }

  int port() const override { return server_->port(); }

 private:
  void handle(const Request& request, Answer answer) {
    const bool scrape = request.path == "/metrics", live = request.path == "/healthz";
    if (!scrape && !live && request.path != "/readyz")
      return answer(text_response(404, "not found\n"));
    if (request.method != "GET" && request.method != "HEAD") {
      Response refusal = text_response(405, "only GET and HEAD\n");
      refusal.fields.push_back({"Allow", "GET, HEAD"});
      return answer(std::move(refusal));
    }
    if (request.has_body) return answer(text_response(413, "this takes no body\n"));
    if (scrape) return add_scrape(std::move(answer));
    const Health health = live ? healthz_() : readyz_();
    if (!health.ok) return answer(text_response(503, health.reasons + "\n"));
    answer(
        text_response(200, health.reasons.empty() ? "ok\n" : "ok, but " + health.reasons + "\n"));
  }

  /// Not at once: others who ask now share it, and requests for health that are there come first.
  void add_scrape(Answer answer) {
    scrapes_.push_back(std::move(answer));
    if (scrapes_.size() == 1) server_->post([this] { answer_scrapes(); });
  }

  void answer_scrapes() {
    Response response;
    response.content_type = kMetricsType;
    response.body = std::make_shared<const std::string>(metrics_.expose());
    for (const Answer& answer : std::exchange(scrapes_, {}))
      answer(response);
  }

  observability::MetricRegistry& metrics_;
  const std::function<Health()> healthz_;
  const std::function<Health()> readyz_;
  std::vector<Answer> scrapes_;  // of the server's thread
  // Last, so that its thread ends before what it reads.
  std::unique_ptr<Server> server_;
};

}  // namespace

Result<std::unique_ptr<Monitoring>> Monitoring::start(const MonitoringOptions& options,
                                                      observability::MetricRegistry& metrics,
                                                      std::function<Health()> healthz,
                                                      std::function<Health()> readyz) {
  auto monitoring =
      std::make_unique<MonitoringImpl>(metrics, std::move(healthz), std::move(readyz));
  TAILRACE_RETURN_IF_ERROR(monitoring->open(options));
  return monitoring;
}

}  // namespace tailrace::http
