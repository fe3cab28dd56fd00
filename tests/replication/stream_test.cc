// The source of a stream: whom it feeds, how much at a time, and what it keeps; one rule a test.

#include <string>

#include <gtest/gtest.h>

#include "driven_core.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

/// Node 1 leads epoch 5 on top of `log`; nobody follows yet.
Driven leading(LogPosition log = empty_log()) {
  Given given;
  given.promise.epoch = log.last_epoch;
  given.log = std::move(log);
  Driven core(kOne, given);
  core.lead(Epoch{5});
  return core;
}
/// Epoch 1 from 64, 3 from 300, up to 500; with it epoch 5 from 500.
LogPosition two_epochs() {
  return log_of(64, 500, {{Epoch{1}, Address{64}}, {Epoch{3}, Address{300}}});
}

// ---- Whose log it takes for a prefix of its own. -----------------------------------------------

/// Of a node that was no member meanwhile nothing was kept.
TEST(Stream, WhoseLogPartedBeforeTheBeginNeedsACheckpoint) {
  Driven core = leading(log_of(600, 900, {{Epoch{3}, Address{500}}}));
  core.subscribe(kThree, 800, Epoch{2});
  EXPECT_EQ(core.sent<Diverges>(kThree), nullptr);
  ASSERT_NE(core.sent<Refuse>(kThree), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kThree)->reason, RefusalReason::kNeedsCheckpoint);
}

TEST(Stream, AcceptsALogThatIsAPrefixOfItsOwnAndStartsAtItsEnd) {
  Driven core = leading(two_epochs());
  core.subscribe(kTwo, 300, Epoch{1});
  ASSERT_NE(core.sent<Accept>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Accept>(kTwo)->epoch, Epoch{5});
  EXPECT_EQ(core.sent<Accept>(kTwo)->start, Address{300});
  ASSERT_NE(core.wants<ShipBytes>(), nullptr);
  EXPECT_EQ(core.wants<ShipBytes>()->from, Address{300});
}

TEST(Stream, WhereTheLogsDifferItSaysWhereItsNewestCommonEpochEnds) {
  Driven core = leading(two_epochs());
  core.subscribe(kTwo, 400, Epoch{2});  // here that is of epoch 3
  EXPECT_EQ(core.sent<Accept>(kTwo), nullptr);
  const auto* diverges = core.sent<Diverges>(kTwo);
  ASSERT_NE(diverges, nullptr);
  EXPECT_EQ(diverges->epoch, Epoch{5});
  EXPECT_EQ(diverges->asked, Address{400});
  EXPECT_EQ(diverges->last_epoch, Epoch{1});
  EXPECT_EQ(diverges->end, Address{300});
}

TEST(Stream, ALogThatEndsBeyondItsOwnDiffersEvenInTheSameEpoch) {
  Driven core = leading(two_epochs());
  core.subscribe(kTwo, 900, Epoch{3});
  ASSERT_NE(core.sent<Diverges>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Diverges>(kTwo)->last_epoch, Epoch{3});
  EXPECT_EQ(core.sent<Diverges>(kTwo)->end, Address{500});
  core.subscribe(kTwo, 900, Epoch{4});  // an epoch that it has nothing of
  ASSERT_NE(core.sent<Diverges>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Diverges>(kTwo)->last_epoch, Epoch{3});
}

TEST(Stream, TellsAFollowerBelowItsBeginThatItNeedsACheckpoint) {
  Driven core = leading(log_of(300, 500, {{Epoch{1}, Address{64}}}));
  core.subscribe(kTwo, 200, Epoch{1});
  ASSERT_NE(core.sent<Refuse>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kTwo)->reason, RefusalReason::kNeedsCheckpoint);
  EXPECT_TRUE(core.state().followers.at(kTwo).needs_checkpoint);
  EXPECT_FALSE(core.state().followers.at(kTwo).pin);
}

TEST(Stream, ALogThatCanNotBeComparedAtItsBeginNeedsACheckpoint) {
  Driven core = leading(log_of(300, 500, {{Epoch{3}, Address{250}}}));
  core.subscribe(kTwo, 300, Epoch{2});
  ASSERT_NE(core.sent<Refuse>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kTwo)->reason, RefusalReason::kNeedsCheckpoint);
}

TEST(Stream, RefusesANodeThatIsNotConfigured) {
  Driven core = leading();
  core.subscribe(NodeId{9}, 64);
  ASSERT_NE(core.sent<Refuse>(NodeId{9}), nullptr);
  EXPECT_EQ(core.sent<Refuse>(NodeId{9})->reason, RefusalReason::kUnknownNode);
}

