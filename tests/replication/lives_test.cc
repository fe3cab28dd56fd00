// Which life of a disk is believed, and what a new one waits for
// (replication/protocol/disks.cc).

#include <string>

#include <gtest/gtest.h>

#include "disk_support.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

TEST(Lives, ALifeThatWasSeenBeforeIsRefused) {
  Driven core = serving_by_disk(by_disk());
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 4, 30)});
  ASSERT_NE(core.wants<PersistPromise>(), nullptr);
  core.persist();
  core.feed(PeerDisconnected{kThree});
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 4, 31)});
  const Refuse* refused = core.sent<Refuse>(kThree);
  ASSERT_NE(refused, nullptr);
  EXPECT_EQ(refused->reason, RefusalReason::kSeenBefore);
  EXPECT_EQ(refused->life, (Life{kDiskOfThree, 4, 31}));
  core.subscribe(kThree, 228, Epoch{5});
  EXPECT_EQ(core.sent<Accept>(kThree), nullptr);
  // It was alive to hear that, and is another disk now.
  Introduction other = of(kDiskOfThree + 1, 1, 31);
  other.given_up = kDiskOfThree;
  core.feed(PeerConnected{kThree, other});
  core.persist();
  core.subscribe(kThree, 228, Epoch{5}, Vote::kNone, kDiskOfThree + 1);
  EXPECT_NE(core.sent<Accept>(kThree), nullptr);
  // The disk is there twice, or was put back: no run of it is believed any more, nor a later one.
  for (const Life& life : {Life{kDiskOfThree, 4, 30}, Life{kDiskOfThree, 5, 32}}) {
    core.feed(PeerConnected{kThree, of(life.incarnation, life.starts, life.run)});
    core.subscribe(kThree, 228, Epoch{5});
    EXPECT_EQ(core.sent<Accept>(kThree), nullptr);
  }
}

/// The network kept it until the next life had been seen. (An adversary made a disk another one by
/// it, with two honest restarts.)
TEST(Lives, AHelloThatComesLateCostsNoDisk) {
  Driven core(kOne, by_disk());
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 5, 31)});
  core.persist();
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 4, 30)});
  EXPECT_EQ(core.wants<PersistPromise>(), nullptr);
  core.feed(PeerDisconnected{kThree});
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 5, 31)});
  core.seek(Epoch{5});
  sealed_by(core, kThree, kDiskOfThree);
  EXPECT_EQ(core.state().role, Role::kCandidate) << "which of the two lives is not known yet";
  core.pass(milliseconds(3100));
  EXPECT_EQ(core.state().role, Role::kLeader);
}

/// Its hello may have been on its way when it became another disk.
TEST(Lives, WhoIsToldOfADiskThatItHasGivenUpConnectsAnew) {
  Driven core(kOne, by_disk(3));
  const Life life = core.core().own_life();
  core.receive(kTwo, Refuse{RefusalReason::kSeenBefore, Epoch{1}, kNobody, "", life});
  core.persist();
  EXPECT_EQ(core.core().introduction().given_up, kOwnDisk);
  core.receive(kThree, Refuse{RefusalReason::kSeenBefore, Epoch{1}, kNobody, "", life});
  ASSERT_NE(core.wants<Disconnect>(), nullptr);
  EXPECT_EQ(core.wants<Disconnect>()->peer, kThree);
}

TEST(Lives, TheSameLifeAgainAndALaterOneAreTaken) {
  Driven core = serving_by_disk(by_disk());
  for (const Life& life :
       {Life{kDiskOfThree, 4, 30}, Life{kDiskOfThree, 4, 30}, Life{kDiskOfThree, 5, 32}}) {
    core.feed(PeerConnected{kThree, of(life.incarnation, life.starts, life.run)});
    core.persist();
    core.subscribe(kThree, 228, Epoch{5});
    EXPECT_NE(core.sent<Accept>(kThree), nullptr);
  }
}

