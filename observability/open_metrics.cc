#include "observability/open_metrics.h"

#include <cmath>
#include <iterator>

#include <fmt/format.h>

namespace tailrace::observability {

namespace {

using Out = std::back_insert_iterator<std::string>;

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

std::string escaped(std::string_view text) {
  std::string result;
  for (const char each : text) {
    if (each == '\\' || each == '"') result += '\\';
    if (each == '\n')
      result += "\\n";
    else
      result += each;
  }
  return result;
}

/// "{a="1",b="2"}"; empty without labels. `bound`: of a bucket.
std::string labels_text(const prometheus::ClientMetric& metric, const double* bound = nullptr) {
  std::string result;
  for (const auto& label : metric.label)
    fmt::format_to(Out(result), "{}{}=\"{}\"", result.empty() ? "" : ",", label.name,
                   escaped(label.value));
  if (bound != nullptr)
    fmt::format_to(Out(result), "{}le=\"{}\"", result.empty() ? "" : ",", number(*bound));
  return result.empty() ? result : "{" + result + "}";
}

void write_histogram(std::string& out, const std::string& name, const Series& series) {
  const prometheus::ClientMetric::Histogram& histogram = series.metric.histogram;
  for (size_t bucket = 0; bucket < histogram.bucket.size(); ++bucket) {
    const auto& each = histogram.bucket[bucket];
    fmt::format_to(Out(out), "{}_bucket{} {}", name, labels_text(series.metric, &each.upper_bound),
                   each.cumulative_count);
    if (bucket < series.examples.size() && series.examples[bucket].unix_time_s > 0) {
      const Histogram::Example& example = series.examples[bucket];
      fmt::format_to(Out(out), " # {{address=\"{}\"}} {} {:.3f}", example.address,
                     number(example.value), example.unix_time_s);
    }
    out += '\n';
  }
  const std::string labels = labels_text(series.metric);
  fmt::format_to(Out(out), "{}_count{} {}\n{}_sum{} {}\n", name, labels, histogram.sample_count,
                 name, labels, number(histogram.sample_sum));
}

void write_series(std::string& out, const Family& family, const Series& series) {
  switch (family.type) {
    case prometheus::MetricType::Histogram:
      return write_histogram(out, family.name, series);
    case prometheus::MetricType::Counter:
      fmt::format_to(Out(out), "{}{} {}\n", family.name, labels_text(series.metric),
                     number(series.metric.counter.value));
      return;
    case prometheus::MetricType::Gauge:
    case prometheus::MetricType::Summary:
    case prometheus::MetricType::Untyped:
      fmt::format_to(Out(out), "{}{} {}\n", family.name, labels_text(series.metric),
                     number(series.metric.gauge.value));
      return;
  }
}

}  // namespace

std::string open_metrics_text(const std::vector<Family>& families) {
  std::string out;
  for (const Family& family : families) {
    // The family of a counter is named without the suffix of its samples.
    constexpr std::string_view kTotal = "_total";
    std::string_view name = family.name;
    const bool counter = family.type == prometheus::MetricType::Counter;
    if (counter && name.ends_with(kTotal)) name.remove_suffix(kTotal.size());
    const bool histogram = family.type == prometheus::MetricType::Histogram;
    fmt::format_to(Out(out), "# HELP {} {}\n# TYPE {} {}\n", name, escaped(family.help), name,
                   counter     ? "counter"
                   : histogram ? "histogram"
                               : "gauge");
    for (const Series& series : family.series)
      write_series(out, family, series);
  }
  return out + "# EOF\n";
}

}  // namespace tailrace::observability
