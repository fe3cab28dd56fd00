// The core as a candidate, one rule of the protocol a test; tests/simulation runs them together.

#include <string>

#include <gtest/gtest.h>

#include "driven_core.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

// ---- Asking. -----------------------------------------------------------------------------------

TEST(Candidate, AsksNobodyBeforeItsOwnPromiseIsOnDisk) {
  Driven core(kOne);
  core.feed(Granted{kOne, Epoch{5}});
  EXPECT_EQ(core.state().role, Role::kCandidate);
  ASSERT_NE(core.wants<PersistPromise>(), nullptr);
  EXPECT_EQ(core.wants<PersistPromise>()->promise, (Promise{Epoch{5}, kOne, 9, Vote::kFull, 1}));
  EXPECT_EQ(core.sent<Seal>(kTwo), nullptr);
  core.settle();
  EXPECT_EQ(core.sent<Seal>(kTwo), nullptr);
  core.pass(milliseconds(250));
  EXPECT_EQ(core.sent<Seal>(kTwo), nullptr);
  core.persist();
  ASSERT_NE(core.sent<Seal>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Seal>(kTwo)->epoch, Epoch{5});
  EXPECT_NE(core.sent<Seal>(kThree), nullptr);
  EXPECT_EQ(core.sent<Seal>(kLearner), nullptr);
}

TEST(Candidate, AsksAgainWhoeverHasNotAnswered) {
  Given given;
  given.members = five_voters();
  Driven core(kOne, given);
  core.seek(Epoch{5});
  core.sealed(kTwo);
  core.pass(milliseconds(250));
  EXPECT_EQ(core.sent<Seal>(kTwo), nullptr);
  EXPECT_NE(core.sent<Seal>(kThree), nullptr);
  core.feed(PeerDisconnected{kFour});
  core.feed(PeerConnected{kFour});
  EXPECT_NE(core.sent<Seal>(kFour), nullptr);
}

TEST(Candidate, GivesBackAGrantThatIsNotAboveWhatItHasPromised) {
  Given given;
  given.promise.epoch = Epoch{6};
  Driven core(kOne, given);
  core.feed(Granted{kOne, Epoch{6}});
  EXPECT_EQ(core.state().role, Role::kFollower);
  EXPECT_EQ(core.wants<PersistPromise>(), nullptr);
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->epoch, Epoch{6});
}

TEST(Candidate, WhatIsGrantedToAnotherOrToALearnerIsNone) {
  Driven core(kOne);
  core.feed(Granted{kTwo, Epoch{5}});
  EXPECT_EQ(core.state().role, Role::kFollower);
  Driven learner(kLearner);
  learner.feed(Granted{kLearner, Epoch{5}});
  EXPECT_EQ(learner.state().role, Role::kLearner);
}

TEST(Candidate, TheLogsEpochIsPromisedWhenThePromiseFileIsOlder) {
  Given given = with_log();
  given.promise.epoch = Epoch{0};
  Driven core(kOne, given);
  EXPECT_EQ(core.state().promise.epoch, Epoch{1});
  core.feed(Granted{kOne, Epoch{1}});
  EXPECT_EQ(core.state().role, Role::kFollower);
}

// ---- Being chosen. -----------------------------------------------------------------------------

TEST(Candidate, AMajorityOfPromisesMakesItTheLogsWriter) {
  Given given;
  given.members = five_voters();
  Driven core(kOne, given);
  core.seek(Epoch{5});
  core.sealed(kTwo);
  core.sealed(kTwo);
  EXPECT_EQ(core.wants<BecomeWriter>(), nullptr);
  core.sealed(kThree);
  ASSERT_NE(core.wants<BecomeWriter>(), nullptr);
  EXPECT_EQ(core.wants<BecomeWriter>()->epoch, Epoch{5});
  EXPECT_EQ(core.state().role, Role::kLeader);
  EXPECT_FALSE(core.state().leadership.serving);
}

TEST(Candidate, APromiseForAnotherEpochDoesNotCount) {
  Driven core(kOne);
  core.seek(Epoch{5});
  core.receive(kTwo, Sealed{Epoch{4}, Epoch{0}, Address{64}, Address{64}, 7, Vote::kFull});
  EXPECT_EQ(core.state().role, Role::kCandidate);
}

TEST(Candidate, ALearnersPromiseDoesNotCount) {
  Driven core(kOne);
  core.seek(Epoch{5});
  core.sealed(kLearner);
  EXPECT_EQ(core.state().role, Role::kCandidate);
}

TEST(Candidate, AVotersWordIsForgottenWithItsConnection) {
  Given given;
  given.members = five_voters();
  Driven core(kOne, given);
  core.seek(Epoch{5});
  core.sealed(kTwo);
  core.feed(PeerDisconnected{kTwo});
  core.sealed(kThree);
  EXPECT_EQ(core.state().role, Role::kCandidate);
  core.sealed(kFour);
  EXPECT_EQ(core.state().role, Role::kLeader);
}