/// It may be a copy beside its original, which will come back to say so.
TEST(Lives, OneThatComesWhileAnOlderOneIsConnectedCountsNothingForATimeout) {
  Driven core(kOne, by_disk());
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 4, 30)});
  core.persist();
  Introduction beside = of(kDiskOfThree, 5, 31);
  beside.beside = true;
  core.feed(PeerConnected{kThree, beside});
  core.seek(Epoch{5});
  sealed_by(core, kThree, kDiskOfThree);
  EXPECT_EQ(core.state().role, Role::kCandidate);
  core.pass(milliseconds(3100));
  EXPECT_EQ(core.state().role, Role::kLeader);
}

/// The original may lead by the word of another voter: two leaders of one epoch.
TEST(Lives, OneThatMayBeACopyIsNotSealed) {
  Given given = by_disk();
  given.promise.starts = 1;
  Driven core(kOne, given);
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 4, 30)});
  core.persist();
  Introduction beside = of(kDiskOfThree, 5, 31);
  beside.beside = true;
  core.feed(PeerConnected{kThree, beside});
  core.pass(milliseconds(1100));  // the others were heard
  const Seal seal{Epoch{5}, kRecordAt.end, 31};
  core.receive(kThree, seal);
  core.settle();
  core.persist();
  core.receive(kThree, seal);
  EXPECT_EQ(core.sent<Sealed>(kThree), nullptr);
  core.pass(milliseconds(3100));
  core.receive(kThree, seal);
  EXPECT_NE(core.sent<Sealed>(kThree), nullptr);
}

TEST(Lives, WhoIsToldThatItsLifeWasSeenBecomesAnotherDisk) {
  Driven core(kOne, by_disk(3));
  core.receive(kTwo, Refuse{RefusalReason::kSeenBefore, Epoch{1}, kNobody, "", {kOwnDisk, 2, 1}});
  EXPECT_EQ(core.state().promise.incarnation, kOwnDisk) << "said of an earlier life";
  const Life life = core.core().own_life();
  core.receive(kTwo, Refuse{RefusalReason::kSeenBefore, Epoch{1}, kNobody, "", life});
  EXPECT_NE(core.state().promise.incarnation, kOwnDisk);
  EXPECT_EQ(core.state().promise.vote, Vote::kNone);
  EXPECT_EQ(core.state().role, Role::kLearner);
  const uint64_t disk = core.state().promise.incarnation;
  core.persist();
  EXPECT_NE(core.wants<Disconnect>(), nullptr) << "new connections say which disk it is";
  core.receive(kTwo, Refuse{RefusalReason::kSeenBefore, Epoch{1}, kNobody, "", life});
  EXPECT_EQ(core.state().promise.incarnation, disk) << "said twice";
}

/// What a stranger has said as a voter's number makes its disk no better known.
TEST(Lives, OfAVoterOnlyTheDiskThatTheRecordNamesIsKnown) {
  Driven core(kOne, by_disk());
  core.feed(PeerConnected{kThree, of(kDiskOfThree + 1, 1, 30)});
  core.persist();
  const auto known = [&](NodeId node, uint64_t disk) {
    return core.core().acquaintance(node, of(disk, 2, 31));
  };
  EXPECT_EQ(known(kThree, kDiskOfThree + 1), Acquaintance::kMember);
  EXPECT_EQ(known(kThree, kDiskOfThree), Acquaintance::kDisk);
  EXPECT_EQ(known(NodeId{99}, kDiskOfThree), Acquaintance::kStranger);
}

