// The core as a leader: what counts, who confirms it, and how it ends; one rule a test.

#include <string>

#include <gtest/gtest.h>

#include "driven_core.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

/// Node 1 leads epoch 5: its log is the epoch-start record [64, 100), which node 2 has.
Driven serving(Given given = {}) {
  Driven core(kOne, std::move(given));
  core.lead(Epoch{5});
  core.caught_up(kTwo);
  EXPECT_TRUE(core.state().leadership.serving);
  return core;
}

// ---- What is committed. ------------------------------------------------------------------------

TEST(Leader, AloneItCommitsWhatIsDurable) {
  Given given = without_vote();
  given.members = {{kOne, true}};
  Driven core(kOne, given);
  core.lead(Epoch{1}, {});
  EXPECT_TRUE(core.state().leadership.serving);
  EXPECT_EQ(core.state().committed, Address{100});
  core.durable(300, Epoch{1});
  EXPECT_EQ(core.state().committed, Address{300});
}

TEST(Leader, ServesOnlyWhenAMajorityHasItsEpochStartRecord) {
  Driven core(kOne);
  core.lead(Epoch{5});
  EXPECT_FALSE(core.state().leadership.serving);
  core.subscribe(kTwo, 64);
  core.acknowledge(kTwo, 64);
  EXPECT_FALSE(core.state().leadership.serving);
  core.acknowledge(kTwo, 100);
  EXPECT_TRUE(core.state().leadership.serving);
  ASSERT_NE(core.wants<AdvanceCommitted>(), nullptr);
  EXPECT_EQ(core.wants<AdvanceCommitted>()->committed, Address{100});
}

TEST(Leader, ItsOwnDiskCountsOnlyForWhatIsDurableThere) {
  Driven core(kOne);
  core.lead(Epoch{5}, {kTwo});
  core.caught_up(kTwo);
  core.enqueue(100);
  core.durable(150, Epoch{5});
  core.acknowledge(kTwo, 150);
  EXPECT_EQ(core.state().committed, Address{150});
  EXPECT_EQ(core.state().log.tail, Address{200});
}

TEST(Leader, RecordsOfEarlierEpochsCountOnlyWithItsOwnRecord) {
  Driven core(kOne, with_log());
  core.lead(Epoch{5});  // its record is [500, 536)
  core.subscribe(kTwo, 500, Epoch{1});
  core.acknowledge(kTwo, 500);
  EXPECT_EQ(core.state().committed, Address{});
  core.acknowledge(kTwo, 536);
  EXPECT_EQ(core.state().committed, Address{536});
}

TEST(Leader, ALearnerGetsTheStreamAndHasNoVote) {
  Driven core(kOne);
  core.lead(Epoch{5});
  core.subscribe(kLearner, 64);
  EXPECT_NE(core.sent<Accept>(kLearner), nullptr);
  EXPECT_NE(core.wants<ShipBytes>(), nullptr);
  core.acknowledge(kLearner, 100);
  EXPECT_FALSE(core.state().leadership.serving);
}

TEST(Leader, AnAcknowledgementOfAnEarlierEpochDoesNotCount) {
  Driven core(kOne);
  core.lead(Epoch{5});
  core.subscribe(kTwo, 64);
  core.receive(kTwo, Acknowledge{Epoch{3}, Address{100}, Address{}});
  EXPECT_FALSE(core.state().leadership.serving);
}

TEST(Leader, WhatAVoterWithoutAVoteAcknowledgesDoesNotCount) {
  Driven core(kOne);
  core.lead(Epoch{5});
  core.caught_up(kThree, Vote::kNone);
  EXPECT_FALSE(core.state().leadership.serving);
  core.caught_up(kTwo);
  EXPECT_TRUE(core.state().leadership.serving);
}

TEST(Leader, AtTheFirstStartEveryVoterCountsAlthoughNobodyHasAVote) {
  Driven core(kOne, without_vote());
  core.lead(Epoch{1}, {kTwo, kThree}, Vote::kNone);
  core.caught_up(kTwo, Vote::kNone);
  EXPECT_TRUE(core.state().leadership.serving);
}

// ---- Who is told. ------------------------------------------------------------------------------

TEST(Leader, TellsEveryMemberThatItLeadsOnceItIsAWriter) {
  Driven core(kOne);
  core.seek(Epoch{5});
  core.sealed(kTwo);
  EXPECT_EQ(core.sent<Leading>(kTwo), nullptr);
  core.enqueue_epoch_start();
  for (const NodeId member : {kTwo, kThree, kLearner}) {
    ASSERT_NE(core.sent<Leading>(member), nullptr);
    EXPECT_EQ(core.sent<Leading>(member)->epoch, Epoch{5});
  }
}

