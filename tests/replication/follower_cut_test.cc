// Where a member's log differs from its leader's: how far back it cuts, and what it never cuts.

#include <string>

#include <gtest/gtest.h>

#include "driven_core.h"

namespace tailrace::replication {
namespace {

/// Follows node 1 in epoch 6, subscribed, not accepted. Its log: epoch 1 from 64, 3 from 300, 4
/// from 400, up to 500.
class FollowerCut : public ::testing::Test {
 protected:
  explicit FollowerCut(Address committed = Address{}) : core(kTwo, given(committed)) {
    core.receive(kOne, Leading{Epoch{6}});
    core.settle();
    core.persist();
  }
  static Given given(Address committed) {
    Given result;
    result.promise.epoch = Epoch{4};
    result.committed = committed;
    result.log = log_of(
        64, 500, {{Epoch{1}, Address{64}}, {Epoch{3}, Address{300}}, {Epoch{4}, Address{400}}});
    return result;
  }
  void diverges(uint64_t asked, uint64_t last_epoch, uint64_t end) {
    core.receive(kOne, Diverges{Epoch{6}, Address{asked}, Epoch{last_epoch}, Address{end}});
  }
  Driven core;
};

TEST_F(FollowerCut, CutsWhereTheSourcesEpochEnds) {
  diverges(500, 4, 450);
  ASSERT_NE(core.wants<CutLog>(), nullptr);
  EXPECT_EQ(core.wants<CutLog>()->to, Address{450});
  EXPECT_EQ(core.state().cuts, 1u);
}

TEST_F(FollowerCut, CutsByItsOwnTableWhereTheSourceHasNoSuchEpoch) {
  // The source has epoch 2 up to 600: what stands here in epochs 3 and 4 is not its.
  diverges(500, 2, 600);
  ASSERT_NE(core.wants<CutLog>(), nullptr);
  EXPECT_EQ(core.wants<CutLog>()->to, Address{300});
}

TEST_F(FollowerCut, SubscribesAnewWhenItIsCutAndCutsAgainUntilItIsAPrefix) {
  diverges(500, 3, 450);
  EXPECT_EQ(core.wants<CutLog>()->to, Address{400});
  core.settle();
  ASSERT_NE(core.sent<Subscribe>(kOne), nullptr);
  EXPECT_EQ(core.sent<Subscribe>(kOne)->durable, Address{400});
  EXPECT_EQ(core.sent<Subscribe>(kOne)->last_epoch, Epoch{3});
  diverges(400, 1, 200);
  EXPECT_EQ(core.wants<CutLog>()->to, Address{200});
  core.settle();
  EXPECT_EQ(core.sent<Subscribe>(kOne)->durable, Address{200});
  EXPECT_EQ(core.sent<Subscribe>(kOne)->last_epoch, Epoch{1});
  core.receive(kOne, Accept{Epoch{6}, Address{200}, Address{}});
  EXPECT_TRUE(core.state().following.streaming);
}

TEST_F(FollowerCut, SaysNothingOfItsEndWhileItCuts) {
  diverges(500, 4, 450);
  core.persist();
  EXPECT_EQ(core.sent<Subscribe>(kOne), nullptr);
  core.receive(kOne, Accept{Epoch{6}, Address{500}, Address{}});
  EXPECT_FALSE(core.state().following.streaming);
}

TEST_F(FollowerCut, AnAnswerToAnOlderSubscriptionIsIgnored) {
  diverges(450, 1, 200);
  EXPECT_EQ(core.wants<CutLog>(), nullptr);
  core.receive(kThree, Diverges{Epoch{6}, Address{500}, Epoch{1}, Address{200}});
  EXPECT_EQ(core.wants<CutLog>(), nullptr);
  core.receive(kOne, Diverges{Epoch{5}, Address{500}, Epoch{1}, Address{200}});
  EXPECT_EQ(core.wants<CutLog>(), nullptr);
  core.receive(kOne, Accept{Epoch{6}, Address{500}, Address{}});
  diverges(500, 1, 200);  // the source has accepted since
  EXPECT_EQ(core.wants<CutLog>(), nullptr);
}

TEST_F(FollowerCut, WhatLeavesNothingToCutIsAProblem) {
  diverges(500, 4, 700);
  EXPECT_EQ(core.wants<CutLog>(), nullptr);
  EXPECT_EQ(core.wants<Fatal>(), nullptr);
  EXPECT_NE(core.state().problem.find("nothing here to cut"), std::string::npos);
}

class FollowerCutOfCommitted : public FollowerCut {
 protected:
  FollowerCutOfCommitted() : FollowerCut(Address{400}) {}
};

TEST_F(FollowerCutOfCommitted, CutsDownToWhatIsCommitted) {
  diverges(500, 3, 400);
  ASSERT_NE(core.wants<CutLog>(), nullptr);
  EXPECT_EQ(core.wants<CutLog>()->to, Address{400});
}

TEST_F(FollowerCutOfCommitted, StopsInsteadOfCuttingBelowWhatIsCommitted) {
  diverges(500, 3, 399);
  EXPECT_EQ(core.wants<CutLog>(), nullptr);
  ASSERT_NE(core.wants<Fatal>(), nullptr);
  EXPECT_NE(core.wants<Fatal>()->message.find("400"), std::string::npos);
}

TEST_F(FollowerCutOfCommitted, StopsAsWellWhenItsOwnTableWouldHaveItCutBelowCommitted) {
  diverges(500, 2, 600);
  EXPECT_EQ(core.wants<CutLog>(), nullptr);
  EXPECT_NE(core.wants<Fatal>(), nullptr);
}

}  // namespace
}  // namespace tailrace::replication
