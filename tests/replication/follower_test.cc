// The core as a follower or learner: what it promises, takes, cuts and says, one rule a test.

#include <limits>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "driven_core.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

Given promised(uint64_t epoch, NodeId leader = kNobody) {
  Given given;
  given.promise.epoch = Epoch{epoch};
  given.promise.leader = leader;
  return given;
}

/// Epoch 1 from 64, 3 from 300, 4 from 400, up to 500.
Given with_three_epochs() {
  Given given = promised(4);
  given.log = log_of(64, 500,
                     {{Epoch{1}, Address{64}}, {Epoch{3}, Address{300}}, {Epoch{4}, Address{400}}});
  return given;
}

Data data(Epoch epoch, uint64_t from, size_t size, uint64_t committed = 0, uint64_t round = 0) {
  Data result;
  result.epoch = epoch;
  result.from = Address{from};
  if (size > 0) result.bytes = bytes(size);
  result.committed = Address{committed};
  result.leader_durable = Address{from + size};
  result.round = round;
  return result;
}

// ---- Promises. ---------------------------------------------------------------------------------

TEST(Follower, AnswersSealOnlyWhenItsPromiseIsOnDisk) {
  Driven core(kTwo, with_three_epochs());
  core.receive(kOne, Seal{Epoch{5}});
  ASSERT_NE(core.wants<PersistPromise>(), nullptr);
  EXPECT_EQ(core.wants<PersistPromise>()->promise, (Promise{Epoch{5}, kOne, 9, Vote::kFull}));
  EXPECT_EQ(core.sent<Sealed>(kOne), nullptr);
  core.settle();
  EXPECT_EQ(core.sent<Sealed>(kOne), nullptr);
  core.persist();
  const auto* sealed = core.sent<Sealed>(kOne);
  ASSERT_NE(sealed, nullptr);
  EXPECT_EQ(sealed->epoch, Epoch{5});
  EXPECT_EQ(sealed->last_epoch, Epoch{4});
  EXPECT_EQ(sealed->begin, Address{64});
  EXPECT_EQ(sealed->durable, Address{500});
  EXPECT_EQ(sealed->incarnation, 9u);
  EXPECT_EQ(sealed->vote, Vote::kFull);
}

TEST(Follower, AnswersSealOnlyWhenNothingIsOnItsWayToTheLogsDisk) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, data(Epoch{2}, 64, 36));
  core.receive(kThree, Seal{Epoch{5}});
  EXPECT_NE(core.wants<DropAppends>(), nullptr);
  core.persist();
  EXPECT_EQ(core.sent<Sealed>(kThree), nullptr);
  core.settle();  // the log had been given the bytes already
  EXPECT_EQ(core.sent<Sealed>(kThree), nullptr);
  core.durable(100, Epoch{2});
  ASSERT_NE(core.sent<Sealed>(kThree), nullptr);
  EXPECT_EQ(core.sent<Sealed>(kThree)->durable, Address{100});
  EXPECT_EQ(core.sent<Sealed>(kThree)->last_epoch, Epoch{2});
}

TEST(Follower, WhatTheLogHadNotTakenYetIsNotWaitedFor) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, data(Epoch{2}, 64, 36));
  core.receive(kThree, Seal{Epoch{5}});
  core.persist();
  core.drop_tail();
  core.settle();
  ASSERT_NE(core.sent<Sealed>(kThree), nullptr);
  EXPECT_EQ(core.sent<Sealed>(kThree)->durable, Address{64});
}

TEST(Follower, RefusesAnEpochPromisedToAnotherAndNamesWhomItFollows) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{5});
  core.receive(kThree, Seal{Epoch{5}});
  const auto* refuse = core.sent<Refuse>(kThree);
  ASSERT_NE(refuse, nullptr);
  EXPECT_EQ(refuse->reason, RefusalReason::kStaleEpoch);
  EXPECT_EQ(refuse->epoch, Epoch{5});
  EXPECT_EQ(refuse->leader, kOne);
  EXPECT_EQ(core.wants<PersistPromise>(), nullptr);
  core.receive(kThree, Leading{Epoch{5}});
  EXPECT_NE(core.sent<Refuse>(kThree), nullptr);
  EXPECT_EQ(core.state().leader, kOne);
}

TEST(Follower, NamesNobodyOnceWhomItFollowedIsGone) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{5});
  core.feed(PeerDisconnected{kOne});
  core.pass(milliseconds(3500));
  core.receive(kThree, Seal{Epoch{4}});
  ASSERT_NE(core.sent<Refuse>(kThree), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kThree)->leader, kNobody);
}

