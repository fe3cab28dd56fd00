#include "http/monitoring.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "http/server.h"
#include "observability/metrics.h"

namespace tailrace::http {
namespace {

constexpr const char* kTextType = "text/plain; version=0.0.4; charset=utf-8";
constexpr const char* kOpenMetricsType =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The quality of a media type in the field Accept (RFC 9110, 12.5.1): 0 where it is not named.
/// `accept` in lower case: names of types and of parameters differ by no case.
double quality_of(std::string_view accept, std::string_view type) {
  double best = 0;
  while (!accept.empty()) {
    const size_t comma = std::min(accept.find(','), accept.size());
    std::string_view range = accept.substr(0, comma);
    accept.remove_prefix(std::min(comma + 1, accept.size()));
    range.remove_prefix(std::min(range.find_first_not_of(" \t"), range.size()));
    if (!range.starts_with(type)) continue;
    const std::string_view rest = range.substr(type.size());
    if (!rest.empty() && rest.find_first_of("; \t") != 0) continue;  // a longer name
    const size_t at = rest.find("q=");
    const std::string quality(at == std::string_view::npos ? "1" : rest.substr(at + 2));
    best = std::max(best, std::strtod(quality.c_str(), nullptr));
  }
  return best;
}

/// OpenMetrics for those who name it and do not like the plain text better.
observability::Exposition wanted_by(const Request& request) {
  const std::string* field = request.field("accept");
  if (field == nullptr) return observability::Exposition::kText;
  std::string accept = *field;
  for (char& letter : accept)
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  const double open = quality_of(accept, "application/openmetrics-text");
  return open > 0 && open >= quality_of(accept, "text/plain")
             ? observability::Exposition::kOpenMetrics
             : observability::Exposition::kText;
}

class MonitoringImpl final : public Monitoring {
 public:
  MonitoringImpl(observability::MetricRegistry& metrics, std::function<Health()> healthz,
                 std::function<Health()> readyz)
      : metrics_(metrics), healthz_(std::move(healthz)), readyz_(std::move(readyz)) {}

  Result<> open(const MonitoringOptions& from) {
    metrics_.tell_old_names(from.old_names);
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
    if (scrape) return add_scrape(wanted_by(request), std::move(answer));
    const Health health = live ? healthz_() : readyz_();
    if (!health.ok) return answer(text_response(503, health.reasons + "\n"));
    answer(
        text_response(200, health.reasons.empty() ? "ok\n" : "ok, but " + health.reasons + "\n"));
  }

  /// Not at once: others who ask now share it, and requests for health that are there come first.
  void add_scrape(observability::Exposition how, Answer answer) {
    scrapes_.emplace_back(how, std::move(answer));
    if (scrapes_.size() == 1) server_->post([this] { answer_scrapes(); });
  }

  void answer_scrapes() {
    const auto scrapes = std::exchange(scrapes_, {});
    for (const auto how :
         {observability::Exposition::kText, observability::Exposition::kOpenMetrics}) {
      Response response;
      response.content_type =
          how == observability::Exposition::kText ? kTextType : kOpenMetricsType;
      for (const auto& [wanted, answer] : scrapes) {
        if (wanted != how) continue;
        if (!response.body)
          response.body = std::make_shared<const std::string>(metrics_.expose(how));
        answer(response);
      }
    }
  }

  observability::MetricRegistry& metrics_;
  const std::function<Health()> healthz_;
  const std::function<Health()> readyz_;
  std::vector<std::pair<observability::Exposition, Answer>> scrapes_;  // of the server's thread
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
