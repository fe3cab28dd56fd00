#include "app/top/rates.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace tailrace::app::top {

Number increase(uint64_t before, uint64_t now) {
  if (now < before) return std::nullopt;
  return now - before;
}

Figure rate(uint64_t before, uint64_t now, double seconds) {
  const Number more = increase(before, now);
  if (!more || !(seconds > 0)) return std::nullopt;
  return static_cast<double>(*more) / seconds;
}

namespace {

/// Bounds come from a server, which may say anything.
bool are_bounds(const std::vector<double>& bounds) {
  return !bounds.empty() && bounds.front() > 0 &&
         std::ranges::all_of(bounds, [](double bound) { return std::isfinite(bound); }) &&
         std::ranges::adjacent_find(bounds, std::greater_equal<>()) == bounds.end();
}

}  // namespace

std::optional<Quantile> quantile(const std::vector<double>& bounds,
                                 const std::vector<uint64_t>& before,
                                 const std::vector<uint64_t>& now, double share) {
  if (!are_bounds(bounds) || now.size() != bounds.size() + 1 || before.size() != now.size())
    return std::nullopt;
  std::vector<double> counts;
  double all = 0;
  for (size_t i = 0; i < now.size(); ++i) {
    const Number more = increase(before[i], now[i]);
    if (!more) return std::nullopt;
    counts.push_back(static_cast<double>(*more));
    all += counts.back();
  }
  if (all == 0) return std::nullopt;
  const double wanted = share * all;
  double below = 0;
  for (size_t i = 0; i < bounds.size(); ++i) {
    if (counts[i] > 0 && below + counts[i] >= wanted) {
      if (i == 0) return Quantile{.seconds = bounds[0], .or_less = true};
      const double from = bounds[i - 1];
      return Quantile{.seconds = from + (bounds[i] - from) * (wanted - below) / counts[i]};
    }
    below += counts[i];
  }
  return Quantile{.seconds = bounds.back(), .or_more = true};
}

}  // namespace tailrace::app::top
