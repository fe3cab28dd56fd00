#include "app/bench/key_sequence.h"

#include <cmath>

#include "core/random.h"

namespace tailrace::app {

namespace {

/// A bijection of 64-bit numbers that leaves no order (the finalizer of splitmix64).
uint64_t scatter(uint64_t value) {
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
  value = (value ^ value >> 27) * 0x94d049bb133111ebu;
  return value ^ value >> 31;
}

/// Ranks 0, 1, … in order of popularity, by the method of Gray et al. (SIGMOD 1994).
class Zipf {
 public:
  explicit Zipf(uint64_t items) : items_(items) {
    for (uint64_t i = 1; i <= items; ++i)
      sum_ += std::pow(static_cast<double>(i), -kExponent);
    const double first_two = 1 + std::pow(0.5, kExponent);
    power_ = 1 / (1 - kExponent);
    eta_ = (1 - std::pow(2.0 / static_cast<double>(items), 1 - kExponent)) / (1 - first_two / sum_);
  }
  uint64_t next(Random& random) const {
    const double uniform = random.real();
    const double at = uniform * sum_;
    if (at < 1) return 0;
    if (at < 1 + std::pow(0.5, kExponent)) return 1;
    const double rank = static_cast<double>(items_) * std::pow(eta_ * uniform - eta_ + 1, power_);
    return std::min(static_cast<uint64_t>(rank), items_ - 1);
  }

 private:
  static constexpr double kExponent = 0.99;
  const uint64_t items_;
  double sum_ = 0, power_ = 0, eta_ = 0;
};

}  // namespace

uint64_t key_of(uint64_t index) {
  return scatter(index + 1) & ~KeySequence::kWrite;
}

Result<KeySequence> KeySequence::make(KeyDistribution distribution, uint64_t keys,
                                      double write_fraction, bool huge_pages, uint64_t seed) {
  KeySequence sequence;
  TAILRACE_ASSIGN_OR_RETURN(
      sequence.memory_, storage::AlignedBuffer::allocate(kLength * sizeof(uint64_t), huge_pages));
  auto* draws = reinterpret_cast<uint64_t*>(sequence.memory_.data());
  sequence.draws_ = draws;
  Random random(seed);
  const auto fill = [&](auto draw) {
    for (uint64_t i = 0; i < kLength; ++i) {
      const bool write = random.real() < write_fraction;
      draws[i] = key_of(draw()) | (write ? kWrite : 0);
    }
  };
  if (distribution == KeyDistribution::kUniform) {
    fill([&] { return random.below(keys); });
  } else {
    const Zipf zipf(keys);
    fill([&] { return scatter(zipf.next(random)) % keys; });
  }
  return sequence;
}

}  // namespace tailrace::app