TEST(Stream, FeedsNobodyBeforeItIsAWriter) {
  Driven core(kOne);
  core.seek(Epoch{5});
  core.sealed(kTwo);
  core.subscribe(kTwo, 64);
  ASSERT_NE(core.sent<Refuse>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kTwo)->reason, RefusalReason::kNotLeader);
}

TEST(Stream, AFollowerSaysWhoLeads) {
  Driven core(kTwo);
  core.follow(kOne, Epoch{5});
  core.subscribe(kThree, 64);
  ASSERT_NE(core.sent<Refuse>(kThree), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kThree)->reason, RefusalReason::kNotLeader);
  EXPECT_EQ(core.sent<Refuse>(kThree)->leader, kOne);
}

// ---- A candidate's fetch. ----------------------------------------------------------------------

TEST(Stream, AVoterFeedsTheCandidateThatItPromisedTheEpochTo) {
  Given given;
  given.log = two_epochs();
  given.promise.epoch = Epoch{3};
  Driven core(kTwo, given);
  core.receive(kOne, Seal{Epoch{5}});
  core.settle();
  core.persist();
  core.receive(kOne, Subscribe{Epoch{5}, Epoch{1}, Address{64}, Address{300}, 7, Vote::kFull});
  ASSERT_NE(core.sent<Accept>(kOne), nullptr);
  ASSERT_NE(core.wants<ShipBytes>(), nullptr);
  EXPECT_EQ(core.wants<ShipBytes>()->epoch, Epoch{5});
  core.receive(kThree, Subscribe{Epoch{5}, Epoch{1}, Address{64}, Address{300}, 7, Vote::kFull});
  EXPECT_NE(core.sent<Refuse>(kThree), nullptr);
}

TEST(Stream, AVoterStopsFeedingTheCandidateWhenAnotherIsPromised) {
  Given given;
  given.log = two_epochs();
  given.promise.epoch = Epoch{3};
  Driven core(kTwo, given);
  core.receive(kOne, Seal{Epoch{5}});
  core.settle();
  core.persist();
  core.receive(kOne, Subscribe{Epoch{5}, Epoch{1}, Address{64}, Address{300}, 7, Vote::kFull});
  core.receive(kThree, Seal{Epoch{6}});
  EXPECT_TRUE(core.state().followers.empty());
  EXPECT_NE(core.wants<RemoveAnchor>(), nullptr);
}

// ---- How much. ---------------------------------------------------------------------------------

TEST(Stream, ShipsNoFurtherThanTheWindowBeyondWhatIsAcknowledged) {
  Driven core = leading();
  core.durable(5000, Epoch{5});
  core.subscribe(kTwo, 64);
  size_t rounds = 0;
  Address from{64};
  while (const auto* ship = core.wants<ShipBytes>()) {
    EXPECT_EQ(ship->from, from);
    EXPECT_LE(ship->most_bytes, 400u);
    const Address end = from + ship->most_bytes;
    core.feed(Shipped{kTwo, from, end, Address{5000}});
    from = end;
    ASSERT_LT(++rounds, 10u);
  }
  EXPECT_EQ(from, Address{1064});
  core.acknowledge(kTwo, 464);
  ASSERT_NE(core.wants<ShipBytes>(), nullptr);
  EXPECT_EQ(core.wants<ShipBytes>()->from, Address{1064});
}

TEST(Stream, ShipsWhatBecomesDurableAtOnce) {
  Driven core = leading();
  core.caught_up(kTwo);
  core.enqueue(100);
  core.durable(150, Epoch{5});
  ASSERT_NE(core.wants<ShipBytes>(), nullptr);
  EXPECT_EQ(core.wants<ShipBytes>()->from, Address{100});
}

TEST(Stream, ALeaderShipsWhatItIsFlushingInParallel) {
  Driven core = leading();
  core.caught_up(kTwo);
  core.flushing(200);
  ASSERT_NE(core.wants<ShipBytes>(), nullptr);
  EXPECT_EQ(core.wants<ShipBytes>()->from, Address{100});
  EXPECT_TRUE(core.wants<ShipBytes>()->flushing);
}

