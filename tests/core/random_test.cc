#include "core/random.h"

#include <gtest/gtest.h>

namespace tailrace {
namespace {

// A seed that a failing test prints must give the same sequence again.
TEST(Random, TheSameSeedGivesTheSameSequence) {
  Random first(42);
  Random second(42);
  Random other(43);
  bool differs = false;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t value = first.next();
    EXPECT_EQ(value, second.next());
    differs |= value != other.next();
  }
  EXPECT_TRUE(differs);
}

TEST(Random, StaysBelowItsBoundAndReachesEveryValue) {
  Random random(7);
  bool seen[10] = {};
  for (int i = 0; i < 1000; ++i) {
    const uint64_t value = random.below(10);
    ASSERT_LT(value, 10u);
    seen[value] = true;
  }
  for (const bool value : seen)
    EXPECT_TRUE(value);
}

}  // namespace
}  // namespace tailrace
