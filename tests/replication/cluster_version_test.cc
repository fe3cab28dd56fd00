// When a cluster goes over to a newer version (core/cluster_version.h).

#include <gtest/gtest.h>

#include "disk_support.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

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

/// A cluster of version 2 whose nodes are upgraded; it waits for ten seconds.
Driven upgraded_from_2(uint32_t most = kClusterVersion) {
  Given given = by_disk();
  given.log = log_with(voters_with_disks(), 2);
  given.finalize_after = milliseconds(10000);
  given.most_cluster_version = most;
  Driven core = serving_by_disk(given);
  core.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 1, 30)});
  core.caught_up(kTwo);
  core.caught_up(kThree);
  core.pass(milliseconds(50));
  return core;
}

/// So long the program of before can be put back on any of them.
TEST(ClusterVersion, IsRaisedOnceAllHaveKnownItForLongEnough) {
  Driven core = upgraded_from_2();
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
  EXPECT_EQ(core.state().leadership.known_version, kClusterVersion);
  core.pass(milliseconds(9900));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
  core.pass(milliseconds(150));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  EXPECT_EQ(core.wants<AppendMembers>()->record.cluster_version, kClusterVersion);
}

TEST(ClusterVersion, TheTimeBeginsAnewWhenAMemberHasItsOldProgramAgain) {
  Driven core = upgraded_from_2();
  core.pass(milliseconds(9000));
  core.feed(PeerDisconnected{kThree});
  Introduction older = of(kDiskOfThree, 2, 31);
  older.version = 2;
  core.feed(PeerConnected{kThree, older});
  core.pass(milliseconds(5000));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
  core.feed(PeerDisconnected{kThree});
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 3, 32)});
  core.pass(milliseconds(50));
  core.pass(milliseconds(9900));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
  core.pass(milliseconds(150));
  EXPECT_NE(core.wants<AppendMembers>(), nullptr);
}

TEST(ClusterVersion, AMemberThatIsNotConnectedIsWaitedFor) {
  Driven core = upgraded_from_2();
  core.feed(PeerDisconnected{kThree});
  core.pass(milliseconds(20000));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr) << "it may come back with its old program";
}

TEST(ClusterVersion, IsHeldByTheConfiguration) {
  Driven core = upgraded_from_2(3);
  core.pass(milliseconds(10050));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  EXPECT_EQ(core.wants<AppendMembers>()->record.cluster_version, 3u);
  Driven held = upgraded_from_2(1);
  held.pass(milliseconds(10050));
  EXPECT_EQ(held.wants<AppendMembers>(), nullptr) << "and is never lowered";
}

TEST(ClusterVersion, ANodeThatIsAloneSaysItAtOnce) {
  Given given;
  given.members = {member_of(kOne)};
  given.finalize_after = milliseconds(600000);
  Driven core(kOne, given);
  core.seek(Epoch{5});
  core.enqueue_epoch_start();
  core.durable(100, Epoch{5});
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  EXPECT_EQ(core.wants<AppendMembers>()->record.cluster_version, kClusterVersion);
}

/// Its first record was of version 1, for the learner had not said yet what it knows.
TEST(ClusterVersion, ALearnerThatComesLateToANewClusterIsNotWaitedForTenMinutes) {
  Given given;
  given.members = {member_of(kOne), member_of(kTwo, false)};
  given.finalize_after = milliseconds(600000);
  Driven core(kOne, given);
  core.feed(PeerDisconnected{kTwo});
  core.lead(Epoch{5});
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  EXPECT_EQ(core.wants<AppendMembers>()->record.cluster_version, 1u);
  core.append_members();
  core.durable(core.core().state().log.tail.value, Epoch{5});
  core.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  EXPECT_EQ(core.wants<AppendMembers>()->record.cluster_version, kClusterVersion);
}

/// A log without a record that says a version was written by no release.
TEST(ClusterVersion, AYoungClusterDoesNotWait) {
  Given given;
  given.members = {member_of(kOne), member_of(kTwo), member_of(kThree)};
  given.finalize_after = milliseconds(600000);
  Driven core(kOne, given);
  core.lead(Epoch{5});
  core.feed(PeerConnected{kTwo, of(kDiskOfTwo, 1, 20)});
  core.feed(PeerConnected{kThree, of(kDiskOfThree, 1, 30)});
  core.caught_up(kTwo);
  core.caught_up(kThree);
  core.pass(milliseconds(50));
  EXPECT_NE(core.wants<AppendMembers>(), nullptr);
}

}  // namespace
}  // namespace tailrace::replication
