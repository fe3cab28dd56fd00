// The lead moves: by a transfer, by a promotion, and over restarts.

#include <chrono>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "replication/promise_file.h"
#include "tests/replication/driver_fixture.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

// ---- The lead moves. ---------------------------------------------------------------------------

TEST_F(DriverTest, ATransferMovesTheLeadAndLosesNothingThatWasEnqueued) {
  ASSERT_TRUE(leader.enqueue("on its way"));
  const Address end = leader.log->tail();
  std::optional<Result<>> done;
  leader.node->transfer(NodeId{2}, into(done));
  executor.run();
  EXPECT_FALSE(leader.status()->serving);
  EXPECT_FALSE(done);
  settle();
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done) << done->error().message;
  EXPECT_EQ(leader.status()->role, Role::kFollower);
  EXPECT_TRUE(follower.status()->serving);
  EXPECT_GE(follower.watermarks->committed(), end);
  EXPECT_EQ(leader.log->cuts, 0);
  EXPECT_EQ(follower.log->bytes(), leader.log->bytes());
}

TEST_F(DriverTest, ATransferEndsWithTheAcknowledgementThatItWaitsFor) {
  ASSERT_TRUE(leader.enqueue("not on 2 yet"));
  leader.log->flush();
  executor.run();
  std::optional<Result<>> done;
  leader.node->transfer(NodeId{2}, into(done));
  executor.run();
  EXPECT_FALSE(done);
  follower.log->flush();
  executor.run();  // without a tick, and without a move of the leader's own durable end
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done) << done->error().message;
}

TEST_F(DriversTest, ATransferToNobodyInParticularTakesTheVoterThatHasMost) {
  network.cut(NodeId{1}, NodeId{2});
  ASSERT_TRUE(at(1).enqueue("only on 3"));
  settle();
  network.heal();
  std::optional<Result<>> done;
  at(1).node->transfer(NodeId{}, into(done));
  settle();
  ASSERT_TRUE(done && *done);
  EXPECT_TRUE(at(3).status()->serving);
}

// "Done" means handed over: a leader that another one deposes meanwhile says so.
TEST_F(DriversTest, ATransferThatAnotherOneForestallsIsNoSuccess) {
  network.cut(NodeId{1}, NodeId{2});
  ASSERT_TRUE(at(1).enqueue("not on 2 yet"));
  network.heal();
  executor.run();
  std::optional<Result<>> done;
  at(1).node->transfer(NodeId{2}, into(done));
  executor.run();
  EXPECT_FALSE(done);
  std::optional<Result<>> promoted;
  at(3).node->promote(into(promoted));
  settle();
  pass(milliseconds(50));
  ASSERT_TRUE(at(3).status()->serving);
  ASSERT_TRUE(done);
  ASSERT_FALSE(*done) << "it was handed over to nobody";
  EXPECT_EQ(done->error().code, ErrorCode::kUnknownOutcome);
  EXPECT_NE(done->error().message.find("node 3"), std::string::npos) << done->error().message;
}

// The same node, by whatever way it came to lead.
TEST_F(DriversTest, ATransferToWhoTakesTheLeadByItselfIsDone) {
  ASSERT_TRUE(at(1).enqueue("not on 2 yet"));
  at(1).log->flush();
  executor.run();
  std::optional<Result<>> done, promoted;
  at(1).node->transfer(NodeId{2}, into(done));
  executor.run();
  EXPECT_FALSE(done);
  at(2).node->promote(into(promoted));
  settle();
  pass(milliseconds(50));
  ASSERT_TRUE(at(2).status()->serving);
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done) << done->error().message;
}

TEST_F(DriverTest, ATransferThatTakesTooLongIsCalledOff) {
  network.isolate(NodeId{2});
  std::optional<Result<>> done;
  ASSERT_TRUE(leader.enqueue("not on 2"));
  leader.log->flush();
  leader.node->transfer(NodeId{2}, into(done));
  auto ask = std::move(executor.posted.back());  // asked before the connection's end was known
  executor.posted.pop_back();
  executor.posted.push_front(std::move(ask));
  settle();
  EXPECT_FALSE(done);
  EXPECT_FALSE(leader.status()->serving);
  pass(milliseconds(2100));
  ASSERT_TRUE(done && !*done);
  EXPECT_EQ(done->error().code, ErrorCode::kTimedOut);
  EXPECT_TRUE(leader.status()->serving);
}

TEST_F(DriverTest, ATransferToWhoIsNoVoterOrByWhoDoesNotLeadIsRefused) {
  std::optional<Result<>> done;
  leader.node->transfer(NodeId{9}, into(done));
  executor.run();
  ASSERT_TRUE(done && !*done);
  EXPECT_EQ(done->error().code, ErrorCode::kInvalidArgument);
  follower.node->transfer(NodeId{1}, into(done));
  executor.run();
  EXPECT_EQ(done->error().code, ErrorCode::kNotLeader);
}