/// Two of three have it; but then the leader would serve what it does not have itself.
TEST(Stream, WhatOthersHaveDurableFirstIsCommittedOnceTheLeaderHasIt) {
  Driven core = leading();
  core.caught_up(kTwo);
  core.caught_up(kThree);
  core.flushing(200);
  for (const NodeId peer : {kTwo, kThree}) {
    core.feed(Shipped{peer, Address{100}, Address{200}, Address{200}});
    core.acknowledge(peer, 200);
    EXPECT_EQ(core.sent<Refuse>(peer), nullptr);
  }
  EXPECT_EQ(core.state().committed, Address{100});
  core.durable(200, Epoch{5});
  EXPECT_EQ(core.state().committed, Address{200});
}

/// A lag in time begins with what the follower does not have, not with what it had long ago.
TEST(Stream, TimeInWhichNothingIsWrittenIsNoLag) {
  Driven core = leading(two_epochs());
  core.subscribe(kTwo, 500, Epoch{3});
  core.acknowledge(kTwo, core.state().log.durable.value);
  const auto passed = [&] { return core.state().followers.at(kTwo).passed_time; };
  core.pass(milliseconds(100));
  const auto before = passed();
  core.pass(milliseconds(900));
  EXPECT_EQ(passed() - before, milliseconds(900)) << "it has everything, and nothing was written";
  core.durable(core.state().log.durable.value + 100, Epoch{5});
  core.pass(milliseconds(400));
  EXPECT_EQ(passed() - before, milliseconds(900)) << "what was written then it does not have";
}

/// Whoever acknowledges more than he can have got has another log.
TEST(Stream, AnAcknowledgementBeyondWhatIsBeingFlushedIsRefused) {
  Driven core = leading();
  core.caught_up(kTwo);
  core.flushing(200);
  core.acknowledge(kTwo, 201);
  ASSERT_NE(core.sent<Refuse>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kTwo)->reason, RefusalReason::kLogDiverges);
}

/// It had it from this leader before its connection broke.
TEST(Stream, AFollowerAheadOfItsLeadersDiskIsAcceptedWhereItStands) {
  Driven core = leading();
  core.caught_up(kTwo);
  core.flushing(200);
  core.feed(Shipped{kTwo, Address{100}, Address{200}, Address{200}});
  core.feed(PeerDisconnected{kTwo});
  core.feed(PeerConnected{kTwo});
  core.subscribe(kTwo, 200, Epoch{5});
  ASSERT_NE(core.sent<Accept>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Accept>(kTwo)->start, Address{200});
}

/// It crashed after it had shipped more than its disk had; another leads, without that tail.
TEST(Stream, ATailThatOnlyAFollowerOfTheLeaderBeforeHasIsCut) {
  Driven core = leading(log_of(64, 500, {{Epoch{3}, Address{64}}}));
  core.subscribe(kTwo, 560, Epoch{3});
  ASSERT_NE(core.sent<Diverges>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Diverges>(kTwo)->end, Address{500});
}

/// Its bytes are on their way to the disk still; whatever it said of them as a leader.
TEST(Stream, WhatALeaderShippedIsNotDurableBecauseItLeadsNoMore) {
  Driven core = leading();
  core.caught_up(kTwo);
  core.flushing(200);
  ASSERT_NE(core.wants<ShipBytes>(), nullptr);
  core.receive(kThree, Seal{Epoch{6}});
  ASSERT_NE(core.state().role, Role::kLeader);
  core.settle();
  core.feed(Shipped{kTwo, Address{100}, Address{200}, Address{200}});
  EXPECT_EQ(core.state().log.durable, Address{100});
}

/// The disk before may have acknowledged what this leader shipped and has not durable yet.
TEST(Stream, ANewDiskGetsItsVoteOnlyWithAllThatWasShippedBefore) {
  Driven core = leading();
  core.caught_up(kThree);
  core.flushing(200);
  core.subscribe(kTwo, 100, Epoch{5}, Vote::kNone, 8);
  const uint64_t round = core.state().round;
  core.acknowledge(kThree, 100, round);
  core.acknowledge(kTwo, 100, round, Vote::kNone);
  EXPECT_EQ(core.sent<GrantVote>(kTwo), nullptr);
  core.acknowledge(kTwo, 200, round, Vote::kNone);
  EXPECT_NE(core.sent<GrantVote>(kTwo), nullptr);
}

TEST(Stream, ANewSubscriptionShipsAgainFromWhereItStands) {
  Driven core = leading();
  core.durable(300, Epoch{5});
  core.subscribe(kTwo, 100, Epoch{5});
  core.feed(Shipped{kTwo, Address{100}, Address{300}, Address{300}});
  core.feed(PeerDisconnected{kTwo});
  core.feed(PeerConnected{kTwo});
  core.subscribe(kTwo, 200, Epoch{5});
  ASSERT_NE(core.wants<ShipBytes>(), nullptr);
  EXPECT_EQ(core.wants<ShipBytes>()->from, Address{200});
}

