// A leader's confirmation that it still leads, and how old a follower's state is.

#include <chrono>
#include <optional>

#include <gtest/gtest.h>

#include "tests/replication/driver_fixture.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

// The steady clock stands still while a machine is suspended; how old its state is does not.
TEST_F(DriverTest, WhatWasFreshBeforeASuspensionIsOldAfterIt) {
  const auto age = [&] { return clock.elapsed() - *follower.status()->fresh_at; };
  const auto apply = [&] {
    pass(milliseconds(250));
    ASSERT_TRUE(follower.state_machine.wait_applied(Address::max(), SteadyTime{}));
  };
  for (int i = 0; i < 4; ++i)
    apply();
  ASSERT_TRUE(follower.status()->fresh_at);
  EXPECT_LE(age(), milliseconds(1000));
  clock.suspended += std::chrono::hours(1);
  EXPECT_GE(age(), std::chrono::hours(1));
  for (int i = 0; i < 40; ++i)
    apply();
  ASSERT_TRUE(follower.status()->fresh_at);
  EXPECT_LE(age(), milliseconds(1000)) << "it has heard from the leader since";
}

TEST_F(DriversTest, AConfirmationGivesWhatWasCommittedWhenItWasAsked) {
  const Address committed = at(1).watermarks->committed();
  std::optional<Result<Address>> confirmed;
  at(1).node->confirm_leadership(SteadyTime::max(), into(confirmed));
  EXPECT_FALSE(confirmed);
  executor.run();
  ASSERT_TRUE(confirmed && *confirmed);
  EXPECT_EQ(**confirmed, committed);
}

TEST_F(DriversTest, WhoDoesNotLeadConfirmsNothing) {
  std::optional<Result<Address>> confirmed;
  at(2).node->confirm_leadership(SteadyTime::max(), into(confirmed));
  executor.run();
  ASSERT_TRUE(confirmed && !*confirmed);
  EXPECT_EQ(confirmed->error().code, ErrorCode::kNotLeader);
}

TEST_F(DriversTest, AConfirmationWithoutAMajorityTimesOut) {
  network.isolate(NodeId{1});
  std::optional<Result<Address>> confirmed;
  at(1).node->confirm_leadership(clock.now() + milliseconds(100), into(confirmed));
  settle();
  EXPECT_FALSE(confirmed);
  pass(milliseconds(150));
  ASSERT_TRUE(confirmed && !*confirmed);
  EXPECT_EQ(confirmed->error().code, ErrorCode::kTimedOut);
}

TEST_F(DriversTest, AConfirmationOfALeaderThatIsDeposedMeanwhileIsRefused) {
  network.isolate(NodeId{1});
  std::optional<Result<Address>> confirmed;
  at(1).node->confirm_leadership(SteadyTime::max(), into(confirmed));
  settle();
  promote(2);
  EXPECT_TRUE(at(2).status()->serving);
  EXPECT_FALSE(confirmed);
  network.heal();
  settle();
  ASSERT_TRUE(confirmed && !*confirmed);
  EXPECT_EQ(confirmed->error().code, ErrorCode::kNotLeader);
}

TEST_F(DriversTest, ManyWhoAskShareARound) {
  const uint64_t before = at(1).transport.greatest_round;
  int confirmed = 0;
  for (int i = 0; i < 100; ++i)
    at(1).node->confirm_leadership(SteadyTime::max(),
                                   [&](Result<Address> done) { confirmed += done ? 1 : 0; });
  executor.run();
  EXPECT_EQ(confirmed, 100);
  // One for the first; who came while it was on its way shares the next.
  EXPECT_LE(at(1).transport.greatest_round, before + 2);
}

}  // namespace
}  // namespace tailrace::replication
