// A follower that feeds a learner, and the learner's choice of whom it takes its stream from; one
// rule a test.

#include <gtest/gtest.h>

#include "driven_core.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

/// Node 2, a voter that follows node 1 in epoch 2, with the log of epoch 1 up to 500.
Driven relay() {
  Driven core(kTwo, with_log());
  core.follow(kOne, Epoch{2});
  return core;
}

Data heartbeat(uint64_t at, nanoseconds echo, nanoseconds age, Address keep_from = {}) {
  Data data;
  data.epoch = Epoch{2};
  data.from = data.committed = Address{at};
  data.echo = echo;
  data.age = age;
  data.keep_from = keep_from;
  return data;
}

/// Node 4, a learner with upstream 2, has heard that node 1 leads epoch 2.
Driven learner() {
  Given given = with_log();
  given.upstream = kTwo;
  Driven core(kLearner, given);
  core.receive(kOne, Leading{Epoch{2}});
  core.settle();
  core.persist();
  return core;
}
Driven fed_learner() {
  Driven core = learner();
  core.receive(kTwo, Accept{Epoch{2}, Address{500}, Address{}});
  return core;
}

// ---- The relay. --------------------------------------------------------------------------------

TEST(Relay, FeedsALearnerInTheEpochInWhichItsSourceHasAcceptedIt) {
  Driven core = relay();
  core.subscribe(kLearner, 300, Epoch{1});
  ASSERT_NE(core.sent<Accept>(kLearner), nullptr);
  EXPECT_EQ(core.sent<Accept>(kLearner)->epoch, Epoch{2});
  ASSERT_NE(core.wants<ShipBytes>(), nullptr);
  EXPECT_EQ(core.wants<ShipBytes>()->peer, kLearner);
  EXPECT_EQ(core.wants<ShipBytes>()->from, Address{300});
}

TEST(Relay, FeedsNobodyBeforeItsOwnSourceHasAcceptedIt) {
  Driven core(kTwo, with_log());
  core.receive(kOne, Leading{Epoch{2}});
  core.settle();
  core.persist();
  core.subscribe(kLearner, 300, Epoch{1});
  EXPECT_EQ(core.sent<Accept>(kLearner), nullptr);
  EXPECT_NE(core.sent<Refuse>(kLearner), nullptr);
}

TEST(Relay, FeedsNoVoterWhoseWordTheLeaderHasToHear) {
  Driven core = relay();
  core.subscribe(kThree, 300, Epoch{1});
  EXPECT_EQ(core.sent<Accept>(kThree), nullptr);
  EXPECT_NE(core.sent<Refuse>(kThree), nullptr);
}

TEST(Relay, ALearnerThatHasMoreIsSentAwayAndNotCalledDiverged) {
  Driven core = relay();
  core.subscribe(kLearner, 700, Epoch{1});
  EXPECT_EQ(core.sent<Diverges>(kLearner), nullptr);
  ASSERT_NE(core.sent<Refuse>(kLearner), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kLearner)->reason, RefusalReason::kNotLeader);
}

TEST(Relay, ALearnerWhoseLogDiffersLearnsWhereTheCommonEpochEnds) {
  Given given = with_log();
  given.log = log_of(64, 500, {{Epoch{1}, Address{64}}, {Epoch{3}, Address{300}}});
  given.promise.epoch = Epoch{3};
  Driven core(kTwo, given);
  core.follow(kOne, Epoch{4});
  core.subscribe(kLearner, 400, Epoch{2});
  ASSERT_NE(core.sent<Diverges>(kLearner), nullptr);
  EXPECT_EQ(core.sent<Diverges>(kLearner)->last_epoch, Epoch{1});
  EXPECT_EQ(core.sent<Diverges>(kLearner)->end, Address{300});
}

TEST(Relay, PassesOnHowOldItsNewsIs) {
  Driven core = relay();
  const nanoseconds echo = core.now();
  core.subscribe(kLearner, 500, Epoch{1});
  core.pass(milliseconds(100));
  core.receive(kOne, heartbeat(500, echo, milliseconds(10)));
  core.acknowledge(kLearner, 500);
  core.pass(milliseconds(250));
  const auto* told = core.sent<Data>(kLearner);
  ASSERT_NE(told, nullptr);
  // Sure as of 10 ms before `echo`, which is 350 ms ago.
  EXPECT_EQ(told->age, milliseconds(360));
  EXPECT_GT(told->echo.count(), 0);
}

TEST(Relay, SaysNothingOfFreshnessBeforeItHasHeardOfAny) {
  Driven core = relay();
  core.subscribe(kLearner, 500, Epoch{1});
  core.acknowledge(kLearner, 500);
  core.pass(milliseconds(250));
  ASSERT_NE(core.sent<Data>(kLearner), nullptr);
  EXPECT_EQ(core.sent<Data>(kLearner)->echo.count(), 0);
}