TEST(Stream, RefusesAnAcknowledgementBeyondItsOwnDurableEnd) {
  Driven core = leading();
  core.caught_up(kTwo);
  core.acknowledge(kTwo, 101);
  ASSERT_NE(core.sent<Refuse>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kTwo)->reason, RefusalReason::kLogDiverges);
  EXPECT_FALSE(core.state().followers.at(kTwo).streaming);
  EXPECT_EQ(core.state().committed, Address{100});
}

TEST(Stream, BytesThatAreNoLongerKeptEndItWithACheckpointNeeded) {
  Driven core = leading();
  core.durable(300, Epoch{5});
  core.subscribe(kTwo, 100, Epoch{5});
  core.feed(ShipFailed{kTwo, true, "below begin"});
  ASSERT_NE(core.sent<Refuse>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kTwo)->reason, RefusalReason::kNeedsCheckpoint);
  EXPECT_FALSE(core.state().followers.at(kTwo).streaming);
}

// ---- What is kept, and for how long one waits. -------------------------------------------------

TEST(Stream, KeepsTheLogForAFollowerUpToTheCapAndNoFurther) {
  Driven core = leading();
  EXPECT_EQ(core.state().followers.at(kTwo).pin, Address{64});  // never heard: all of the log
  core.durable(5064, Epoch{5});
  core.pass(milliseconds(50));
  EXPECT_EQ(core.wants<RemoveAnchor>(), nullptr);
  core.durable(5100, Epoch{5});
  core.pass(milliseconds(50));
  EXPECT_NE(core.wants<RemoveAnchor>(), nullptr);
  EXPECT_TRUE(core.state().followers.at(kTwo).needs_checkpoint);
  EXPECT_FALSE(core.state().followers.at(kTwo).pin);
}

TEST(Stream, APinMovesWithWhatTheFollowerHasDurable) {
  Driven core = leading();
  core.durable(300, Epoch{5});
  core.subscribe(kTwo, 100, Epoch{5});
  EXPECT_EQ(core.state().followers.at(kTwo).pin, Address{100});
  core.acknowledge(kTwo, 200);
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<SetAnchor>(), nullptr);
  EXPECT_EQ(core.wants<SetAnchor>()->address, Address{200});
}

TEST(Stream, TellsEveryMemberFromWhereTheOneFurthestBehindNeedsTheLog) {
  Driven core = leading();
  core.durable(300, Epoch{5});
  core.subscribe(kTwo, 300, Epoch{5});
  core.subscribe(kThree, 100, Epoch{5});
  core.subscribe(kLearner, 300, Epoch{5});
  core.pass(milliseconds(250));
  ASSERT_NE(core.sent<Data>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Data>(kTwo)->keep_from, Address{100});
}

TEST(Stream, SendsHeartbeatsThatTellWhatIsCommitted) {
  Driven core = leading();
  core.caught_up(kTwo);
  core.pass(milliseconds(250));
  ASSERT_NE(core.sent<Data>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Data>(kTwo)->bytes, nullptr);
  EXPECT_EQ(core.sent<Data>(kTwo)->from, Address{100});
  EXPECT_EQ(core.sent<Data>(kTwo)->committed, Address{100});
}

TEST(Stream, TellsAtOnceWhenAllIsCommitted) {
  Driven core = leading();
  core.caught_up(kTwo);
  core.caught_up(kThree);
  core.durable(200, Epoch{5});
  for (const NodeId to : {kTwo, kThree})
    core.feed(Shipped{to, Address{100}, Address{200}, Address{200}});
  core.acknowledge(kTwo, 200);
  ASSERT_NE(core.sent<Data>(kThree), nullptr);
  EXPECT_EQ(core.sent<Data>(kThree)->committed, Address{200});
}

TEST(Stream, GivesUpASilentFollower) {
  Driven core = leading();
  core.caught_up(kTwo);
  core.pass(milliseconds(3000));
  EXPECT_EQ(core.wants<Disconnect>(), nullptr);
  core.pass(milliseconds(1));
  ASSERT_NE(core.wants<Disconnect>(), nullptr);
  EXPECT_EQ(core.wants<Disconnect>()->peer, kTwo);
  EXPECT_FALSE(core.state().followers.at(kTwo).streaming);
}

}  // namespace
}  // namespace tailrace::replication
