#pragma once
// How every load of the bench tells how long its operations took.

#include <array>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/bench/histogram.h"

namespace tailrace::app {

struct LatencyShare {
  const char* text;
  const char* key;
  double share;
};
inline constexpr std::array kLatencyShares{
    LatencyShare{"p50", "p50_us", 0.5}, LatencyShare{"p90", "p90_us", 0.9},
    LatencyShare{"p99", "p99_us", 0.99}, LatencyShare{"p99.9", "p999_us", 0.999},
    LatencyShare{"p99.99", "p9999_us", 0.9999}};

/// As people and JSON have them; the histogram counts nanoseconds.
inline double microseconds(uint64_t ns) {
  return static_cast<double>(ns) / 1e3;
}

/// "p50 12.0 us, p90 … us, …, greatest … us".
inline std::string latency_text(const Histogram& latency) {
  std::string text;
  const auto figure = [](double us) {
    return us < 100 ? fmt::format("{:.1f}", us) : fmt::format("{:.0f}", us);
  };
  for (const LatencyShare& one : kLatencyShares)
    text += fmt::format("{} {} us, ", one.text, figure(microseconds(latency.quantile(one.share))));
  return text + fmt::format("greatest {} us", figure(microseconds(latency.greatest())));
}

/// Adds `PREFIXp50_us` and its kin, `PREFIXmax_us`, and `PREFIXhistogram_us`: pairs of a latency
/// and how many operations took about that long.
inline void add_latency(nlohmann::ordered_json& out, const Histogram& latency,
                        const std::string& prefix = {}) {
  for (const LatencyShare& one : kLatencyShares)
    out[prefix + one.key] = microseconds(latency.quantile(one.share));
  out[prefix + "max_us"] = microseconds(latency.greatest());
  auto pairs = nlohmann::ordered_json::array();
  latency.each([&](uint64_t ns, uint64_t count) {
    pairs.push_back(nlohmann::ordered_json::array({microseconds(ns), count}));
  });
  out[prefix + "histogram_us"] = std::move(pairs);
}

}  // namespace tailrace::app