TEST(Leader, TellsWhoeverDoesNotSubscribeAgainAndOnANewConnectionAtOnce) {
  Driven core = serving();
  core.pass(milliseconds(250));
  EXPECT_NE(core.sent<Leading>(kThree), nullptr);
  EXPECT_EQ(core.sent<Leading>(kTwo), nullptr);
  core.feed(PeerDisconnected{kThree});
  core.feed(PeerConnected{kThree});
  EXPECT_NE(core.sent<Leading>(kThree), nullptr);
}

// ---- Votes. ------------------------------------------------------------------------------------

TEST(Leader, GrantsAVoteOnlyAfterCatchUpAndAConfirmedRound) {
  Driven core = serving();
  core.durable(400, Epoch{5});
  core.subscribe(kThree, 64, Epoch{0}, Vote::kNone, 77);
  const uint64_t round = core.state().followers.at(kThree).vote_round;
  ASSERT_GT(round, core.state().confirmed_round);
  core.acknowledge(kThree, 400, round, Vote::kNone);
  EXPECT_EQ(core.sent<GrantVote>(kThree), nullptr);  // its own word confirms nothing
  core.acknowledge(kTwo, 400, round);
  ASSERT_NE(core.sent<GrantVote>(kThree), nullptr);
  EXPECT_EQ(core.sent<GrantVote>(kThree)->epoch, Epoch{5});
  EXPECT_EQ(core.sent<GrantVote>(kThree)->incarnation, 77u);
}

TEST(Leader, AConfirmedRoundWithoutCatchUpGrantsNoVote) {
  Driven core = serving();
  core.durable(400, Epoch{5});
  core.subscribe(kThree, 64, Epoch{0}, Vote::kNone);
  core.acknowledge(kTwo, 400, core.state().round);
  EXPECT_EQ(core.sent<GrantVote>(kThree), nullptr);
  core.acknowledge(kThree, 399, core.state().round, Vote::kNone);
  EXPECT_EQ(core.sent<GrantVote>(kThree), nullptr);
  core.acknowledge(kThree, 400, core.state().round, Vote::kNone);
  EXPECT_NE(core.sent<GrantVote>(kThree), nullptr);
}

TEST(Leader, TheRoundHasToBeAskedAfterTheNewDiskSubscribed) {
  Driven core = serving();
  core.pass(milliseconds(250));
  const uint64_t before = core.state().round;
  core.subscribe(kThree, 100, Epoch{5}, Vote::kNone);
  core.acknowledge(kTwo, 100, before);
  core.acknowledge(kThree, 100, before, Vote::kNone);
  EXPECT_EQ(core.state().confirmed_round, before);
  EXPECT_EQ(core.sent<GrantVote>(kThree), nullptr);
}

TEST(Leader, TheFirstVotesAreProvisionalUntilAMajorityHasThem) {
  Driven core(kOne, without_vote());
  core.lead(Epoch{1}, {kTwo, kThree}, Vote::kNone);
  core.caught_up(kTwo, Vote::kNone);
  core.acknowledge(kTwo, 100, core.state().round, Vote::kNone);
  ASSERT_NE(core.sent<GrantVote>(kTwo), nullptr);
  EXPECT_EQ(core.sent<GrantVote>(kTwo)->vote, Vote::kProvisional);
  EXPECT_EQ(core.state().promise.vote, Vote::kProvisional);
  core.persist();
  core.acknowledge(kTwo, 100, core.state().round, Vote::kProvisional);
  ASSERT_NE(core.sent<GrantVote>(kTwo), nullptr);
  EXPECT_EQ(core.sent<GrantVote>(kTwo)->vote, Vote::kFull);
  ASSERT_NE(core.wants<PersistPromise>(), nullptr);
  EXPECT_EQ(core.wants<PersistPromise>()->promise.vote, Vote::kFull);
}

TEST(Leader, GrantsNoVoteBeforeItsEpochStartRecordIsCommitted) {
  Driven core(kOne);
  core.lead(Epoch{5});
  core.caught_up(kThree, Vote::kNone);
  core.acknowledge(kThree, 100, core.state().round, Vote::kNone);
  EXPECT_EQ(core.sent<GrantVote>(kThree), nullptr);
}

