#include "core/random.h"

#include <bit>

#include <sys/random.h>

#include "core/check.h"

namespace tailrace {

Random::Random(uint64_t seed) {
  for (uint64_t& word : state_) {
    seed += 0x9e3779b97f4a7c15;
    uint64_t mixed = seed;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    word = mixed ^ (mixed >> 31);
  }
}

uint64_t Random::next() {
  const uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

uint64_t Random::below(uint64_t bound) {
  TAILRACE_CHECK(bound > 0, "no number is below zero");
  // Rejects the short last interval, so that every value is equally likely.
  const uint64_t limit = max() - max() % bound;
  uint64_t value = next();
  while (value >= limit) {
    value = next();
  }
  return value % bound;
}

void Random::fill(MutableByteSpan bytes) {
  while (!bytes.empty()) {
    const uint64_t word = next();
    const size_t length = bytes.size() < sizeof word ? bytes.size() : sizeof word;
    std::memcpy(bytes.data(), &word, length);
    bytes = bytes.subspan(length);
  }
}

uint64_t random_seed() {
  uint64_t seed = 0;
  const ssize_t got = getrandom(&seed, sizeof seed, 0);
  TAILRACE_CHECK(got == sizeof seed, "getrandom gave too few bytes");
  return seed;
}

}  // namespace tailrace