TEST_F(DriversTest, APromotedNodeLeadsInANewEpochAndTheOthersFollow) {
  promote(2);
  EXPECT_EQ(at(2).status()->role, Role::kLeader);
  EXPECT_TRUE(at(2).status()->serving);
  EXPECT_EQ(at(2).status()->epoch, Epoch{2});
  for (const uint32_t id : {1, 3}) {
    EXPECT_EQ(at(id).status()->role, Role::kFollower);
    EXPECT_EQ(at(id).status()->leader, NodeId{2});
    EXPECT_EQ(at(id).log->bytes(), at(2).log->bytes());
  }
  promote(3);
  EXPECT_TRUE(at(3).status()->serving);
  EXPECT_EQ(at(3).status()->epoch, Epoch{3});
}

// A node that is to lead and has a full disk waits for room, and lives.
TEST_F(DriversTest, ALeaderWithoutRoomForItsFirstRecordServesWhenThereIsSome) {
  std::optional<Error> fatal;
  at(2).node->set_fatal_listener([&](const Error& error) { fatal = error; });
  at(2).log->full = true;
  promote(2);
  pass(milliseconds(50));
  EXPECT_FALSE(fatal) << fatal->message;
  EXPECT_EQ(at(2).status()->role, Role::kLeader);
  EXPECT_FALSE(at(2).status()->serving);
  at(2).log->full = false;
  pass(milliseconds(50));
  EXPECT_TRUE(at(2).status()->serving);
  EXPECT_EQ(at(1).status()->leader, NodeId{2});
}

TEST_F(DriversTest, WhatWasNeverCommittedIsCutFromALogThatDiverges) {
  network.isolate(NodeId{1});
  settle();
  ASSERT_TRUE(at(1).enqueue("never committed"));
  settle();
  promote(2);
  ASSERT_TRUE(at(2).enqueue("committed"));
  settle();
  EXPECT_NE(at(1).log->bytes(), at(2).log->bytes());
  network.heal();
  settle();
  EXPECT_EQ(at(1).log->cuts, 1);
  EXPECT_EQ(at(1).log->bytes(), at(2).log->bytes());
  EXPECT_EQ(at(1).status()->role, Role::kFollower);
  EXPECT_TRUE(at(1).status()->problem.empty()) << at(1).status()->problem;
}

TEST_F(DriversTest, BytesThatWaitForRoomAreDroppedWhenANewEpochBegins) {
  network.cut(NodeId{1}, NodeId{2});
  settle();
  at(3).log->room = 0;
  ASSERT_TRUE(at(1).enqueue("waits on 3"));
  at(1).log->flush();
  executor.run();
  network.isolate(NodeId{1});
  executor.run();
  promote(2);
  at(3).log->room = 1 << 20;
  ASSERT_TRUE(at(2).enqueue("committed"));
  settle();
  pass(milliseconds(50));
  EXPECT_EQ(at(3).log->cuts, 0);
  EXPECT_EQ(at(3).log->bytes(), at(2).log->bytes());
  EXPECT_EQ(at(2).watermarks->committed(), at(2).log->tail());
}

// ---- Starts. -----------------------------------------------------------------------------------

/// Who comes back hears first that another one was promoted meanwhile.
TEST_F(DriversTest, TheLeaderOfBeforeDoesNotTakeTheLeadFromWhoWasPromoted) {
  at(1).node->stop();
  at(1).make();
  settle();
  promote(2);
  ASSERT_TRUE(at(2).status()->serving);
  const Epoch epoch = at(2).status()->epoch;
  ASSERT_TRUE(at(1).node->start());
  settle();
  for (int i = 0; i < 8; ++i)
    pass(milliseconds(250));
  EXPECT_TRUE(at(2).status()->serving);
  EXPECT_EQ(at(2).status()->epoch, epoch);
  EXPECT_EQ(at(1).status()->leader, NodeId{2});
}

TEST_F(DriversTest, ALogThatWasLostUnderAVoteIsANewDiskWithoutOneUntilItHasCaughtUp) {
  Side& lost = at(3);
  PromiseFile file(storage::posix_file_system(), lost.directory.path(), NodeId{3}, "test");
  const uint64_t before = file.read()->incarnation;
  lost.node->stop();
  lost.lose_log();
  lost.make();
  network.isolate(NodeId{3});
  ASSERT_TRUE(lost.node->start());
  settle();
  EXPECT_EQ(lost.status()->vote, Vote::kNone);
  EXPECT_NE(file.read()->incarnation, before);
  EXPECT_EQ(file.read()->vote, Vote::kNone);
  network.heal();
  settle();
  for (int i = 0; i < 4; ++i)
    pass(milliseconds(250));
  EXPECT_EQ(lost.status()->vote, Vote::kFull);
  EXPECT_EQ(lost.log->bytes(), at(1).log->bytes());
}

TEST_F(DriversTest, AfterARestartTheOneThatWasPromotedLeadsWhateverTheConfigurationSays) {
  promote(2);
  for (const auto& side : sides) {
    side->node->stop();
    side->make();
  }
  settle();  // the connections end
  for (const auto& side : sides)
    ASSERT_TRUE(side->node->start());
  settle();
  EXPECT_TRUE(at(2).status()->serving);
  EXPECT_EQ(at(2).status()->epoch, Epoch{3});
  EXPECT_EQ(at(1).status()->leader, NodeId{2});
  EXPECT_EQ(at(3).status()->leader, NodeId{2});
}

}  // namespace
}  // namespace tailrace::replication
