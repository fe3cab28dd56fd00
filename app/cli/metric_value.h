#pragma once
// One figure out of a module's metrics, for benchmarks.

#include <optional>
#include <string_view>

#include "observability/metrics.h"

namespace tailrace::app {

/// The present value of the series without labels; nothing when there is none of the name.
std::optional<double> metric_value(const observability::MetricRegistry& metrics,
                                   std::string_view name);

}  // namespace tailrace::app