TEST(Relay, PassesOnFromWhereTheLogIsNeeded) {
  Driven core = relay();
  core.receive(kOne, heartbeat(500, nanoseconds(0), nanoseconds(0), Address{300}));
  core.subscribe(kLearner, 500, Epoch{1});
  core.pass(milliseconds(250));
  ASSERT_NE(core.sent<Data>(kLearner), nullptr);
  EXPECT_EQ(core.sent<Data>(kLearner)->keep_from, Address{300});
}

TEST(Relay, KeepsTheLogForTheLearnerThatItFeeds) {
  Driven core = relay();
  core.subscribe(kLearner, 300, Epoch{1});
  ASSERT_NE(core.wants<SetAnchor>(), nullptr);
  EXPECT_EQ(core.wants<SetAnchor>()->peer, kLearner);
  EXPECT_EQ(core.wants<SetAnchor>()->address, Address{300});
}

TEST(Relay, WithoutItsSourceItSendsTheLearnerAway) {
  Driven core = relay();
  core.subscribe(kLearner, 500, Epoch{1});
  core.pass(milliseconds(3100));
  EXPECT_NE(core.sent<Refuse>(kLearner), nullptr);
  EXPECT_NE(core.wants<RemoveAnchor>(), nullptr);
  EXPECT_TRUE(core.state().followers.empty());
}

TEST(Relay, ANewEpochEndsWhatItFeeds) {
  Driven core = relay();
  core.subscribe(kLearner, 500, Epoch{1});
  core.receive(kThree, Seal{Epoch{3}});
  EXPECT_TRUE(core.state().followers.empty());
}

// ---- The learner. ------------------------------------------------------------------------------

TEST(RelayedLearner, SubscribesToItsUpstream) {
  Driven core = learner();
  EXPECT_NE(core.sent<Subscribe>(kTwo), nullptr);
  EXPECT_EQ(core.state().following.source, kTwo);
  EXPECT_EQ(core.state().leader, kOne);
}

TEST(RelayedLearner, WhoseUpstreamLeadsIsFedByTheLeader) {
  Given given = with_log();
  given.upstream = kTwo;
  Driven core(kLearner, given);
  core.receive(kTwo, Leading{Epoch{2}});
  core.settle();
  core.persist();
  EXPECT_EQ(core.state().following.source, kTwo);
  core.pass(milliseconds(20000));
  EXPECT_EQ(core.state().following.source, kTwo);
}

TEST(RelayedLearner, TellsTheLeaderHowFarItIs) {
  Driven core = fed_learner();
  const auto* told = core.sent<Acknowledge>(kOne);
  ASSERT_NE(told, nullptr);
  EXPECT_EQ(told->relayed_by, kTwo);
  EXPECT_EQ(told->durable, Address{500});
  EXPECT_NE(core.sent<Acknowledge>(kTwo), nullptr);
}

TEST(RelayedLearner, HearingTheLeaderAgainDoesNotDisturbItsStream) {
  Driven core = fed_learner();
  core.pass(milliseconds(500));
  core.receive(kOne, Leading{Epoch{2}});
  EXPECT_TRUE(core.state().following.streaming);
  EXPECT_EQ(core.sent<Subscribe>(kTwo), nullptr);
}

TEST(RelayedLearner, TakesNoBytesFromWhoIsNotItsSource) {
  Driven core = fed_learner();
  Data data = heartbeat(500, nanoseconds(0), nanoseconds(0));
  data.bytes = bytes(36);
  core.receive(kOne, data);
  EXPECT_EQ(core.wants<AppendRaw>(), nullptr);
  core.receive(kTwo, data);
  EXPECT_NE(core.wants<AppendRaw>(), nullptr);
}

TEST(RelayedLearner, GoesToTheLeaderWhenItsUpstreamFeedsItNoMore) {
  Driven core = fed_learner();
  core.feed(PeerDisconnected{kTwo});
  core.pass(milliseconds(100));
  EXPECT_EQ(core.state().following.source, kTwo);
  core.pass(milliseconds(3100));
  EXPECT_EQ(core.state().following.source, kOne);
  EXPECT_NE(core.sent<Subscribe>(kOne), nullptr);
}

TEST(RelayedLearner, GoesToTheLeaderAtOnceForWhatItsUpstreamNoLongerHas) {
  Driven core = learner();
  core.receive(kTwo, Refuse{RefusalReason::kNeedsCheckpoint, Epoch{2}, kOne, "too old"});
  EXPECT_EQ(core.state().following.source, kOne);
  EXPECT_NE(core.sent<Subscribe>(kOne), nullptr);
  EXPECT_EQ(core.wants<FetchCheckpoint>(), nullptr);
}