TEST(Candidate, ChoosesOnlyWhenNothingIsOnItsWayToItsOwnDisk) {
  Driven core(kOne);
  core.follow(kTwo, Epoch{2});
  core.receive(kTwo, Data{Epoch{2}, Address{64}, bytes(36), {}, Address{100}});
  core.feed(Granted{kOne, Epoch{5}});
  core.settle();  // the log still has what it was given
  core.persist();
  core.sealed(kThree, Vote::kFull, Epoch{0}, 64);
  EXPECT_EQ(core.state().role, Role::kCandidate);
  core.durable(100, Epoch{2});
  EXPECT_NE(core.wants<BecomeWriter>(), nullptr);
}

// ---- Whose log. --------------------------------------------------------------------------------

TEST(Candidate, FetchesFromTheGreatestLastEpochAndEnd) {
  Given given = with_log();
  given.members = five_voters();
  Driven core(kOne, given);
  core.seek(Epoch{5});
  core.sealed(kThree, Vote::kFull, Epoch{1}, 900);  // longer, but of an older epoch
  core.sealed(kTwo, Vote::kFull, Epoch{2}, 300);
  EXPECT_EQ(core.wants<BecomeWriter>(), nullptr);
  EXPECT_EQ(core.sent<Subscribe>(kThree), nullptr);
  ASSERT_NE(core.sent<Subscribe>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Subscribe>(kTwo)->promised, Epoch{5});
  EXPECT_EQ(core.sent<Subscribe>(kTwo)->durable, Address{500});

  core.receive(kTwo, Diverges{Epoch{5}, Address{500}, Epoch{1}, Address{200}});
  ASSERT_NE(core.wants<CutLog>(), nullptr);
  EXPECT_EQ(core.wants<CutLog>()->to, Address{200});
  core.settle();
  ASSERT_NE(core.sent<Subscribe>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Subscribe>(kTwo)->durable, Address{200});
  core.receive(kTwo, Accept{Epoch{5}, Address{200}, Address{}});
  core.receive(kTwo, Data{Epoch{5}, Address{200}, bytes(100), {}, Address{300}});
  EXPECT_NE(core.wants<AppendRaw>(), nullptr);
  EXPECT_EQ(core.state().role, Role::kCandidate);
  core.durable(300, Epoch{2});
  EXPECT_NE(core.wants<BecomeWriter>(), nullptr);
}

TEST(Candidate, WithEqualEpochsTheLongestLogIsFetched) {
  Driven core(kOne, with_log());
  core.seek(Epoch{5});
  core.sealed(kThree, Vote::kFull, Epoch{1}, 501);
  EXPECT_NE(core.sent<Subscribe>(kThree), nullptr);
  EXPECT_EQ(core.state().role, Role::kCandidate);
}

TEST(Candidate, LeadsAtOnceWhenNobodyHoldsMore) {
  Driven core(kOne, with_log());
  core.seek(Epoch{5});
  core.sealed(kTwo, Vote::kFull, Epoch{0}, 900);
  EXPECT_NE(core.wants<BecomeWriter>(), nullptr);
}

TEST(Candidate, FetchesWhatAVoterWithoutAVoteHolds) {
  Driven core(kOne, with_log());
  core.seek(Epoch{5});
  core.sealed(kTwo, Vote::kNone, Epoch{1}, 900);
  core.sealed(kThree, Vote::kFull, Epoch{1}, 500);
  EXPECT_NE(core.sent<Subscribe>(kTwo), nullptr);
}

TEST(Candidate, StepsAsideForTheOneWhoseLogBeginsBehindItsOwnEnd) {
  Driven core(kOne, with_log());
  core.seek(Epoch{5});
  core.sealed(kTwo, Vote::kFull, Epoch{1}, 900);
  core.receive(kTwo, Refuse{RefusalReason::kNeedsCheckpoint, Epoch{5}, kNobody, "begins at 700"});
  EXPECT_EQ(core.state().role, Role::kFollower);
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->epoch, Epoch{5});
  EXPECT_EQ(core.wants<Resign>()->successor, kTwo);
  EXPECT_NE(core.state().problem.find("checkpoint"), std::string::npos);
}

TEST(Candidate, WhenTheSourceOfItsFetchIsGoneItChoosesAnew) {
  Given given = with_log();
  given.members = five_voters();
  Driven core(kOne, given);
  core.seek(Epoch{5});
  core.sealed(kTwo, Vote::kFull, Epoch{1}, 900);
  core.sealed(kThree, Vote::kFull, Epoch{1}, 800);
  ASSERT_NE(core.sent<Subscribe>(kTwo), nullptr);
  core.feed(PeerDisconnected{kTwo});
  EXPECT_EQ(core.sent<Subscribe>(kThree), nullptr);  // two of five are no majority
  core.sealed(kFour);
  EXPECT_NE(core.sent<Subscribe>(kThree), nullptr);
}

