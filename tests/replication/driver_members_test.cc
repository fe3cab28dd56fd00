// Changes of the members: how they end, and by which list a node goes after a restart.

#include <chrono>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "tests/replication/driver_fixture.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

MemberChange removal(uint32_t id) {
  MemberChange change{MemberChange::Kind::kRemove, {}};
  change.member.id = NodeId{id};
  return change;
}
MemberChange move(uint32_t id, const std::string& address) {
  MemberChange change;
  change.member.id = NodeId{id};
  change.member.peer_address = address;
  return change;
}

TEST_F(DriversTest, AChangeOfTheMembersIsAnsweredWhenItIsCommittedAndEveryoneGoesByIt) {
  std::optional<Result<>> done;
  at(1).node->change_members(removal(3), into(done));
  executor.run();
  EXPECT_FALSE(done);
  settle();
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done) << done->error().message;
  for (const uint32_t id : {1u, 2u}) {
    EXPECT_EQ(at(id).status()->members.size(), 2u);
    EXPECT_TRUE(at(id).status()->members_in_log);
    EXPECT_EQ(at(id).transport.named.size(), 2u);
  }
  EXPECT_TRUE(at(3).status()->removed);
  EXPECT_FALSE(at(3).status()->problem.empty());
  // One that has no vote any more must not seek the lead.
  std::optional<Result<>> promoted;
  at(3).node->promote(into(promoted));
  settle();
  ASSERT_TRUE(promoted);
  EXPECT_EQ(promoted->error().code, ErrorCode::kFailedPrecondition);
}

TEST_F(DriversTest, AfterARestartTheMembersAreThoseOfTheLogAndNotOfTheFile) {
  std::optional<Result<>> done;
  at(1).node->change_members(removal(3), into(done));
  settle();
  ASSERT_TRUE(done && *done);
  at(1).node->stop();
  at(1).make();
  settle();
  ASSERT_TRUE(at(1).node->start());
  settle();
  EXPECT_EQ(at(1).status()->members.size(), 2u);
  EXPECT_TRUE(at(1).status()->serving);
}

/// With a new disk it would found a cluster of its own beside the one that it belongs to.
TEST(LoneDriver, TakesNoOtherVoterUntilItsFileNamesOne) {
  HandExecutor executor;
  HandClock clock;
  Network network(executor);
  Side alone(1, executor, network, clock, 1);
  Members in_file{member_named(1)};
  std::optional<Error> unreadable;
  alone.members_in_file = [&]() -> Result<Members> {
    if (unreadable) return tl::unexpected(*unreadable);
    return in_file;
  };
  alone.make();
  ASSERT_TRUE(alone.node->start());
  const auto settle = [&] {
    for (int i = 0; i < 4; ++i) {
      executor.run();
      alone.log->flush();
    }
    executor.run();
  };
  for (int i = 0; i < 6; ++i) {
    settle();
    clock.passed += milliseconds(250);
    alone.node->tick();
  }
  const auto add = [&] {
    MemberChange change;
    change.member = member_named(2);
    change.member.client_address = "client2";
    std::optional<Result<>> done;
    alone.node->change_members(change, [&](Result<> result) { done = std::move(result); });
    settle();
    EXPECT_TRUE(done);
    return done.value_or(Result<>{});
  };
  Result<> refused = add();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_NE(refused.error().message.find("names no other voter"), std::string::npos);
  in_file.push_back(member_named(2));
  in_file.back().voter = false;
  EXPECT_FALSE(add()) << "a learner is no one who could tell it that the cluster exists";
  unreadable = Error{ErrorCode::kInvalidArgument, "node1.yaml:3: no"};
  refused = add();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("node1.yaml:3"), std::string::npos);
  EXPECT_EQ(alone.status()->members.size(), 1u);
  unreadable.reset();
  in_file.back().voter = true;
  EXPECT_TRUE(add());
  EXPECT_EQ(alone.status()->members.size(), 2u);
  alone.node->stop();
  executor.posted.clear();
}

TEST_F(DriversTest, AChangeWhoseLeaderIsLostMeanwhileHasAnUnknownOutcome) {
  network.isolate(NodeId{1});
  std::optional<Result<>> done;
  at(1).node->change_members(move(2, "elsewhere"), into(done));
  settle();
  EXPECT_FALSE(done);
  promote(2);
  network.heal();
  settle();
  pass(milliseconds(250));
  ASSERT_TRUE(done);
  EXPECT_EQ(done->error().code, ErrorCode::kUnknownOutcome);
  // The next leader did not have it, so it is taken back.
  EXPECT_EQ(at(1).status()->members[1].peer_address, "peer2");
}

TEST_F(DriversTest, WhatChangesNothingIsDoneAtOnceAndOneChangeRunsAtATime) {
  std::optional<Result<>> nothing, first, second;
  at(1).node->change_members(removal(9), into(nothing));
  at(1).node->change_members(move(2, "elsewhere"), into(first));
  at(1).node->change_members(move(3, "elsewhere"), into(second));
  executor.run();
  ASSERT_TRUE(nothing && second);
  EXPECT_TRUE(*nothing);
  EXPECT_EQ(second->error().code, ErrorCode::kUnavailable);
  settle();
  ASSERT_TRUE(first);
  EXPECT_TRUE(*first);
  std::optional<Result<>> of_a_follower;
  at(2).node->change_members(move(3, "elsewhere"), into(of_a_follower));
  settle();
  ASSERT_TRUE(of_a_follower);
  EXPECT_EQ(of_a_follower->error().code, ErrorCode::kNotLeader);
}

}  // namespace
}  // namespace tailrace::replication