TEST(Follower, RefusesToSealALowerEpochThanItPromised) {
  Driven core(kTwo, promised(5));
  core.receive(kOne, Seal{Epoch{4}});
  ASSERT_NE(core.sent<Refuse>(kOne), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kOne)->reason, RefusalReason::kStaleEpoch);
  EXPECT_EQ(core.sent<Refuse>(kOne)->epoch, Epoch{5});
}

TEST(Follower, AnEpochItOnlyHeardOfIsPromisedToTheFirstThatAsks) {
  Driven core(kTwo, promised(5));
  core.receive(kOne, Seal{Epoch{5}});
  ASSERT_NE(core.wants<PersistPromise>(), nullptr);
  EXPECT_EQ(core.wants<PersistPromise>()->promise.leader, kOne);
  core.receive(kThree, Seal{Epoch{5}});
  EXPECT_NE(core.sent<Refuse>(kThree), nullptr);
}

// Found by the simulation: what it shipped bore no epoch, and the candidate took that for a
// refusal.
TEST(Follower, FeedsACandidateThatALifeBeforePromisedTheEpoch) {
  Given given = with_log();
  given.promise = Promise{Epoch{5}, kOne, 9, Vote::kFull};
  Driven core(kTwo, given);
  core.receive(kOne, Seal{Epoch{5}});
  core.settle();
  ASSERT_NE(core.sent<Sealed>(kOne), nullptr);
  core.receive(kOne, Subscribe{Epoch{5}, Epoch{0}, Address{64}, Address{64}, 1, Vote::kNone});
  ASSERT_NE(core.sent<Accept>(kOne), nullptr);
  EXPECT_EQ(core.sent<Accept>(kOne)->epoch, Epoch{5});
}

TEST(Follower, AnswersACandidateAgainWhoseAnswerWasLostWithoutANewPromise) {
  Driven core(kTwo);
  core.receive(kOne, Seal{Epoch{5}});
  core.settle();
  core.persist();
  core.receive(kOne, Seal{Epoch{5}});
  EXPECT_NE(core.sent<Sealed>(kOne), nullptr);
  EXPECT_EQ(core.wants<PersistPromise>(), nullptr);
}

TEST(Follower, APromiseThatItKeptAcrossARestartHoldsForTheSameCandidateOnly) {
  Driven core(kTwo, promised(5, kOne));
  core.receive(kThree, Seal{Epoch{5}});
  EXPECT_NE(core.sent<Refuse>(kThree), nullptr);
  core.receive(kOne, Seal{Epoch{5}});
  core.settle();
  EXPECT_NE(core.sent<Sealed>(kOne), nullptr);
}

TEST(Follower, WhoIsNoVoterByTheConfigurationFilesCanNotAsk) {
  Driven core(kTwo);
  core.receive(kLearner, Seal{Epoch{5}});
  ASSERT_NE(core.sent<Refuse>(kLearner), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kLearner)->reason, RefusalReason::kUnknownNode);
}

TEST(Follower, OnceSealedItTakesNothingOfALowerEpochAndSaysSo) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kThree, Seal{Epoch{5}});
  core.receive(kOne, data(Epoch{2}, 64, 36, 100));
  EXPECT_EQ(core.wants<AppendRaw>(), nullptr);
  EXPECT_EQ(core.wants<AdvanceCommitted>(), nullptr);
  ASSERT_NE(core.sent<Refuse>(kOne), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kOne)->reason, RefusalReason::kStaleEpoch);
  EXPECT_EQ(core.sent<Refuse>(kOne)->epoch, Epoch{5});
}

TEST(Follower, RefusesANodeThatIsNotConfigured) {
  Driven core(kTwo);
  core.receive(NodeId{9}, Leading{Epoch{5}});
  ASSERT_NE(core.sent<Refuse>(NodeId{9}), nullptr);
  EXPECT_EQ(core.sent<Refuse>(NodeId{9})->reason, RefusalReason::kUnknownNode);
  EXPECT_EQ(core.state().promise.epoch, Epoch{0});
}

// ---- Subscribing. ------------------------------------------------------------------------------