TEST(Leader, ANewIncarnationCountsAnew) {
  Driven core = serving();
  core.durable(200, Epoch{5});
  core.feed(PeerConnected{kTwo});
  core.subscribe(kTwo, 64, Epoch{0}, Vote::kNone, 8);
  EXPECT_EQ(core.state().followers.at(kTwo).acknowledged, Address{});
  EXPECT_EQ(core.state().committed, Address{100});  // never retreats
  core.acknowledge(kTwo, 200, 0, Vote::kNone);
  EXPECT_EQ(core.state().committed, Address{100});
}

TEST(Leader, WhoComesBackWithLessThanItAcknowledgedCountsAnew) {
  Driven core = serving();
  core.subscribe(kTwo, 64);
  EXPECT_EQ(core.state().followers.at(kTwo).acknowledged, Address{});
}

// ---- Rounds. -----------------------------------------------------------------------------------

TEST(Leader, IsConfirmedOnlyWhenAMajorityHasEchoedTheRound) {
  Driven core = serving();
  core.feed(ConfirmAsked{core.now()});
  const uint64_t round = core.state().round;
  EXPECT_EQ(core.wants<Confirmed>(), nullptr);
  ASSERT_NE(core.sent<Data>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Data>(kTwo)->round, round);
  core.acknowledge(kTwo, 100, round - 1);
  EXPECT_LT(core.state().confirmed_round, round);
  core.acknowledge(kTwo, 100, round);
  ASSERT_NE(core.wants<Confirmed>(), nullptr);
  EXPECT_EQ(core.wants<Confirmed>()->round, round);
}

TEST(Leader, WhoHasNoVoteConfirmsNothing) {
  Driven core = serving();
  core.caught_up(kLearner);
  core.caught_up(kThree, Vote::kNone);
  core.feed(ConfirmAsked{core.now()});
  const uint64_t round = core.state().round;
  core.acknowledge(kLearner, 100, round);
  core.acknowledge(kThree, 100, round, Vote::kNone);
  EXPECT_LT(core.state().confirmed_round, round);
}

TEST(Leader, AloneItIsConfirmedAtOnce) {
  Given given;
  given.members = {{kOne, true}};
  Driven core(kOne, given);
  core.lead(Epoch{1}, {});
  core.feed(ConfirmAsked{core.now()});
  EXPECT_NE(core.wants<Confirmed>(), nullptr);
}

TEST(Leader, AsksARoundEveryHeartbeatByItself) {
  Driven core = serving();
  core.pass(milliseconds(200));
  const uint64_t round = core.state().round;
  core.pass(milliseconds(100));
  EXPECT_EQ(core.state().round, round);
  core.pass(milliseconds(100));
  EXPECT_EQ(core.state().round, round + 1);
  ASSERT_NE(core.sent<Data>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Data>(kTwo)->round, round + 1);
}

// ---- How fresh it is. --------------------------------------------------------------------------

TEST(Leader, IsAsFreshAsItsConfirmedRoundOnceThatIsApplied) {
  Driven core = serving();
  core.pass(milliseconds(250), Address{99});
  const auto asked = core.now();
  core.acknowledge(kTwo, 100, core.state().round - 1);
  EXPECT_FALSE(core.state().fresh_at);
  core.pass(milliseconds(10), Address{99});
  core.acknowledge(kTwo, 100, core.state().round);
  EXPECT_FALSE(core.state().fresh_at);
  core.pass(milliseconds(10), Address{100});
  ASSERT_TRUE(core.state().fresh_at);
  EXPECT_EQ(*core.state().fresh_at, asked);
}

TEST(Leader, TellsHowLongAgoItWasSureOnlyOnceARoundIsConfirmed) {
  Driven core = serving();
  core.feed(ConfirmAsked{core.now()});
  ASSERT_NE(core.sent<Data>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Data>(kTwo)->echo, milliseconds(0));
  core.acknowledge(kTwo, 100, core.state().round);
  const auto heard = core.now();
  core.pass(milliseconds(250));
  ASSERT_NE(core.sent<Data>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Data>(kTwo)->echo, heard);
  EXPECT_EQ(core.sent<Data>(kTwo)->age, milliseconds(250));
}

// ---- Being deposed. ----------------------------------------------------------------------------

TEST(Leader, DeposedItFollowsMakesItsLogACopyAndResignsInFavourOfTheOneItHeardOf) {
  Driven core = serving();
  core.receive(kTwo, Refuse{RefusalReason::kStaleEpoch, Epoch{9}, kThree, "epoch 5 is over"});
  EXPECT_EQ(core.state().role, Role::kFollower);
  EXPECT_FALSE(core.state().leadership.serving);
  EXPECT_NE(core.wants<BecomeCopy>(), nullptr);
  EXPECT_NE(core.wants<RemoveAnchor>(), nullptr);
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->epoch, Epoch{5});
  EXPECT_EQ(core.wants<Resign>()->successor, kThree);
  ASSERT_NE(core.wants<PersistPromise>(), nullptr);
  EXPECT_EQ(core.wants<PersistPromise>()->promise.epoch, Epoch{9});
  EXPECT_EQ(core.wants<PersistPromise>()->promise.leader, kNobody);
}

