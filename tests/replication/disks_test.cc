// Which disk speaks for a number, and in which of its lives (replication/protocol/disks.cc).

#include <string>

#include <gtest/gtest.h>

#include "driven_core.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kOwnDisk = 9, kDiskOfTwo = 7, kDiskOfThree = 7;
constexpr AddressRange kRecordAt{Address{64}, Address{192}};

Members voters_with_disks() {
  Members members = {member_of(kOne), member_of(kTwo), member_of(kThree)};
  members[0].incarnation = kOwnDisk;
  members[1].incarnation = kDiskOfTwo;
  members[2].incarnation = kDiskOfThree;
  return members;
}

/// A log [64, 192) of epoch 1 that is a record of these members.
LogPosition log_with(const Members& members, uint32_t version = kClusterVersion) {
  LogPosition log = log_of(64, 192, {{Epoch{1}, Address{64}}});
  fasterlog::ConfigurationTable table;
  MembersRecord record{members, version};
  if (version >= kIdentityVersion) record.identity = {1, 2};
  table.push_back({kRecordAt.first, kRecordAt.end, Epoch{1}, encode_members(record)});
  log.configurations = std::make_shared<const fasterlog::ConfigurationTable>(std::move(table));
  return log;
}

Given by_disk(uint64_t starts = 1) {
  Given given;
  given.members = {member_of(kOne), member_of(kTwo), member_of(kThree)};
  given.log = log_with(voters_with_disks());
  given.promise.epoch = Epoch{1};
  given.promise.starts = starts;
  return given;
}

Introduction of(uint64_t incarnation, uint64_t starts, uint64_t run) {
  Introduction result;
  result.version = kClusterVersion;
  result.life = {incarnation, starts, run};
  return result;
}

void sealed_by(Driven& core, NodeId voter, uint64_t incarnation, Epoch owed_epoch = {},
               Address owed = {}) {
  core.receive(voter, Sealed{core.state().epoch, Epoch{1}, Address{64}, Address{192}, incarnation,
                             Vote::kFull, owed_epoch, owed});
}

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

/// Leads epoch 5 by node 2's word; both have the epoch-start record.
Driven serving_by_disk(Given given) {
  Driven core(kOne, std::move(given));
  core.seek(Epoch{5});
  sealed_by(core, kTwo, kDiskOfTwo);
  core.enqueue_epoch_start();
  core.durable(228, Epoch{5});
  core.subscribe(kTwo, 228, Epoch{5}, Vote::kFull, kDiskOfTwo);
  core.acknowledge(kTwo, 228);
  EXPECT_TRUE(core.state().leadership.serving);
  return core;
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

// ---- The version of the cluster. ---------------------------------------------------------------

Driven leads_version_1() {
  Given given;
  given.members = {member_of(kOne), member_of(kTwo), member_of(kThree)};
  Driven core(kOne, given);
  core.lead(Epoch{5});
  core.caught_up(kTwo);
  core.caught_up(kThree);
  return core;
}

TEST(ClusterVersion, IsRaisedWhenAllMembersKnowIt) {
  Driven core = leads_version_1();
  core.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  core.caught_up(kTwo);
  core.pass(milliseconds(50));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr) << "node 3 has not said that it knows it";
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 1, 30)});
  core.caught_up(kThree);
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  const MembersRecord record = core.wants<AppendMembers>()->record;
  EXPECT_EQ(record.cluster_version, kClusterVersion);
  EXPECT_EQ(record.members[0].incarnation, kOwnDisk);
  EXPECT_EQ(record.members[1].incarnation, kDiskOfTwo);
  EXPECT_EQ(record.members[2].incarnation, kDiskOfThree);
  core.append_members();
  EXPECT_EQ(core.state().cluster_version, kClusterVersion);
}

TEST(ClusterVersion, IsRaisedToTheNewestThatAllMembersKnow) {
  Driven core = leads_version_1();
  core.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  core.caught_up(kTwo);
  Introduction older = of(kDiskOfThree, 1, 30);
  older.version = 2;
  core.feed(PeerConnected{kThree, older});
  core.caught_up(kThree);
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  EXPECT_EQ(core.wants<AppendMembers>()->record.cluster_version, 2u);
}

/// Whoever has the vote keeps it, whichever disk is connected: to give it to another one takes two
/// records.
TEST(ClusterVersion, ARaiseFromVersion2GivesNoVotes) {
  Given given = by_disk();
  given.log = log_with(voters_with_disks(), 2);
  Driven core = serving_by_disk(given);
  core.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  core.feed(PeerConnected{kThree, of(kDiskOfThree + 1, 1, 30)});
  core.subscribe(kThree, 228, Epoch{5}, Vote::kFull, kDiskOfThree + 1);
  core.acknowledge(kThree, 228);
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  const MembersRecord record = core.wants<AppendMembers>()->record;
  EXPECT_EQ(record.cluster_version, kClusterVersion);
  EXPECT_EQ(record.members, voters_with_disks());
}

TEST(ClusterVersion, IsNotRaisedWhileADiskHasNoVote) {
  Driven core = leads_version_1();
  core.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  core.caught_up(kTwo);
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 1, 30)});
  core.caught_up(kThree, Vote::kProvisional);
  core.pass(milliseconds(50));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
}

TEST(ClusterVersion, FromVersion2OnStartsAreCounted) {
  Driven core(kOne, by_disk(0));
  EXPECT_EQ(core.state().promise.starts, 1u);
}

// ---- Lives. ------------------------------------------------------------------------------------

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
