#include <gtest/gtest.h>

#include "rpc/server/stage_times.h"

namespace tailrace::rpc {
namespace {

/// How many of `a_second` writes a second are taken apart in ten seconds.
int taken_of(int a_second) {
  StageSampler sampler(1);
  SteadyTime now{std::chrono::hours(1)};
  int taken = 0;
  for (int i = 0; i < 10 * a_second; ++i) {
    now += std::chrono::nanoseconds(1'000'000'000 / a_second);
    taken += sampler.takes(now) ? 1 : 0;
  }
  return taken;
}

// Promise: all writes while there are few, about a thousand a second when there are many.
TEST(StageSampler, TakesAllOfFewAndSomeOfMany) {
  EXPECT_EQ(taken_of(10), 100);
  EXPECT_EQ(taken_of(900), 9000);
  for (const int many : {5'000, 50'000, 500'000}) {
    EXPECT_GT(taken_of(many), 8'000) << many;
    EXPECT_LT(taken_of(many), 13'000) << many;
  }
}

}  // namespace
}  // namespace tailrace::rpc