/// Else anybody who has heard a hello could take its vote from every disk.
TEST(Lives, NobodyWhoIsNoMemberSaysThatADiskWasSeenBefore) {
  Driven core(kOne, by_disk(3));
  core.feed(LogMoved{core.log(), Address{}});
  core.receive(kTwo, Leading{Epoch{1}, kRecordAt.end, 0});
  core.settle();
  core.persist();
  core.receive(kTwo, Accept{Epoch{1}, core.state().log.durable, kRecordAt.end});
  core.receive(kTwo,
               Data{Epoch{1}, core.state().log.durable, nullptr, kRecordAt.end, kRecordAt.end});
  ASSERT_GE(core.state().committed, kRecordAt.end);
  core.feed(PeerConnected{NodeId{99}});
  core.receive(NodeId{99},
               Refuse{RefusalReason::kSeenBefore, Epoch{1}, kNobody, "", core.core().own_life()});
  EXPECT_EQ(core.state().promise.incarnation, kOwnDisk);
  core.receive(NodeId{99},
               Refuse{RefusalReason::kUnknownNode, Epoch{9}, NodeId{99}, "you were removed"});
  EXPECT_FALSE(core.state().outsider);
  core.receive(NodeId{99}, TakeOver{core.state().promise.epoch});
  EXPECT_EQ(core.wants<SeekLead>(), nullptr);
  core.receive(kTwo, TakeOver{core.state().promise.epoch});
  EXPECT_NE(core.wants<SeekLead>(), nullptr);
}

TEST(Lives, ALeaderNoticesADiskThatLacksWhatItAcknowledged) {
  Driven core(kOne, by_disk());
  core.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  core.persist();
  core.seek(Epoch{5});
  sealed_by(core, kTwo, kDiskOfTwo);
  core.enqueue_epoch_start();
  core.durable(228, Epoch{5});
  const auto subscribe = [&](uint64_t run, uint64_t end, Epoch last) {
    core.receive(
        kTwo, Subscribe{Epoch{5}, last, Address{64}, Address{end}, kDiskOfTwo, Vote::kFull, run});
  };
  subscribe(20, 228, Epoch{5});
  core.acknowledge(kTwo, 228);
  EXPECT_TRUE(core.state().leadership.serving);
  // A restart, as it seems; but what it acknowledged is gone.
  core.feed(PeerConnected{kTwo, of(kDiskOfTwo, 2, 21)});
  core.persist();
  EXPECT_EQ(core.state().followers.at(kTwo).acknowledged, Address{}) << "of a life that is over";
  subscribe(21, 192, Epoch{1});
  ASSERT_NE(core.sent<Refuse>(kTwo), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kTwo)->reason, RefusalReason::kSeenBefore);
}

// ---- A new life hears the others first. --------------------------------------------------------

/// Node 3, just started: connected to nobody.
struct Newborn {
  explicit Newborn(Given given = by_disk()) {
    CoreOptions options;
    options.self = kThree;
    options.members = given.members;
    options.check_invariants = true;
    given.promise.incarnation = kDiskOfThree;
    core = std::make_unique<Core>(options);
    feed(Started{given.log, given.promise, Address{}, milliseconds(1000), 33});
    feed(LogSettled{given.log});
    log = given.log;
  }
  void feed(const Event& event) {
    actions.clear();
    core->step(event, actions);
    for (const Action& action : std::vector<Action>(actions)) {
      if (const auto* promise = std::get_if<PersistPromise>(&action))
        core->step(PromisePersisted{promise->promise}, actions);
      if (std::holds_alternative<DropAppends>(action)) core->step(LogSettled{log}, actions);
    }
  }
  const Sealed* sealed() const {
    for (const Action& action : actions)
      if (const auto* send = std::get_if<Send>(&action))
        if (const auto* message = std::get_if<Sealed>(&send->message)) return message;
    return nullptr;
  }
  std::unique_ptr<Core> core;
  std::vector<Action> actions;
  LogPosition log;
};

TEST(Hearing, ANewLifeSealsOnlyWhenItHasHeardTheOtherVoters) {
  Newborn three;
  three.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  three.feed(Received{kTwo, Seal{Epoch{6}, kRecordAt.end, 20}, milliseconds(1100)});
  EXPECT_EQ(three.sealed(), nullptr);
  Introduction of_one = of(kOwnDisk, 1, 10);
  of_one.durable = Address{400};
  of_one.last_epoch = Epoch{5};
  three.feed(PeerConnected{kOne, of_one});
  ASSERT_NE(three.sealed(), nullptr);
  EXPECT_EQ(three.sealed()->owed, Address{400});
  EXPECT_EQ(three.sealed()->owed_epoch, Epoch{5});
}

