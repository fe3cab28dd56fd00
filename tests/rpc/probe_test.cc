// What the service counts: the names of requests, and which writes are taken apart.

#include "rpc/server/measure/probe.h"

#include <string>

#include <gtest/gtest.h>

#include "fasterlog/log.h"
#include "observability/metric_table.h"
#include "rpc/server/measure/stage_times.h"

namespace tailrace::rpc {
namespace {

using observability::metric;

/// "put|delete|add": the names of the requests that are wanted.
template <typename Wanted>
std::string joined_names(Wanted wanted) {
  std::string names;
  for (const RequestInfo& request : kRequests)
    if (wanted(request)) names += (names.empty() ? "" : "|") + std::string(request.name);
  return names;
}

/// The values of `kind` in a row of the table of metrics.
std::string_view kinds_of(const observability::MetricInfo& row) {
  constexpr std::string_view kLabel = "kind=";
  if (!row.labels.starts_with(kLabel)) return {};
  const std::string_view values = row.labels.substr(kLabel.size());
  return values.substr(0, values.find(' '));
}

// Promise: the page of metrics, which rules and dashboards are compared with, has exactly the names
// under which requests are counted.
TEST(Probe, TheTableOfMetricsHasTheNamesOfAllRequests) {
  const std::string all = joined_names([](const RequestInfo&) { return true; });
  EXPECT_EQ(kinds_of(metric("tailrace_rpc_requests_total")), all);
  EXPECT_EQ(kinds_of(metric("tailrace_rpc_request_duration_seconds")), all);
  const std::string writes =
      joined_names([](const RequestInfo& request) { return request.writes; });
  EXPECT_EQ(kinds_of(metric("tailrace_rpc_records_total")), writes);
  EXPECT_EQ(kinds_of(metric("tailrace_rpc_record_bytes_total")), writes);
}

/// How many of `a_second` writes a second are taken apart in ten seconds.
int taken_of(int a_second) {
  StageSampler sampler(1);
  SteadyTime now{std::chrono::hours(1)};
  int taken = 0;
  for (int i = 0; i < 10 * a_second; ++i) {
    now += std::chrono::nanoseconds(1'000'000'000 / a_second);
    taken += sampler.takes(now) ? 1 : 0;
  }
  return taken;
}

// Promise: all writes while there are few, about a thousand a second when there are many.
TEST(StageSampler, TakesAllOfFewAndSomeOfMany) {
  EXPECT_EQ(taken_of(10), 100);
  EXPECT_EQ(taken_of(900), 9000);
  for (const int many : {5'000, 50'000, 500'000}) {
    EXPECT_GT(taken_of(many), 8'000) << many;
    EXPECT_LT(taken_of(many), 13'000) << many;
  }
}

}  // namespace
}  // namespace tailrace::rpc
