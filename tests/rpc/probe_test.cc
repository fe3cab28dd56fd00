// What the service counts: the names of requests, and which writes are taken apart.

#include "rpc/server/measure/probe.h"

#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "fasterlog/log.h"
#include "observability/metric_table.h"
#include "rpc/server/measure/stage_times.h"
#include "statemachine/watermarks.h"
#include "tests/rpc/fake_log.h"

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

/// Says nothing of what is durable: the test does.
class QuietLog : public testing::FakeLog {
 public:
  Address durable() const override { return at; }
  Address at;
};

double sum_of(const observability::MetricRegistry& registry, const std::string& stage) {
  const std::string text = registry.expose();
  const std::string series =
      "tailrace_rpc_request_stage_duration_seconds_sum{stage=\"" + stage + "\"} ";
  const size_t at = text.find(series);
  return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size()));
}

// Promise: each part of a write's time is told as the stage that it was, and all of them are the
// whole time.
TEST(StageTimes, TellsEachPartAsWhatItWas) {
  using std::chrono::milliseconds;
  Probe probe;
  observability::MetricRegistry registry;
  probe.register_at(registry);
  QuietLog log;
  statemachine::Watermarks marks(log);
  StageTimes times(probe, marks.steps(), 1);
  const SteadyTime taken = std::chrono::steady_clock::now();
  const SteadyTime arrived = taken - milliseconds(1600);
  const auto tag = times.enqueued(arrived, taken, {Address{64}, Address{128}}, log, marks);
  ASSERT_NE(tag, 0u);
  std::this_thread::sleep_for(milliseconds(50));
  log.at = Address{128};
  marks.steps().passed(statemachine::StepTimes::Step::kDurable, log.at);
  std::this_thread::sleep_for(milliseconds(100));
  marks.advance_committed(Address{128});
  std::this_thread::sleep_for(milliseconds(200));
  marks.advance_applied(Address{128}, Epoch{1});
  const auto sample = times.answered(tag);
  const SteadyTime sent = std::chrono::steady_clock::now() + milliseconds(800);
  times.sent(sample, sent);
  double all = 0;
  for (const auto& [stage, least] :
       std::initializer_list<std::pair<const char*, double>>{{"held", 1.6},
                                                             {"enqueue", 0},
                                                             {"flush", 0.05},
                                                             {"commit", 0.1},
                                                             {"apply", 0.2},
                                                             {"answer", 0.8}}) {
    const double sum = sum_of(registry, stage);
    EXPECT_GE(sum, least) << stage;
    EXPECT_LT(sum, 2 * least + 0.04) << stage;
    all += sum;
  }
  EXPECT_NEAR(all, std::chrono::duration<double>(sent - arrived).count(), 1e-6);
}

// Promise: errors that count against the cluster are told before the first one, so that a rate sees
// it.
TEST(Probe, ErrorsOfTheClusterAreToldFromTheStart) {
  Probe probe;
  observability::MetricRegistry registry;
  probe.register_at(registry);
  const std::string text = registry.expose();
  const auto tells = [&](const std::string& labels) {
    return text.find("tailrace_rpc_requests_total{" + labels + "} 0\n") != std::string::npos;
  };
  EXPECT_TRUE(tells("kind=\"put\",result=\"unknown_outcome\",code=\"unknown_outcome\""));
  EXPECT_TRUE(tells("kind=\"get\",result=\"failed\",code=\"timed_out\""));
  EXPECT_TRUE(tells("kind=\"append\",result=\"refused\",code=\"resource_exhausted\""));
  EXPECT_FALSE(tells("kind=\"get\",result=\"unknown_outcome\",code=\"unknown_outcome\""));
  EXPECT_FALSE(tells("kind=\"put\",result=\"refused\",code=\"invalid_argument\""));
}

}  // namespace
}  // namespace tailrace::rpc