TEST(Hearing, WhoDoesNotAnswerHoldsANewLifeUpForAMomentOnly) {
  Newborn three;
  three.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  three.feed(Received{kTwo, Seal{Epoch{6}, kRecordAt.end, 20}, milliseconds(1100)});
  EXPECT_EQ(three.sealed(), nullptr);
  three.feed(Tick{milliseconds(2000), Address{}});
  EXPECT_NE(three.sealed(), nullptr);
}

TEST(Hearing, APromiseThatOthersTellIsTakenOverWithItsLife) {
  Newborn three;
  Introduction of_one = of(kOwnDisk, 1, 10);
  of_one.promised = Epoch{6};
  of_one.leader = kOne;
  of_one.leader_run = 10;
  three.feed(PeerConnected{kOne, of_one});
  three.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  three.feed(Received{kTwo, Seal{Epoch{6}, kRecordAt.end, 20}, milliseconds(1100)});
  EXPECT_EQ(three.sealed(), nullptr) << "epoch 6 was promised to node 1";
  EXPECT_EQ(three.core->state().promise.leader, kOne);
}

TEST(Hearing, AnEpochThatOthersPromisedToTwoLivesIsLeftToNobody) {
  Newborn three;
  Introduction told = of(kOwnDisk, 1, 10);
  told.promised = Epoch{6};
  told.leader = kOne;
  told.leader_run = 10;
  three.feed(PeerConnected{kOne, told});
  told = of(kDiskOfTwo, 1, 20);
  told.promised = Epoch{6};
  told.leader = kTwo;
  told.leader_run = 20;
  three.feed(PeerConnected{kTwo, told});
  for (const auto& [peer, run] : {std::pair{kOne, 10}, std::pair{kTwo, 20}}) {
    three.feed(Received{peer, Seal{Epoch{6}, kRecordAt.end, static_cast<uint64_t>(run)},
                        milliseconds(1100)});
    EXPECT_EQ(three.sealed(), nullptr);
  }
  three.feed(Received{kTwo, Seal{Epoch{7}, kRecordAt.end, 20}, milliseconds(1100)});
  EXPECT_NE(three.sealed(), nullptr);
}

/// Otherwise a cluster could not go on without the one that told it.
TEST(Hearing, WhatOneThatIsGoneForLongHasToldIsOwedNoMore) {
  Newborn three;
  Introduction of_one = of(kOwnDisk, 1, 10);
  of_one.durable = Address{400};
  of_one.last_epoch = Epoch{5};
  three.feed(PeerConnected{kOne, of_one});
  three.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  three.feed(PeerDisconnected{kOne});
  three.feed(Received{kTwo, Seal{Epoch{6}, kRecordAt.end, 20}, milliseconds(1100)});
  ASSERT_NE(three.sealed(), nullptr);
  EXPECT_EQ(three.sealed()->owed, Address{400});
  three.feed(Tick{milliseconds(14000), Address{}});
  EXPECT_EQ(three.sealed(), nullptr);
  three.feed(Tick{milliseconds(17000), Address{}});
  ASSERT_NE(three.sealed(), nullptr) << "said anew";
  EXPECT_EQ(three.sealed()->owed, Address{});
}

TEST(Hearing, AWordThatOwesCountsOnlyForALogThatHoldsWhatIsOwed) {
  Driven core(kOne, by_disk());
  core.seek(Epoch{5});
  sealed_by(core, kTwo, kDiskOfTwo, Epoch{1}, Address{193});
  EXPECT_EQ(core.state().role, Role::kCandidate);
  sealed_by(core, kTwo, kDiskOfTwo, Epoch{2}, Address{100});
  EXPECT_EQ(core.state().role, Role::kCandidate) << "of an epoch that this log does not know";
  sealed_by(core, kTwo, kDiskOfTwo, Epoch{1}, Address{192});
  EXPECT_EQ(core.state().role, Role::kLeader);
}

}  // namespace
}  // namespace tailrace::replication
