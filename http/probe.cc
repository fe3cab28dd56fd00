#include "http/probe.h"

#include <algorithm>

#include <fmt/format.h>

#include "observability/metric_table.h"

namespace tailrace::http {
namespace {

const char* name_of(Closed reason) {
  switch (reason) {
    case Closed::kRequestTimeout:
      return "request_timeout";
    case Closed::kIdleTimeout:
      return "idle_timeout";
    case Closed::kResponseTimeout:
      return "response_timeout";
    case Closed::kReplaced:
      return "replaced";
  }
  return "unknown";
}

}  // namespace

void Probe::count_response(int status) {
  responses[static_cast<size_t>(std::clamp(status / 100 - kFirstClass, 0, kClasses - 1))].add();
}

void Probe::register_at(observability::MetricRegistry& registry) {
  registration_ = registry.registration();
  for (int each = 0; each < kClasses; ++each)
    registry.add_counter(registration_, observability::metric("tailrace_http_requests_total"),
                         {{"code", fmt::format("{}xx", kFirstClass + each)}},
                         responses[static_cast<size_t>(each)]);
  for (size_t each = 0; each < kClosedReasons; ++each)
    registry.add_counter(registration_,
                         observability::metric("tailrace_http_closed_connections_total"),
                         {{"reason", name_of(static_cast<Closed>(each))}}, closed[each]);
  registry.add_gauge(registration_, observability::metric("tailrace_http_connections"), {},
                     [this] { return static_cast<double>(connections.load()); });
  registry.add_gauge(registration_, observability::metric("tailrace_http_connections_limit"), {},
                     [this] { return static_cast<double>(most_connections); });
  registry.add_histogram(registration_, observability::metric("tailrace_loop_lateness_seconds"),
                         {{"loop", "http"}}, lateness);
  registry.add_gauge(registration_, observability::metric("tailrace_loop_since_turn_seconds"),
                     {{"loop", "http"}}, [this] { return turns.since(); });
}

}  // namespace tailrace::http