// ---- Votes. ------------------------------------------------------------------------------------

TEST(Candidate, TheFirstStartNeedsEveryVoter) {
  Driven core(kOne, without_vote());
  core.seek(Epoch{1});
  core.sealed(kTwo, Vote::kNone);
  EXPECT_EQ(core.state().role, Role::kCandidate);
  core.sealed(kThree, Vote::kNone);
  EXPECT_NE(core.wants<BecomeWriter>(), nullptr);
  EXPECT_TRUE(core.state().leadership.first_start);
}

TEST(Candidate, ProvisionalVotesThatAreTooFewStillAllowAFirstStartOfAll) {
  Driven core(kOne, without_vote());
  core.seek(Epoch{2});
  core.sealed(kTwo, Vote::kProvisional);
  EXPECT_EQ(core.state().role, Role::kCandidate);
  core.sealed(kThree, Vote::kNone);
  EXPECT_TRUE(core.state().leadership.first_start);
}

TEST(Candidate, AfterTheFirstStartAMajorityOfVotesIsNeededAndEnough) {
  Driven core(kOne, without_vote());
  core.seek(Epoch{5});
  core.sealed(kTwo);
  EXPECT_EQ(core.state().role, Role::kCandidate);  // its own word does not count
  core.sealed(kThree);
  EXPECT_NE(core.wants<BecomeWriter>(), nullptr);
  EXPECT_FALSE(core.state().leadership.first_start);
}

TEST(Candidate, WhoHoldsAllThatAMajorityKnowsOfGetsAVote) {
  Driven core(kOne, without_vote());
  core.seek(Epoch{5});
  core.sealed(kTwo);
  core.sealed(kThree);
  ASSERT_NE(core.wants<PersistPromise>(), nullptr);
  EXPECT_EQ(core.wants<PersistPromise>()->promise.vote, Vote::kFull);
}

TEST(Candidate, SaysThatTooManyVotersHaveLostTheirDisks) {
  Driven core(kOne);
  core.seek(Epoch{5});
  core.sealed(kTwo, Vote::kNone);
  core.sealed(kThree, Vote::kNone);
  EXPECT_EQ(core.state().role, Role::kCandidate);
  EXPECT_NE(core.wants<StateChanged>(), nullptr);
  EXPECT_NE(core.state().problem.find("lost their disks: of 3, only 1"), std::string::npos)
      << core.state().problem;
}

// ---- Losing. -----------------------------------------------------------------------------------

TEST(Candidate, StepsAsideForTheOneThatWasPromisedMore) {
  Driven core(kOne);
  core.seek(Epoch{5});
  core.receive(kTwo, Refuse{RefusalReason::kStaleEpoch, Epoch{9}, kThree, "epoch 5 is over"});
  EXPECT_EQ(core.state().role, Role::kFollower);
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->epoch, Epoch{5});
  EXPECT_EQ(core.wants<Resign>()->successor, kThree);
  ASSERT_NE(core.wants<PersistPromise>(), nullptr);
  EXPECT_EQ(core.wants<PersistPromise>()->promise.epoch, Epoch{9});
  EXPECT_EQ(core.wants<PersistPromise>()->promise.leader, kNobody);
  EXPECT_EQ(core.state().elections_lost, 1u);
}

TEST(Candidate, ARefusalOfAnEarlierEpochIsNoNews) {
  Driven core(kOne);
  core.seek(Epoch{5});
  core.receive(kTwo, Refuse{RefusalReason::kStaleEpoch, Epoch{4}, kThree, ""});
  EXPECT_EQ(core.state().role, Role::kCandidate);
}

TEST(Candidate, PromisesAHigherEpochToAnotherAndStepsAsideForIt) {
  Driven core(kOne);
  core.seek(Epoch{5});
  core.receive(kThree, Seal{Epoch{6}});
  EXPECT_EQ(core.state().role, Role::kFollower);
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->epoch, Epoch{5});
  EXPECT_EQ(core.wants<Resign>()->successor, kThree);
  EXPECT_EQ(core.state().promise.leader, kThree);
}

TEST(Candidate, WithoutAMajorityItGivesUpAfterGiveUpAfter) {
  Given given;
  given.give_up_after = milliseconds(1000);
  Driven core(kOne, given);
  core.seek(Epoch{5});
  core.pass(milliseconds(1000));
  EXPECT_EQ(core.state().role, Role::kCandidate);
  core.pass(milliseconds(1));
  EXPECT_EQ(core.state().role, Role::kFollower);
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->epoch, Epoch{5});
  EXPECT_EQ(core.wants<Resign>()->successor, kNobody);
}

TEST(Candidate, NeverGivesUpWhereNobodyElseWouldBeGrantedAnEpoch) {
  Driven core(kOne);
  core.seek(Epoch{5});
  core.pass(std::chrono::hours(10));
  EXPECT_EQ(core.state().role, Role::kCandidate);
}

}  // namespace
}  // namespace tailrace::replication
