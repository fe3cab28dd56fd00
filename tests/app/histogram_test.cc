// The histogram of the bench, beside sorted values.

#include "app/bench/histogram.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"

namespace tailrace::app {
namespace {

// A value is known to three significant digits wherever it lies, and the greatest one exactly: no
// quantile is below the true one, or above it by more than one part in 1024.
TEST(Histogram, QuantilesAreTrueToThreeDigits) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  std::vector<uint64_t> values;
  Histogram histogram;
  for (int i = 0; i < 20'000; ++i) {
    values.push_back(random.next() >> (21 + random.below(43)));
    histogram.add(values.back());
  }
  std::ranges::sort(values);
  EXPECT_EQ(histogram.count(), values.size());
  EXPECT_EQ(histogram.greatest(), values.back());
  for (const double share : {0.001, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
    const auto place = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
    const uint64_t exact = values[place - 1];
    EXPECT_GE(histogram.quantile(share), exact) << share;
    EXPECT_LE(histogram.quantile(share), exact + exact / 1024) << share;
  }
}

// Small values are exact, what is too great counts as the greatest, and nothing has no quantiles.
TEST(Histogram, TheEndsOfTheRange) {
  Histogram histogram;
  EXPECT_EQ(histogram.quantile(0.5), 0u);
  EXPECT_EQ(histogram.greatest(), 0u);
  for (uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{2047}, uint64_t{2048}, UINT64_MAX})
    histogram.add(value);
  std::vector<std::pair<uint64_t, uint64_t>> seen;
  histogram.each([&](uint64_t value, uint64_t count) { seen.emplace_back(value, count); });
  ASSERT_EQ(seen.size(), 5u);
  EXPECT_EQ(seen[2].first, 2047u);
  EXPECT_EQ(seen[3].first, 2049u);
  EXPECT_EQ(seen[4].first, Histogram::kGreatest);
  EXPECT_EQ(histogram.quantile(1), Histogram::kGreatest);
}

// The parts of several threads together are what one would have counted.
TEST(Histogram, PartsAddUp) {
  Histogram all, odd, even, nothing;
  for (uint64_t value = 0; value < 100'000; value += 7) {
    all.add(value);
    (value % 2 == 0 ? even : odd).add(value);
  }
  odd.add(even);
  odd.add(nothing);
  nothing.add(odd);
  for (const Histogram* sum : {&odd, &nothing}) {
    EXPECT_EQ(sum->count(), all.count());
    EXPECT_EQ(sum->greatest(), all.greatest());
    for (const double share : {0.1, 0.5, 0.99})
      EXPECT_EQ(sum->quantile(share), all.quantile(share));
  }
}

}  // namespace
}  // namespace tailrace::app