TEST(Leader, IsDeposedByASubscriptionUnderAHigherEpoch) {
  Driven core = serving();
  core.receive(kThree, Subscribe{Epoch{9}, Epoch{0}, Address{64}, Address{64}, 7, Vote::kFull});
  EXPECT_EQ(core.state().role, Role::kFollower);
  EXPECT_EQ(core.state().promise.epoch, Epoch{9});
  // Nobody is known to lead: the coordinator exchanges the grant, which the promise tells it.
  EXPECT_EQ(core.wants<Resign>(), nullptr);
}

TEST(Leader, IsDeposedByAnAcknowledgementInAHigherEpoch) {
  Driven core = serving();
  core.receive(kTwo, Acknowledge{Epoch{9}, Address{100}, Address{}});
  EXPECT_EQ(core.state().role, Role::kFollower);
  EXPECT_EQ(core.state().promise.epoch, Epoch{9});
}

TEST(Leader, PromisesAHigherEpochToTheCandidateThatAsksAndAnswersWhenItsLogStands) {
  Driven core = serving();
  core.receive(kThree, Seal{Epoch{9}});
  EXPECT_EQ(core.state().role, Role::kFollower);
  EXPECT_NE(core.wants<BecomeCopy>(), nullptr);
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->epoch, Epoch{5});
  EXPECT_EQ(core.wants<Resign>()->successor, kThree);
  core.persist();
  EXPECT_EQ(core.sent<Sealed>(kThree), nullptr);
  core.settle();
  ASSERT_NE(core.sent<Sealed>(kThree), nullptr);
  EXPECT_EQ(core.sent<Sealed>(kThree)->durable, Address{100});
}

TEST(Leader, ARefusalThatKnowsNoHigherEpochLeavesItLeading) {
  Driven core = serving();
  core.receive(kTwo, Refuse{RefusalReason::kNotLeader, Epoch{5}, kOne, ""});
  EXPECT_EQ(core.state().role, Role::kLeader);
}

TEST(Leader, ASecondGrantBeginsANewEpoch) {
  Driven core = serving();
  core.feed(Granted{kOne, Epoch{6}});
  EXPECT_EQ(core.state().role, Role::kCandidate);
  EXPECT_FALSE(core.state().leadership.serving);
  EXPECT_NE(core.wants<BecomeCopy>(), nullptr);
  EXPECT_EQ(core.state().promise, (Promise{Epoch{6}, kOne, 9, Vote::kFull, 1}));
}

TEST(Leader, WithoutAMajorityItGivesUpAfterGiveUpAfter) {
  Given given;
  given.give_up_after = milliseconds(1000);
  Driven core = serving(given);
  core.pass(milliseconds(500));  // heard a majority until here
  core.feed(PeerDisconnected{kTwo});
  core.pass(milliseconds(1000));
  EXPECT_EQ(core.state().role, Role::kLeader);
  core.pass(milliseconds(1));
  EXPECT_EQ(core.state().role, Role::kFollower);
  EXPECT_NE(core.wants<BecomeCopy>(), nullptr);
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->epoch, Epoch{5});
  EXPECT_EQ(core.wants<Resign>()->successor, kNobody);
  EXPECT_NE(core.state().problem.find("epoch 5"), std::string::npos);
}

TEST(Leader, NeverGivesUpWhereNobodyElseWouldBeGrantedAnEpoch) {
  Driven core = serving();
  core.feed(PeerDisconnected{kTwo});
  core.pass(std::chrono::hours(10));
  EXPECT_EQ(core.state().role, Role::kLeader);
  EXPECT_FALSE(core.core().hears_leader());
}

TEST(Leader, AtTheFirstStartADiskThatHasNotSealedTheEpochDoesNotCount) {
  Given given;
  given.promise.vote = Vote::kNone;
  Driven core(kOne, given);
  core.lead(Epoch{1}, {kTwo, kThree}, Vote::kNone);
  const Address end = core.state().leadership.epoch_start.end;
  core.subscribe(kTwo, 64, Epoch{0}, Vote::kNone, 8);  // the one that has sealed it was 7
  core.acknowledge(kTwo, end.value, 0, Vote::kNone);
  EXPECT_LT(core.state().committed, end);
  core.subscribe(kThree, 64, Epoch{0}, Vote::kNone);
  core.acknowledge(kThree, end.value, 0, Vote::kNone);
  EXPECT_EQ(core.state().committed, end);
}