TEST(Follower, SubscribesFromItsDurableEndOnceItsPromiseIsOnDisk) {
  Driven core(kTwo, with_three_epochs());
  core.receive(kOne, Leading{Epoch{5}});
  EXPECT_EQ(core.sent<Subscribe>(kOne), nullptr);
  core.settle();
  EXPECT_EQ(core.sent<Subscribe>(kOne), nullptr);
  core.persist();
  const auto* subscribe = core.sent<Subscribe>(kOne);
  ASSERT_NE(subscribe, nullptr);
  EXPECT_EQ(subscribe->promised, Epoch{5});
  EXPECT_EQ(subscribe->last_epoch, Epoch{4});
  EXPECT_EQ(subscribe->begin, Address{64});
  EXPECT_EQ(subscribe->durable, Address{500});
  EXPECT_EQ(subscribe->incarnation, 9u);
  EXPECT_EQ(subscribe->vote, Vote::kFull);
}

TEST(Follower, SubscribesOnlyWhenItsEndStands) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, data(Epoch{2}, 64, 36));
  core.receive(kThree, Leading{Epoch{5}});
  core.persist();
  core.settle();
  EXPECT_EQ(core.sent<Subscribe>(kThree), nullptr);
  core.durable(100, Epoch{2});
  ASSERT_NE(core.sent<Subscribe>(kThree), nullptr);
  EXPECT_EQ(core.sent<Subscribe>(kThree)->durable, Address{100});
}

TEST(Follower, SubscribesAnewOnANewConnection) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.feed(PeerDisconnected{kOne});
  EXPECT_FALSE(core.state().following.streaming);
  core.feed(PeerConnected{kOne});
  EXPECT_NE(core.sent<Subscribe>(kOne), nullptr);
}

TEST(Follower, AnAcceptOfAnOlderSubscriptionIsIgnored) {
  Driven core(kTwo, with_three_epochs());
  core.receive(kOne, Leading{Epoch{5}});
  core.settle();
  core.persist();
  core.receive(kOne, Accept{Epoch{5}, Address{300}, Address{}});
  EXPECT_FALSE(core.state().following.streaming);
  core.receive(kOne, Accept{Epoch{5}, Address{500}, Address{}});
  EXPECT_TRUE(core.state().following.streaming);
  EXPECT_NE(core.sent<Acknowledge>(kOne), nullptr);
}

TEST(Follower, SaysWhyItsLogWasRefusedAndAsksAgain) {
  Driven core(kTwo);
  core.receive(kOne, Leading{Epoch{2}});
  core.settle();
  core.persist();
  core.receive(kOne, Refuse{RefusalReason::kNeedsCheckpoint, Epoch{2}, kOne, "begins at 700"});
  EXPECT_NE(core.state().problem.find("log refused"), std::string::npos);
  EXPECT_NE(core.state().problem.find("begins at 700"), std::string::npos);
  EXPECT_NE(core.wants<StateChanged>(), nullptr);
  ASSERT_NE(core.wants<FetchCheckpoint>(), nullptr) << "only a copy of the state helps";
  EXPECT_EQ(core.wants<FetchCheckpoint>()->from, kOne);
  core.pass(milliseconds(250));
  EXPECT_EQ(core.sent<Subscribe>(kOne), nullptr);
  core.pass(milliseconds(1000));
  EXPECT_NE(core.sent<Subscribe>(kOne), nullptr);
}

TEST(Follower, DropsTheConnectionWhenTheLeaderIsSilent) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  EXPECT_TRUE(core.core().hears_leader());
  core.pass(milliseconds(3000));
  EXPECT_EQ(core.wants<Disconnect>(), nullptr);
  core.pass(milliseconds(1));
  ASSERT_NE(core.wants<Disconnect>(), nullptr);
  EXPECT_EQ(core.wants<Disconnect>()->peer, kOne);
  EXPECT_FALSE(core.state().following.streaming);
  EXPECT_FALSE(core.core().hears_leader());
}

// ---- The stream. -------------------------------------------------------------------------------

TEST(Follower, RejectsALowerEpochThanPromisedAndSaysSo) {
  Driven core(kTwo, promised(5, kOne));
  core.receive(kOne, Accept{Epoch{4}, Address{64}, Address{}});
  ASSERT_NE(core.sent<Refuse>(kOne), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kOne)->reason, RefusalReason::kStaleEpoch);
  core.receive(kOne, data(Epoch{4}, 64, 10, 74));
  EXPECT_EQ(core.wants<AppendRaw>(), nullptr);
  EXPECT_EQ(core.wants<AdvanceCommitted>(), nullptr);
}

