#pragma once
// Rates and quantiles out of counters that were read twice. A counter that went down belongs to
// another process: nothing is known then.

#include <cstdint>
#include <optional>
#include <vector>

namespace tailrace::app::top {

/// Nothing: not known.
using Figure = std::optional<double>;
using Number = std::optional<uint64_t>;

/// How much more; nothing when it is less.
Number increase(uint64_t before, uint64_t now);
/// The increase in each second; nothing when it is less, or when no time has passed.
Figure rate(uint64_t before, uint64_t now, double seconds);

struct Quantile {
  double seconds = 0;
  bool or_more = false;  // it is above all bounds; `seconds` is the last one
  bool or_less = false;  // it is below all bounds; `seconds` is the first one
};

/// Of what was counted between two readings of the same buckets. `counts`: one a bound, and one for
/// what is above all bounds. Within a bucket, values are taken to be spread evenly; but not
/// in the first one, where most may be far below its bound. Nothing when there is none, or when the
/// readings do not fit together.
std::optional<Quantile> quantile(const std::vector<double>& bounds,
                                 const std::vector<uint64_t>& before,
                                 const std::vector<uint64_t>& now, double share);

}  // namespace tailrace::app::top
