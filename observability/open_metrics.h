#pragma once
// The OpenMetrics text format, which prometheus-cpp does not write. Internal to this folder.
// https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md

#include <string>
#include <vector>

#include <prometheus/client_metric.h>
#include <prometheus/metric_type.h>

#include "observability/metrics.h"

namespace tailrace::observability {

struct Series {
  prometheus::ClientMetric metric;
  std::vector<Histogram::Example> examples;  // one a bucket, or none at all
};

struct Family {
  std::string name, help;
  prometheus::MetricType type;
  std::vector<Series> series;
};

std::string open_metrics_text(const std::vector<Family>& families);

}  // namespace tailrace::observability