// ---- Planned hand-over. ------------------------------------------------------------------------

TEST(HandOver, StopsServingAndResignsOnlyWhenTheSuccessorHoldsAll) {
  Driven core = serving();
  core.enqueue(100);
  core.feed(TransferAsked{kTwo});
  EXPECT_FALSE(core.state().leadership.serving);
  EXPECT_NE(core.wants<StateChanged>(), nullptr);
  EXPECT_EQ(core.wants<Resign>(), nullptr);
  core.log_moved();
  EXPECT_EQ(core.wants<Resign>(), nullptr);
  core.durable(150, Epoch{5});
  core.acknowledge(kTwo, 150);
  core.log_moved();
  EXPECT_EQ(core.wants<Resign>(), nullptr);  // 50 bytes are still on their way to the disk
  core.durable(200, Epoch{5});
  EXPECT_EQ(core.wants<Resign>(), nullptr);
  core.acknowledge(kTwo, 200);
  core.log_moved();
  EXPECT_EQ(core.state().role, Role::kFollower);
  EXPECT_EQ(core.state().committed, Address{200});
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->epoch, Epoch{5});
  EXPECT_EQ(core.wants<Resign>()->successor, kTwo);
  ASSERT_NE(core.sent<TakeOver>(kTwo), nullptr);
  EXPECT_EQ(core.sent<TakeOver>(kTwo)->epoch, Epoch{5});
}

TEST(HandOver, EndsOnlyWithAnEndOfTheLogThatWasReadAfterServingStopped) {
  Driven core = serving();
  core.enqueue(100);  // by a client that still found it serving
  core.feed(TransferAsked{kTwo});
  EXPECT_EQ(core.wants<Resign>(), nullptr);
  core.acknowledge(kTwo, 100);
  EXPECT_EQ(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.state().role, Role::kLeader);
}

TEST(HandOver, ToWhoeverHoldsAllIsAtOnce) {
  Driven core = serving();
  core.feed(TransferAsked{kTwo});
  core.log_moved();
  EXPECT_NE(core.sent<TakeOver>(kTwo), nullptr);
}

TEST(HandOver, WaitsUntilWhatIsCommittedIsAppliedSoThatNoAnswerIsLost) {
  Driven core = serving();
  core.feed(TransferAsked{kTwo});
  core.log_moved(core.state().committed - 1);
  EXPECT_EQ(core.wants<Resign>(), nullptr);
  core.log_moved();
  EXPECT_NE(core.wants<Resign>(), nullptr);
}

TEST(HandOver, WhatAnotherVoterHoldsDoesNotEndIt) {
  Driven core = serving();
  core.caught_up(kThree);
  core.durable(200, Epoch{5});
  core.feed(TransferAsked{kTwo});
  core.acknowledge(kThree, 200);
  core.log_moved();
  EXPECT_EQ(core.state().committed, Address{200});
  EXPECT_EQ(core.wants<Resign>(), nullptr);
  EXPECT_FALSE(core.state().leadership.serving);
  core.acknowledge(kTwo, 200);
  core.log_moved();
  EXPECT_NE(core.wants<Resign>(), nullptr);
}

TEST(HandOver, IsCalledOffAfterItsTimeout) {
  Driven core = serving();
  core.durable(200, Epoch{5});
  core.feed(TransferAsked{kTwo});
  core.pass(milliseconds(2000));
  EXPECT_FALSE(core.state().leadership.serving);
  core.pass(milliseconds(1));
  EXPECT_TRUE(core.state().leadership.serving);
  EXPECT_EQ(core.state().role, Role::kLeader);
  EXPECT_EQ(core.state().leadership.transferring, kNobody);
  core.acknowledge(kTwo, 200);
  core.log_moved();
  EXPECT_EQ(core.wants<Resign>(), nullptr);
}

TEST(HandOver, GoesToNoLearnerAndToNobodyWhoDoesNotFollow) {
  Driven core = serving();
  core.caught_up(kLearner);
  for (const NodeId to : {kLearner, kThree, kOne, NodeId{9}}) {
    core.feed(TransferAsked{to});
    EXPECT_TRUE(core.state().leadership.serving) << to.value;
  }
}

}  // namespace
}  // namespace tailrace::replication
