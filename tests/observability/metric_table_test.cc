// The table of metrics: what it promises of names, and the page that is made of it.
//
//   TAILRACE_REWRITE=1 build/release/tests/observability_test    writes the page anew

#include "observability/metric_table.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

namespace tailrace::observability {
namespace {

TEST(MetricTable, ThePageSaysWhatTheTableSays) {
  const std::string page = metrics_page();
  if (std::getenv("TAILRACE_REWRITE") != nullptr) {
    std::ofstream(METRICS_PAGE) << page;
    return;
  }
  std::stringstream committed;
  committed << std::ifstream(METRICS_PAGE).rdbuf();
  EXPECT_EQ(committed.str(), page) << "run this test with TAILRACE_REWRITE=1";
}

// Promise: names follow Prometheus' conventions, each stands there once, and each has a sentence.
TEST(MetricTable, EachMetricHasAWellFormedNameOfItsOwn) {
  std::set<std::string_view> seen, families;
  for (const MetricInfo& metric : kMetrics) {
    EXPECT_TRUE(seen.insert(metric.name).second) << metric.name;
    // OpenMetrics names the family of a counter without the end.
    std::string_view family = metric.name;
    if (family.ends_with("_total")) family.remove_suffix(std::string_view("_total").size());
    EXPECT_TRUE(families.insert(family).second) << metric.name;
    EXPECT_TRUE(metric.name.starts_with("tailrace_") || metric.name.starts_with("process_"))
        << metric.name;
    EXPECT_EQ(metric.name.ends_with("_total"), metric.type == MetricType::kCounter) << metric.name;
    EXPECT_EQ(metric.name.find("_address") == std::string_view::npos,
              !metric.name.ends_with("_address_bytes"))
        << metric.name;
    ASSERT_FALSE(metric.help.empty()) << metric.name;
    EXPECT_EQ(metric.help.back(), '.') << metric.name;
    // The page is a table.
    EXPECT_EQ(metric.help.find('|'), std::string_view::npos) << metric.name;
  }
}

// Promise: an old name stands for a metric that there is, and for none of a name in use.
TEST(MetricTable, OldNamesStandForMetricsThatThereAre) {
  const auto is_metric = [](std::string_view name) {
    return std::any_of(std::begin(kMetrics), std::end(kMetrics),
                       [&](const MetricInfo& each) { return each.name == name; });
  };
  for (const OldName& old : kOldNames) {
    EXPECT_FALSE(is_metric(old.name)) << old.name;
    EXPECT_TRUE(is_metric(old.now)) << old.now;
  }
  for (const MetricInfo& old : kOldMetrics)
    EXPECT_FALSE(is_metric(old.name)) << old.name;
}

constexpr MetricInfo kThings{"tailrace_things_total", MetricType::kCounter, "", "", "Things."};

// Promise: dashboards of the release before go on, and see the same values.
TEST(MetricTable, OldNamesAreToldBesideTheNewOnesUntilTheyAreNotWanted) {
  MetricRegistry registry;
  auto to = registry.registration();
  registry.add_series(to, metric("tailrace_kv_address_bytes"), [] {
    return MetricRegistry::Samples{{{{"watermark", "head"}}, 5.0}, {{{"watermark", "tail"}}, 9.0}};
  });
  registry.add_gauge(to, old_metric("tailrace_replication_vote"), {}, [] { return 2.0; });
  std::string text = registry.expose();
  EXPECT_NE(text.find("tailrace_kv_address_bytes{watermark=\"tail\"} 9\n"), std::string::npos);
  EXPECT_NE(text.find("\ntailrace_kv_log_tail_address 9\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\ntailrace_replication_vote 2\n"), std::string::npos) << text;
  registry.tell_old_names(false);
  text = registry.expose();
  EXPECT_EQ(text.find("tailrace_kv_log_tail_address"), std::string::npos) << text;
  EXPECT_EQ(text.find("tailrace_replication_vote"), std::string::npos) << text;
}

// Promise: whatever users do, a scrape does not grow beyond what one family may have, and says so.
TEST(MetricTable, AFamilyHasNoMoreSeriesThanItMay) {
  MetricRegistry registry;
  auto to = registry.registration();
  registry.add_series(to, kThings, [] {
    MetricRegistry::Samples samples;
    for (size_t i = 0; i < MetricRegistry::kMostSeries + 7; ++i)
      samples.push_back({{{"thing", std::to_string(i)}}, 1.0});
    return samples;
  });
  registry.add_gauge(to, metric("tailrace_metrics_series_left_out"), {}, [] { return 0.0; });
  const std::string text = registry.expose();
  EXPECT_NE(text.find("tailrace_things_total{thing=\"199\"} 1"), std::string::npos);
  EXPECT_EQ(text.find("tailrace_things_total{thing=\"200\"} 1"), std::string::npos);
  EXPECT_NE(text.find("\ntailrace_metrics_series_left_out 7\n"), std::string::npos);
}

// Promise: OpenMetrics is as its specification says, with an example of a slow observation's
// record.
TEST(MetricTable, OpenMetricsHasExamplesAndAnEnd) {
  MetricRegistry registry;
  auto to = registry.registration();
  Counter things;
  things.add(3);
  registry.add_counter(to, kThings, {{"name", "a\"b\\c\nd"}}, things);
  constexpr MetricInfo kTook{"tailrace_took_seconds", MetricType::kHistogram, "", "", "It took."};
  Histogram took({0.1, 1});
  took.observe(0.05);
  took.observe_example(0.5, 4711);
  registry.add_histogram(to, kTook, {}, took);
  const std::string text = registry.expose(Exposition::kOpenMetrics);
  EXPECT_TRUE(
      text.starts_with("# HELP tailrace_things Things.\n# TYPE tailrace_things counter\n"
                       "tailrace_things_total{name=\"a\\\"b\\\\c\\nd\"} 3\n"))
      << text;
  EXPECT_NE(text.find("tailrace_took_seconds_bucket{le=\"0.1\"} 1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("tailrace_took_seconds_bucket{le=\"1\"} 2 # {address=\"4711\"} 0.5 "),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("tailrace_took_seconds_bucket{le=\"+Inf\"} 2\n"), std::string::npos) << text;
  EXPECT_NE(text.find("tailrace_took_seconds_count 2\n"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("\n# EOF\n")) << text;
  // The text format has none.
  EXPECT_EQ(registry.expose().find("4711"), std::string::npos);
}

}  // namespace
}  // namespace tailrace::observability
