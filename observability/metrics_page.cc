// The page of metrics, from their table.

#include <fmt/format.h>

#include "observability/metric_table.h"

namespace tailrace::observability {

namespace {

constexpr std::string_view kBegin =
    "# Metrics\n\n"
    "What a node tells at `/metrics` (`metrics.listen`). Prometheus gets the text format, or\n"
    "OpenMetrics where it asks for that; only OpenMetrics has exemplars: an address in the log "
    "for\n"
    "some of the measured writes. [Monitoring](../operating/monitoring.md) has dashboards and "
    "alerts\n"
    "made of these metrics.\n\n"
    "- A value that is not known yet is NaN. No alert is true of it.\n"
    "- Nodes do not say who they are on each series: Prometheus' targets give the labels `cluster` "
    "and\n"
    "  `node`. `tailrace_node_info` has what the configuration says.\n"
    "- Labels have few values, whatever clients do: a family has at most 200 combinations of "
    "labels.\n"
    "  The buckets of a histogram count once.\n"
    "- A value in capitals stands for any: CODE is the name of an error, NODE a node's number, "
    "NAME\n"
    "  what a thread does.\n\n"
    "<!-- Written by observability_test from observability/metric_table.h. -->\n\n"
    "| metric | type | labels | told by | what it tells |\n|---|---|---|---|---|\n";

/// "`stage`: held, enqueue".
std::string labels_text(std::string_view labels) {
  std::string text;
  while (!labels.empty()) {
    const size_t blank = std::min(labels.find(' '), labels.size());
    const std::string_view one = labels.substr(0, blank);
    labels.remove_prefix(std::min(blank + 1, labels.size()));
    const size_t equals = one.find('=');
    std::string values(one.substr(equals + 1));
    for (size_t at = 0; (at = values.find('|', at)) != std::string::npos; at += 2)
      values.replace(at, 1, ", ");
    text += fmt::format("{}`{}`: {}", text.empty() ? "" : "; ", one.substr(0, equals), values);
  }
  return text;
}

}  // namespace

std::string metrics_page() {
  std::string page(kBegin);
  for (const MetricInfo& metric : kMetrics)
    page += fmt::format("| `{}` | {} | {} | {} | {} |\n", metric.name, name_of(metric.type),
                        labels_text(metric.labels),
                        metric.told_by.empty() ? "every node" : metric.told_by, metric.help);
  page +=
      "\n## Names of before\n\n"
      "Told for one release beside the new ones; `metrics.old_names: false` ends that at once.\n\n"
      "| old | new |\n|---|---|\n";
  for (const OldName& old : kOldNames)
    page +=
        fmt::format("| `{}` | `{}{}` |\n", old.name, old.now,
                    old.label.empty() ? "" : fmt::format("{{{}=\"{}\"}}", old.label, old.value));
  for (const MetricInfo& old : kOldMetrics)
    page += fmt::format("| `{}` | {} |\n", old.name, old.help);
  return page;
}

}  // namespace tailrace::observability
