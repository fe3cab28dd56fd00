// Which disk speaks for a number (replication/protocol/disks.cc).

#include <string>

#include <gtest/gtest.h>

#include "disk_support.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

// ---- Votes. ------------------------------------------------------------------------------------

TEST(Disks, AnotherDiskDoesNotHelpToChooseALeader) {
  Driven core(kOne, by_disk());
  core.seek(Epoch{5});
  sealed_by(core, kThree, kDiskOfThree + 1);
  EXPECT_EQ(core.state().role, Role::kCandidate);
  sealed_by(core, kThree, kDiskOfThree);
  EXPECT_EQ(core.state().role, Role::kLeader);
}

/// As the static coordinator's leader has to, when it comes with a new disk.
TEST(Disks, ANodeWhoseDiskIsAnotherOneLeadsOnlyByTheWordsOfTheOthers) {
  Given given = by_disk();
  given.promise.incarnation = kOwnDisk + 1;
  Driven core(kOne, given);
  EXPECT_EQ(core.state().role, Role::kLearner);
  core.seek(Epoch{5});
  sealed_by(core, kTwo, kDiskOfTwo);
  EXPECT_EQ(core.state().role, Role::kCandidate);
  sealed_by(core, kThree, kDiskOfThree);
  ASSERT_EQ(core.state().role, Role::kLeader);
  core.persist();
  core.enqueue_epoch_start();
  core.durable(228, Epoch{5});
  for (const NodeId peer : {kTwo, kThree}) {
    core.subscribe(peer, 228, Epoch{5}, Vote::kFull, kDiskOfTwo);
    EXPECT_FALSE(core.state().leadership.serving) << "its own disk does not count";
    core.acknowledge(peer, 228);
  }
  EXPECT_TRUE(core.state().leadership.serving);
  // Then it joins, and votes with its present disk.
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  EXPECT_TRUE(core.wants<AppendMembers>()->record.members[0].joining);
  core.append_members();
  core.durable(356, Epoch{5});
  core.acknowledge(kTwo, 356);
  core.acknowledge(kThree, 356);
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  EXPECT_TRUE(core.wants<AppendMembers>()->record.members[0].voter);
  EXPECT_EQ(core.wants<AppendMembers>()->record.members[0].incarnation, kOwnDisk + 1);
}

TEST(Disks, ALearnerDoesNotSeekTheLead) {
  Given given = by_disk();
  Members members = voters_with_disks();
  members[0].voter = false;
  members[0].incarnation = 0;
  given.log = log_with(members);
  Driven core(kOne, given);
  core.feed(Granted{kOne, Epoch{5}});
  EXPECT_EQ(core.state().role, Role::kLearner);
  EXPECT_NE(core.wants<Resign>(), nullptr);
}

TEST(Disks, WhatAnotherDiskAcknowledgesCommitsNothing) {
  Driven core(kOne, by_disk());
  core.seek(Epoch{5});
  sealed_by(core, kTwo, kDiskOfTwo);
  core.enqueue_epoch_start();
  core.durable(228, Epoch{5});
  core.subscribe(kThree, 228, Epoch{5}, Vote::kFull, kDiskOfThree + 1);
  core.acknowledge(kThree, 228);
  EXPECT_FALSE(core.state().leadership.serving);
  core.subscribe(kTwo, 228, Epoch{5}, Vote::kFull, kDiskOfTwo);
  core.acknowledge(kTwo, 228);
  EXPECT_TRUE(core.state().leadership.serving);
}

TEST(Disks, AnotherDiskGetsTheVoteByTwoCommittedRecords) {
  Driven core = serving_by_disk(by_disk());
  core.subscribe(kThree, 228, Epoch{5}, Vote::kFull, kDiskOfThree + 1);
  core.acknowledge(kThree, 228);
  core.pass(milliseconds(450));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  const Members joining = core.wants<AppendMembers>()->record.members;
  EXPECT_FALSE(joining[2].voter);
  EXPECT_TRUE(joining[2].joining);
  EXPECT_EQ(joining[2].incarnation, 0u);
  EXPECT_EQ(core.wants<AppendMembers>()->record.cluster_version, kClusterVersion);
  core.append_members();
  core.durable(356, Epoch{5});
  core.acknowledge(kThree, 356);
  core.pass(milliseconds(50));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr) << "the first one is not committed yet";
  core.acknowledge(kTwo, 356);
  EXPECT_EQ(core.state().committed, Address{356});
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  const Members voting = core.wants<AppendMembers>()->record.members;
  EXPECT_TRUE(voting[2].voter);
  EXPECT_EQ(voting[2].incarnation, kDiskOfThree + 1);
}

TEST(Disks, NoVoteIsTakenFromADiskWhereThatCouldNotBeCommitted) {
  Given given = by_disk();
  given.log = log_with(voters_with_disks());
  Driven core = serving_by_disk(given);
  core.feed(PeerDisconnected{kTwo});  // with node 3's old disk gone, nobody is left beside node 1
  core.subscribe(kThree, 228, Epoch{5}, Vote::kFull, kDiskOfThree + 1);
  core.acknowledge(kThree, 228);
  core.pass(milliseconds(450));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
}

