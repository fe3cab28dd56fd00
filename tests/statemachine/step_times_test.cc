#include "statemachine/step_times.h"

#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace tailrace::statemachine {
namespace {

using Step = StepTimes::Step;

std::optional<SteadyTime> at(const StepTimes::Times& times, Step step) {
  return times[static_cast<size_t>(step)];
}

// Promise: a step is noted when it passes the address, the first time, and not before.
TEST(StepTimes, NotesWhenAStepPassesAnAddress) {
  StepTimes steps;
  const auto place = steps.watch(Address{100});
  ASSERT_TRUE(place);
  const auto began = std::chrono::steady_clock::now();
  steps.passed(Step::kDurable, Address{99});
  steps.passed(Step::kCommitted, Address{100});
  const auto between = std::chrono::steady_clock::now();
  steps.passed(Step::kCommitted, Address{200});
  steps.passed(Step::kDurable, Address{500});
  const auto times = steps.take(*place);
  ASSERT_TRUE(at(times, Step::kCommitted));
  EXPECT_GE(*at(times, Step::kCommitted), began);
  EXPECT_LE(*at(times, Step::kCommitted), between);
  ASSERT_TRUE(at(times, Step::kDurable));
  EXPECT_GE(*at(times, Step::kDurable), between);
  EXPECT_FALSE(at(times, Step::kApplied));
}

// Promise: what had passed before the address was watched is told of, and of another one it is not.
TEST(StepTimes, NotesWhatHadPassedAlready) {
  StepTimes steps;
  const auto place = steps.watch(Address{100});
  steps.passed_already(*place, Step::kDurable, Address{99});
  steps.passed_already(*place, Step::kCommitted, Address{100});
  const auto times = steps.take(*place);
  EXPECT_FALSE(at(times, Step::kDurable));
  EXPECT_TRUE(at(times, Step::kCommitted));
}

// Promise: places are few, and each can be used again.
TEST(StepTimes, HasSoManyPlacesAndNoMore) {
  StepTimes steps;
  for (int round = 0; round < 2; ++round) {
    std::vector<uint32_t> places;
    while (const auto place = steps.watch(Address{1}))
      places.push_back(*place);
    EXPECT_EQ(places.size(), StepTimes::kPlaces);
    for (const uint32_t place : places)
      (void)steps.take(place);
  }
}

// Promise: none is lost, whoever moves and watches at the same time: what is watched before a move
// is noted by it, or had passed.
TEST(StepTimes, LosesNoneBesideMoves) {
  StepTimes steps;
  std::atomic<uint64_t> durable{0};
  std::atomic<bool> end{false};
  std::thread mover([&] {
    while (!end) {
      const uint64_t next = durable.load() + 1;
      durable.store(next);
      steps.passed(Step::kDurable, Address{next});
    }
  });
  for (int round = 0; round < 20000; ++round) {
    const Address address{durable.load() + 1};
    const auto place = steps.watch(address);
    ASSERT_TRUE(place);
    steps.passed_already(*place, Step::kDurable, Address{durable.load()});
    while (durable.load() < address.value + 1)
      std::this_thread::yield();
    EXPECT_TRUE(at(steps.take(*place), Step::kDurable)) << round;
  }
  end = true;
  mover.join();
}

}  // namespace
}  // namespace tailrace::statemachine
