#include "http/probe.h"

#include <algorithm>

#include <fmt/format.h>

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
    registry.add_counter(registration_, "tailrace_http_requests_total",
                         "HTTP requests answered, by class of the status.",
                         {{"code", fmt::format("{}xx", kFirstClass + each)}},
                         responses[static_cast<size_t>(each)]);
  for (size_t each = 0; each < kClosedReasons; ++each)
    registry.add_counter(registration_, "tailrace_http_closed_connections_total",
                         "HTTP connections closed by this side: a request, the next request or the "
                         "reading of a response took too long, or a new connection took the place.",
                         {{"reason", name_of(static_cast<Closed>(each))}}, closed[each]);
  registry.add_gauge(registration_, "tailrace_http_connections", "HTTP connections open now.", {},
                     [this] { return static_cast<double>(connections.load()); });
}

}  // namespace tailrace::http