// ---- The only voter. ---------------------------------------------------------------------------

Given alone_by_disk(uint64_t incarnation) {
  Given given;
  Member self = member_of(kOne);
  self.incarnation = kOwnDisk;
  given.members = {self};
  given.log = log_of(64, 300, {{Epoch{1}, Address{64}}});
  fasterlog::ConfigurationTable table;
  table.push_back(
      {Address{100}, Address{200}, Epoch{1}, encode_members({{self}, kClusterVersion})});
  given.log.configurations =
      std::make_shared<const fasterlog::ConfigurationTable>(std::move(table));
  given.committed = Address{300};
  given.promise = Promise{Epoch{1}, kOne, incarnation, Vote::kNone};
  given.promise.starts = 1;
  return given;
}

/// Its PROMISE is lost, or it was put back. No other disk can give it the vote.
TEST(TheOnlyVoter, GoesOnWithAnotherDiskByAnOperatorsWordAlone) {
  Driven core(kOne, alone_by_disk(kOwnDisk + 1));
  core.seek(Epoch{5});
  core.pass(milliseconds(500));
  EXPECT_EQ(core.state().role, Role::kCandidate);
  EXPECT_NE(core.state().problem.find("tailrace promote"), std::string::npos)
      << core.state().problem;
  EXPECT_TRUE(core.core().needs_word());
  core.feed(GoOnAsked{});
  EXPECT_EQ(core.state().role, Role::kLeader);
  core.persist();
  core.enqueue_epoch_start();
  core.durable(336, Epoch{5});
  EXPECT_TRUE(core.state().leadership.serving);
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  EXPECT_EQ(core.wants<AppendMembers>()->record.members[0].incarnation, kOwnDisk + 1);
  core.append_members();
  EXPECT_FALSE(core.core().needs_word());
}

/// A word is only for who is alone: elsewhere the others say who votes.
TEST(TheOnlyVoter, NoWordMakesOneOfThreeVote) {
  Given given = by_disk();
  given.promise.incarnation = kOwnDisk + 1;
  given.promise.vote = Vote::kNone;
  Driven core(kOne, given);
  core.feed(GoOnAsked{});
  EXPECT_FALSE(core.state().told_to_go_on);
}

// ---- Epochs. -----------------------------------------------------------------------------------

TEST(Epochs, OneIsPromisedToOneLifeOfANode) {
  Driven core(kOne, by_disk());
  core.receive(kTwo, Seal{Epoch{6}, kRecordAt.end, 20});
  core.settle();
  core.persist();
  EXPECT_NE(core.sent<Sealed>(kTwo), nullptr);
  core.receive(kTwo, Seal{Epoch{6}, kRecordAt.end, 21});
  ASSERT_NE(core.sent<Refuse>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kTwo)->reason, RefusalReason::kStaleEpoch);
  core.receive(kTwo, Leading{Epoch{6}, kRecordAt.end, 21});
  ASSERT_NE(core.sent<Refuse>(kTwo), nullptr);
  core.receive(kTwo, Seal{Epoch{7}, kRecordAt.end, 21});
  core.settle();
  core.persist();
  EXPECT_NE(core.sent<Sealed>(kTwo), nullptr);
}

/// The epoch was promised to this node's life before: it gives the grant back, and gets a new one.
TEST(Epochs, ANewLifeThatAsksForTheEpochOfTheOneBeforeGivesItBack) {
  Driven core(kOne, by_disk());
  core.seek(Epoch{5});
  core.receive(kTwo, Refuse{RefusalReason::kStaleEpoch, Epoch{5}, kOne, "promised to node 1"});
  EXPECT_EQ(core.state().role, Role::kFollower);
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->successor, kNobody);
}

TEST(Epochs, OneThatIsOutOfRangeChangesNothing) {
  Driven core = serving_by_disk(by_disk());
  const Promise before = core.state().promise;
  for (const uint64_t epoch : {~uint64_t{0}, (uint64_t{1} << 62) + 1, uint64_t{1} << 41}) {
    core.receive(kTwo, Seal{Epoch{epoch}, kRecordAt.end, 20});
    EXPECT_NE(core.sent<Refuse>(kTwo), nullptr) << epoch;
    core.receive(kTwo, Leading{Epoch{epoch}, kRecordAt.end, 20});
    core.receive(kTwo, Refuse{RefusalReason::kStaleEpoch, Epoch{epoch}, kTwo, ""});
    core.receive(kTwo, Acknowledge{Epoch{epoch}, Address{228}, Address{}, 0, milliseconds(1),
                                   Vote::kFull, kDiskOfTwo});
    core.feed(Granted{kOne, Epoch{epoch}});
    EXPECT_EQ(core.state().promise, before) << epoch;
    EXPECT_EQ(core.state().role, Role::kLeader) << epoch;
  }
}

}  // namespace
}  // namespace tailrace::replication