TEST(RelayedLearner, TriesItsUpstreamAgainAndGivesItLittleTimeWhileTheLeaderWouldFeedIt) {
  Driven core = learner();
  core.pass(milliseconds(3100));
  ASSERT_EQ(core.state().following.source, kOne);
  core.receive(kOne, Accept{Epoch{2}, Address{500}, Address{}});
  core.pass(milliseconds(20000));
  EXPECT_EQ(core.state().following.source, kOne);
  core.receive(kOne, Leading{Epoch{2}});
  core.receive(kOne, Accept{Epoch{2}, Address{500}, Address{}});
  core.pass(milliseconds(12000));
  core.receive(kOne, Accept{Epoch{2}, Address{500}, Address{}});
  core.pass(milliseconds(1));
  EXPECT_EQ(core.state().following.source, kTwo);
  core.pass(milliseconds(500));
  EXPECT_EQ(core.state().following.source, kOne);
}

TEST(RelayedLearner, GoesToItsUpstreamWhenTheLeaderIsOutOfReach) {
  Driven core = learner();
  core.pass(milliseconds(3100));
  ASSERT_EQ(core.state().following.source, kOne);
  core.feed(PeerDisconnected{kOne});
  core.pass(milliseconds(3100));
  EXPECT_EQ(core.state().following.source, kTwo);
}

// ---- The leader. -------------------------------------------------------------------------------

TEST(LeaderOfARelayedLearner, KeepsTheLogForItAndShipsItNothing) {
  Driven core(kOne);
  core.lead(Epoch{5});
  core.caught_up(kTwo);
  core.receive(kLearner, Acknowledge{Epoch{5}, Address{64}, Address{64}, 0, core.now(), Vote::kNone,
                                     9, kTwo});
  EXPECT_EQ(core.state().followers.at(kLearner).pin, Address{64});
  EXPECT_TRUE(core.core().hears_relayed(core.state().followers.at(kLearner)));
  core.pass(milliseconds(250));
  EXPECT_EQ(core.sent<Leading>(kLearner), nullptr);
  EXPECT_EQ(core.sent<Data>(kLearner), nullptr);
  core.pass(milliseconds(3100));
  EXPECT_NE(core.sent<Leading>(kLearner), nullptr) << "silent: it may have lost its upstream";
}

TEST(LeaderOfARelayedLearner, StopsItsOwnStreamOnceAnUpstreamFeedsIt) {
  Driven core(kOne);
  core.lead(Epoch{5});
  core.caught_up(kLearner, Vote::kNone);
  ASSERT_TRUE(core.state().followers.at(kLearner).streaming);
  core.receive(kLearner, Acknowledge{Epoch{5}, Address{100}, Address{64}, 0, core.now(),
                                     Vote::kNone, 7, kTwo});
  EXPECT_FALSE(core.state().followers.at(kLearner).streaming);
  core.durable(300, Epoch{5});
  EXPECT_EQ(core.wants<ShipBytes>(), nullptr);
}

/// Of a new disk it hears first by an upstream: what the disk before had is nothing that it lost.
TEST(LeaderOfARelayedLearner, DoesNotTakeANewDiskForOneThatWasPutBack) {
  Driven core(kOne);
  core.lead(Epoch{5});
  const auto comes = [&](uint64_t disk, uint64_t run) {
    Introduction said;
    said.version = kClusterVersion;
    said.life = {disk, 1, run};
    core.feed(PeerConnected{kLearner, said});
  };
  const auto subscribe = [&](uint64_t disk, uint64_t run, Epoch last, uint64_t end) {
    core.receive(kLearner,
                 Subscribe{Epoch{5}, last, Address{64}, Address{end}, disk, Vote::kNone, run});
  };
  comes(7, 40);
  subscribe(7, 40, Epoch{5}, 100);
  core.acknowledge(kLearner, 100, 0, Vote::kNone);
  core.receive(kLearner, Acknowledge{Epoch{5}, Address{64}, Address{64}, 0, core.now(), Vote::kNone,
                                     8, kTwo});
  comes(8, 41);
  subscribe(8, 41, Epoch{0}, 64);
  EXPECT_EQ(core.sent<Refuse>(kLearner), nullptr);
  EXPECT_NE(core.sent<Accept>(kLearner), nullptr);
}

TEST(LeaderOfARelayedLearner, CountsNoVoterBySuchAWord) {
  Driven core(kOne);
  core.lead(Epoch{5});
  core.receive(kTwo, Acknowledge{Epoch{5}, Address{100}, Address{64}, 0, core.now(), Vote::kFull, 9,
                                 kThree});
  EXPECT_FALSE(core.state().leadership.serving);
}

}  // namespace
}  // namespace tailrace::replication
