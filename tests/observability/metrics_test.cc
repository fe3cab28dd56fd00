#include "observability/metrics.h"

#include <cstdio>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "tests/support/temporary_directory.h"

namespace tailrace::observability {
namespace {

MetricInfo info(std::string_view name, MetricType type, std::string_view help) {
  return {name, type, "", "", help};
}

// Nothing counted is lost, whichever threads count.
TEST(Metrics, SumsWhatAllThreadsCounted) {
  Counter counter;
  Histogram histogram({1, 2, 4});
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 24; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        counter.add(2);
        histogram.observe(i % 6);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(counter.value(), 48000u);
  EXPECT_EQ(histogram.snapshot().count, 24000u);
}

TEST(Metrics, ABucketHoldsWhatIsLessOrEqualToItsBound) {
  Histogram histogram({1, 2, 4});
  for (const double value : {0.5, 1.0, 1.5, 4.0, 4.5})
    histogram.observe(value);
  const Histogram::Snapshot snapshot = histogram.snapshot();
  EXPECT_EQ(snapshot.counts, (std::vector<uint64_t>{2, 1, 1, 1}));
  EXPECT_DOUBLE_EQ(snapshot.sum, 11.5);
  EXPECT_DOUBLE_EQ(snapshot.quantile(0.5), 2);
}

// A module that is gone is never read, and leaves no series behind.
TEST(Metrics, AModulesSeriesGoWithItsRegistration) {
  MetricRegistry registry;
  {
    Counter counter;
    auto registration = registry.registration();
    registry.add_counter(registration, info("tailrace_test_total", MetricType::kCounter, "Things."),
                         {}, counter);
    counter.add(3);
    EXPECT_NE(registry.expose().find("tailrace_test_total 3"), std::string::npos);
  }
  EXPECT_EQ(registry.expose(), "");
}

TEST(Metrics, SeriesOfOneNameStandUnderOneHeading) {
  MetricRegistry registry;
  auto first = registry.registration();
  auto second = registry.registration();
  registry.add_gauge(first, info("tailrace_lag_bytes", MetricType::kGauge, "Lag."),
                     {{"follower", "2"}}, [] { return 7.0; });
  registry.add_gauge(second, info("tailrace_other", MetricType::kGauge, "Other."), {},
                     [] { return 1.0; });
  registry.add_gauge(second, info("tailrace_lag_bytes", MetricType::kGauge, "Lag."),
                     {{"follower", "3"}}, [] { return 9.0; });
  const std::string text = registry.expose();
  EXPECT_EQ(text.find("# TYPE tailrace_lag_bytes"), text.rfind("# TYPE tailrace_lag_bytes"));
  EXPECT_NE(text.find("tailrace_lag_bytes{follower=\"3\"} 9"), std::string::npos);
}

// What operators' tools say of our exposition: nothing.
TEST(Metrics, PromtoolFindsNothing) {
  const std::string promtool = PROMTOOL;
  if (promtool.find("NOTFOUND") != std::string::npos) {
    GTEST_SKIP() << "promtool (Debian package prometheus) is not installed";
  }
  MetricRegistry registry;
  auto registration = registry.registration();
  Counter counter;
  Histogram latency(latency_bounds_s());
  Histogram size(size_bounds_bytes());
  latency.observe(0.001);
  size.observe(4096);
  registry.add_counter(
      registration, info("tailrace_flushes_total", MetricType::kCounter, "Flushes."), {}, counter);
  registry.add_histogram(registration,
                         info("tailrace_flush_seconds", MetricType::kHistogram, "Flush time."), {},
                         latency);
  registry.add_histogram(registration,
                         info("tailrace_flush_size_bytes", MetricType::kHistogram, "Flush size."),
                         {}, size);
  registry.add_gauge(registration, info("tailrace_lag_bytes", MetricType::kGauge, "Lag."),
                     {{"follower", "a\"b\\c"}}, [] { return 1.0; });
  const testing::TemporaryDirectory directory;
  const std::string file = (directory.path() / "metrics").string();
  std::ofstream(file) << registry.expose();
  FILE* pipe = ::popen((promtool + " check metrics < " + file + " 2>&1").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string said;
  char buffer[256];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr)
    said += buffer;
  EXPECT_EQ(::pclose(pipe), 0);
  EXPECT_EQ(said, "");
}

}  // namespace
}  // namespace tailrace::observability