TEST(Follower, TakesBytesOnlyFromTheSourceThatHasCheckedItsLog) {
  Driven core(kTwo);
  core.receive(kOne, Leading{Epoch{2}});
  core.settle();
  core.persist();
  core.receive(kOne, data(Epoch{2}, 64, 36, 100));
  EXPECT_EQ(core.wants<AppendRaw>(), nullptr);
  EXPECT_EQ(core.wants<AdvanceCommitted>(), nullptr);
  core.receive(kOne, Accept{Epoch{2}, Address{64}, Address{}});
  core.receive(kThree, data(Epoch{2}, 64, 36, 100));
  EXPECT_EQ(core.wants<AppendRaw>(), nullptr);
}

TEST(Follower, AppendsWhatIsNewAndSkipsWhatItHas) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, data(Epoch{2}, 64, 36));
  ASSERT_NE(core.wants<AppendRaw>(), nullptr);
  core.receive(kOne, data(Epoch{2}, 64, 100));
  ASSERT_NE(core.wants<AppendRaw>(), nullptr);
  EXPECT_EQ(core.wants<AppendRaw>()->at, Address{100});
  EXPECT_EQ(core.wants<AppendRaw>()->skip, 36u);
  core.receive(kOne, data(Epoch{2}, 64, 100));
  EXPECT_EQ(core.wants<AppendRaw>(), nullptr);
}

TEST(Follower, SubscribesAnewAcrossAGap) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, data(Epoch{2}, 90, 36));
  EXPECT_EQ(core.wants<AppendRaw>(), nullptr);
  ASSERT_NE(core.sent<Subscribe>(kOne), nullptr);
  EXPECT_EQ(core.sent<Subscribe>(kOne)->durable, Address{64});
}

TEST(Follower, AcknowledgesOnlyWhatIsDurableAndThatAtOnce) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, data(Epoch{2}, 64, 36));
  EXPECT_EQ(core.sent<Acknowledge>(kOne), nullptr);
  core.durable(100, Epoch{2});
  ASSERT_NE(core.sent<Acknowledge>(kOne), nullptr);
  EXPECT_EQ(core.sent<Acknowledge>(kOne)->epoch, Epoch{2});
  EXPECT_EQ(core.sent<Acknowledge>(kOne)->durable, Address{100});
}

TEST(Follower, AnswersAHeartbeatAndARoundItHasNotEchoed) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, data(Epoch{2}, 64, 0, 0, 7));
  ASSERT_NE(core.sent<Acknowledge>(kOne), nullptr);
  EXPECT_EQ(core.sent<Acknowledge>(kOne)->round, 7u);
  core.receive(kOne, data(Epoch{2}, 64, 0, 0, 7));
  EXPECT_EQ(core.sent<Acknowledge>(kOne), nullptr);
  core.pass(milliseconds(150));
  core.receive(kOne, data(Epoch{2}, 64, 0, 0, 7));
  EXPECT_NE(core.sent<Acknowledge>(kOne), nullptr);
}

TEST(Follower, ForgetsTheRoundsOfTheLeaderBefore) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, data(Epoch{2}, 64, 0, 0, 7));
  core.follow(kThree, Epoch{3});
  ASSERT_NE(core.sent<Acknowledge>(kThree), nullptr);
  EXPECT_EQ(core.sent<Acknowledge>(kThree)->round, 0u);
}

TEST(Follower, CommittedComesWithTheStreamAndMayPassItsDurableEnd) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, data(Epoch{2}, 64, 36, 100));
  ASSERT_NE(core.wants<AdvanceCommitted>(), nullptr);
  EXPECT_EQ(core.wants<AdvanceCommitted>()->committed, Address{100});
  EXPECT_EQ(core.state().log.durable, Address{64});
}

TEST(Follower, KeepsTheLogThatTheLeaderSaysAMemberNeedsForItMayLeadNext) {
  Driven core(kTwo);
  EXPECT_EQ(core.state().kept_from, Address{64}) << "all of it, until a leader says who needs what";
  core.follow(kOne, Epoch{2});
  Data message = data(Epoch{2}, 64, 36, 100);
  message.keep_from = Address{80};
  core.receive(kOne, message);
  ASSERT_NE(core.wants<SetAnchor>(), nullptr);
  EXPECT_EQ(core.wants<SetAnchor>()->peer, kTwo);
  EXPECT_EQ(core.wants<SetAnchor>()->address, Address{80});
}

TEST(Follower, BytesThatItsLogRefusesStopTheStreamAndTheReasonIsKept) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, data(Epoch{2}, 64, 36));
  core.feed(AppendFailed{Address{64}, "bad checksum at 64"});
  EXPECT_FALSE(core.state().following.streaming);
  EXPECT_EQ(core.state().received, Address{64});
  EXPECT_NE(core.state().problem.find("bad checksum at 64"), std::string::npos);
  EXPECT_NE(core.sent<Refuse>(kOne), nullptr);
}

