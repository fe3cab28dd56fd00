#pragma once

#include <cstdint>

#include "core/bytes.h"

namespace tailrace {

/// xoshiro256++ (Blackman and Vigna, 2019), seeded through splitmix64: small, fast, and the same
/// sequence on every platform, so that a seed printed by a failing test replays. Not for secrets.
/// One thread at a time.
class Random {
 public:
  explicit Random(uint64_t seed);

  uint64_t next();
  /// Uniform in [0, bound); bound > 0.
  uint64_t below(uint64_t bound);
  /// Uniform in [low, high], both included.
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
  /// True with probability numerator / denominator.
  bool chance(uint64_t numerator, uint64_t denominator) { return below(denominator) < numerator; }
  /// Uniform in [0, 1).
  double real() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  void fill(MutableByteSpan bytes);

  using result_type = uint64_t;
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~uint64_t{0}; }
  uint64_t operator()() { return next(); }

 private:
  uint64_t state_[4];
};

/// A seed from the operating system's entropy.
uint64_t random_seed();

}  // namespace tailrace
