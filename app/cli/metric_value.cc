#include "app/cli/metric_value.h"

#include <cstdlib>
#include <string>

namespace tailrace::app {

std::optional<double> metric_value(const observability::MetricRegistry& metrics,
                                   std::string_view name) {
  const std::string text = metrics.expose();
  const std::string line = "\n" + std::string(name) + " ";
  const size_t at = text.find(line);
  if (at == std::string::npos) return std::nullopt;
  return std::strtod(text.c_str() + at + line.size(), nullptr);
}

}  // namespace tailrace::app