// ---- Votes and hand-over. ----------------------------------------------------------------------

TEST(Follower, TakesAVoteForItsOwnIncarnationOnly) {
  Given given;
  given.promise.vote = Vote::kNone;
  Driven core(kTwo, given);
  core.follow(kOne, Epoch{2});
  core.pass(milliseconds(250));
  core.receive(kOne, GrantVote{Epoch{2}, 8, Vote::kFull});
  EXPECT_EQ(core.wants<PersistPromise>(), nullptr);
  EXPECT_NE(core.sent<Subscribe>(kOne), nullptr);  // tells it which incarnation this is
  core.receive(kOne, Accept{Epoch{2}, Address{64}, Address{}});
  core.receive(kOne, GrantVote{Epoch{2}, 9, Vote::kProvisional});
  ASSERT_NE(core.wants<PersistPromise>(), nullptr);
  EXPECT_EQ(core.wants<PersistPromise>()->promise,
            (Promise{Epoch{2}, kOne, 9, Vote::kProvisional}));
}

TEST(Follower, TellsOfItsVoteOnlyWhenItIsOnDisk) {
  Given given;
  given.promise.vote = Vote::kNone;
  Driven core(kTwo, given);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, GrantVote{Epoch{2}, 9, Vote::kFull});
  core.durable(100, Epoch{2});
  EXPECT_EQ(core.sent<Acknowledge>(kOne), nullptr);
  core.persist();
  ASSERT_NE(core.sent<Acknowledge>(kOne), nullptr);
  EXPECT_EQ(core.sent<Acknowledge>(kOne)->vote, Vote::kFull);
}

TEST(Follower, AVoteIsNeverLowered) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, GrantVote{Epoch{2}, 9, Vote::kProvisional});
  EXPECT_EQ(core.wants<PersistPromise>(), nullptr);
  EXPECT_EQ(core.state().promise.vote, Vote::kFull);
}

TEST(Follower, SeeksTheLeadWhenTheLeaderHandsOverToIt) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, TakeOver{Epoch{1}});
  EXPECT_EQ(core.wants<SeekLead>(), nullptr);
  core.receive(kOne, TakeOver{Epoch{2}});
  EXPECT_NE(core.wants<SeekLead>(), nullptr);
}

// ---- How fresh it is. --------------------------------------------------------------------------

TEST(Follower, IsAsFreshAsTheLeaderWasSureOnceThatIsApplied) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  Data message = data(Epoch{2}, 64, 36, 100);
  message.echo = milliseconds(1000);  // the leader had heard what this node said then,
  message.age = milliseconds(10);     // and had led for certain 10 ms before it answered
  core.receive(kOne, message);
  EXPECT_FALSE(core.state().fresh_at);
  core.durable(100, Epoch{2}, Address{99});
  EXPECT_FALSE(core.state().fresh_at);
  core.pass(milliseconds(10), Address{100});
  ASSERT_TRUE(core.state().fresh_at);
  EXPECT_EQ(*core.state().fresh_at, milliseconds(990));
}

TEST(Follower, WithoutAnEchoItDoesNotKnowHowFreshItIs) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{2});
  core.receive(kOne, data(Epoch{2}, 64, 36, 100));
  core.pass(milliseconds(10), Address{100});
  EXPECT_FALSE(core.state().fresh_at);
}

// A source that is wrong about time makes nobody fresher than he can be.
TEST(Follower, DoesNotBelieveTimesThatCanNotBe) {
  using Limits = std::numeric_limits<int64_t>;
  const std::pair<std::chrono::nanoseconds, std::chrono::nanoseconds> impossible[] = {
      {milliseconds(1001), milliseconds(0)},  // not said yet
      {std::chrono::nanoseconds(Limits::max()), milliseconds(10)},
      {milliseconds(900), milliseconds(-1)},
      {milliseconds(900), std::chrono::nanoseconds(Limits::min())},
      {milliseconds(900), std::chrono::nanoseconds(Limits::max())},
      {milliseconds(-900), milliseconds(10)}};
  for (const auto& [echo, age] : impossible) {
    Driven core(kTwo);
    core.follow(kOne, Epoch{2});
    Data message = data(Epoch{2}, 64, 36, 100);
    message.echo = echo;
    message.age = age;
    core.receive(kOne, message);
    core.durable(100, Epoch{2}, Address{100});
    EXPECT_FALSE(core.state().fresh_at) << echo.count() << " " << age.count();
  }
}

}  // namespace
}  // namespace tailrace::replication
