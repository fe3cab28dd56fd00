// The core while its members change.

#include <gtest/gtest.h>

#include "driven_core.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;
using Kind = MemberChange::Kind;

/// A leader of epoch 5 with one other voter and the learner at its log's end, 100, all of it
/// committed.
Driven leading_to_change() {
  Driven core(kOne);
  core.lead(Epoch{5});
  core.caught_up(kTwo);
  core.caught_up(kThree);
  return core;
}

/// What was appended last is durable here and on `by`.
void commit(Driven& core, const std::vector<NodeId>& by) {
  const uint64_t end = core.state().log.tail.value;
  core.durable(end, Epoch{5});
  for (const NodeId voter : by)
    core.acknowledge(voter, end);
}

/// Node 5 joins, by a record that is committed.
Driven joined() {
  Driven core = leading_to_change();
  core.feed(PeerConnected{kFive});
  core.ask(Kind::kSet, member_of(kFive));
  core.append_members();
  commit(core, {kTwo, kThree});
  return core;
}

/// And has its vote, close behind.
Driven ready() {
  Driven core = joined();
  core.caught_up(kFive, Vote::kNone);
  core.acknowledge(kTwo, core.state().log.durable.value, core.state().round);
  core.acknowledge(kFive, core.state().log.durable.value, 0, Vote::kFull);
  return core;
}

TEST(Reconfiguration, ANewNodeIsFedFromItsRecordOnAndCountsForNoMajority) {
  Driven core = leading_to_change();
  core.feed(PeerConnected{kFive});
  core.ask(Kind::kSet, member_of(kFive));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  core.append_members();
  EXPECT_NE(core.wants<MembersChanged>(), nullptr);
  EXPECT_NE(core.sent<Leading>(kFive), nullptr);
  EXPECT_EQ(core.sent<Leading>(kFive)->members, core.state().log.tail);
  EXPECT_FALSE(core.state().followers.at(kFive).voter);
  commit(core, {kTwo});
  EXPECT_EQ(core.state().committed, core.state().log.durable);
}

TEST(Reconfiguration, OneChangeAtATime) {
  Driven core = leading_to_change();
  core.ask(Kind::kSet, member_of(kFive));
  core.append_members();
  core.ask(Kind::kRemove, member_of(kThree));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
  const MemberChange next{Kind::kRemove, member_of(kThree)};
  EXPECT_EQ(core.core().after_change(next).error().code, ErrorCode::kUnavailable);
  commit(core, {kTwo});
  core.ask(Kind::kRemove, member_of(kThree));
  EXPECT_NE(core.wants<AppendMembers>(), nullptr);
}

TEST(Reconfiguration, NoneBeforeTheEpochStartRecordIsCommitted) {
  Driven core(kOne);
  core.lead(Epoch{5});
  core.ask(Kind::kSet, member_of(kFive));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
}

TEST(Reconfiguration, WithoutRoomInTheLogNothingHasChangedAndItCanBeAskedAgain) {
  Driven core = leading_to_change();
  core.ask(Kind::kSet, member_of(kFive));
  core.feed(MembersAppended{core.state().log});
  EXPECT_FALSE(core.core().is_member(kFive));
  core.ask(Kind::kSet, member_of(kFive));
  EXPECT_NE(core.wants<AppendMembers>(), nullptr);
}

/// A cluster with a dead voter must not wait for a new one whose word does not count yet.
TEST(Reconfiguration, WhoJoinsGetsItsVoteFirstAndIsAVoterThen) {
  Driven core = joined();
  core.subscribe(kFive, 64, Epoch{0}, Vote::kNone);
  core.pass(milliseconds(50));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
  const uint64_t end = core.state().log.durable.value;
  core.acknowledge(kFive, end, 0, Vote::kNone);
  EXPECT_EQ(core.sent<GrantVote>(kFive), nullptr);  // not before a majority without it confirms
  core.acknowledge(kTwo, end, core.state().round);
  EXPECT_NE(core.sent<GrantVote>(kFive), nullptr);
  core.pass(milliseconds(50));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
  core.acknowledge(kFive, end, 0, Vote::kProvisional);
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  const Member* five = find_member(core.wants<AppendMembers>()->record.members, kFive);
  ASSERT_NE(five, nullptr);
  EXPECT_TRUE(five->voter);
  EXPECT_FALSE(five->joining);
}

/// With a record there is no first start without votes any more, also after a restart.
/// Once it has written down that it is alone, a file that names more voters changes nothing.
TEST(Reconfiguration, ALeaderAloneGetsAVoteAndThenWritesThatItIs) {
  Given given = without_vote();
  given.members = {member_of(kOne)};
  Driven core(kOne, given);
  core.lead(Epoch{5}, {}, Vote::kNone);
  core.pass(milliseconds(50));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
  ASSERT_NE(core.wants<PersistPromise>(), nullptr);
  EXPECT_EQ(core.wants<PersistPromise>()->promise.vote, Vote::kFull);
  core.persist();
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  const MembersRecord& record = core.wants<AppendMembers>()->record;
  EXPECT_EQ(record.cluster_version, kClusterVersion);
  ASSERT_EQ(record.members.size(), 1u);
  EXPECT_EQ(record.members[0].incarnation, 9u);
}

/// Which cluster it is: what is not committed may be gone tomorrow.
TEST(ClusterIdentity, IsDrawnByTheLeaderAndKeptOnceItIsCommitted) {
  Given given;
  given.members = {member_of(kOne)};
  Driven core(kOne, given);
  core.lead(Epoch{5}, {});
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  const ClusterIdentity drawn = core.wants<AppendMembers>()->record.identity;
  EXPECT_TRUE(drawn.known());
  core.append_members();
  EXPECT_EQ(core.wants<PersistPromise>(), nullptr);
  EXPECT_FALSE(core.state().promise.identity.known());
  core.durable(core.log().tail.value, Epoch{5});
  ASSERT_NE(core.wants<PersistPromise>(), nullptr);
  EXPECT_EQ(core.wants<PersistPromise>()->promise.identity, drawn);
  EXPECT_FALSE(core.core().introduction().identity.known()) << "it is not on its disk yet";
  core.persist();
  EXPECT_EQ(core.core().introduction().identity, drawn);
}

TEST(ClusterIdentity, OfTheDiskGoesOnInANewLog) {
  Given given;
  given.members = {member_of(kOne)};
  given.promise.identity = {3, 4};
  Driven core(kOne, given);
  core.lead(Epoch{5}, {});
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  EXPECT_EQ(core.wants<AppendMembers>()->record.identity, (ClusterIdentity{3, 4}));
}

TEST(ClusterIdentity, ALogOfAnotherClusterStopsTheNode) {
  Given given;
  given.members = {member_of(kOne)};
  given.promise.identity = {3, 4};
  Driven core(kOne, given);
  core.lead(Epoch{5}, {});
  core.pass(milliseconds(50));
  MembersRecord other = core.wants<AppendMembers>()->record;
  other.identity = {3, 5};
  core.append_record(other);
  core.feed(MembersAppended{core.log()});
  ASSERT_NE(core.wants<Fatal>(), nullptr);
  EXPECT_NE(core.wants<Fatal>()->message.find("00000000000000030000000000000005"),
            std::string::npos);
}

/// A learner that has not come yet is not waited for; what it knows is not known, so nothing newer
/// is written.
TEST(Reconfiguration, ALeaderThatIsTheOnlyVoterWritesWhoBelongsToIt) {
  Given given = without_vote();
  given.members = {member_of(kOne), member_of(kTwo, false)};
  Driven core(kOne, given);
  core.lead(Epoch{5}, {}, Vote::kNone);
  core.pass(milliseconds(50));
  core.persist();
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  EXPECT_EQ(core.wants<AppendMembers>()->record.cluster_version, 1u);
  EXPECT_EQ(core.wants<AppendMembers>()->record.members.size(), 2u);
}

/// (An adversary stopped a cluster by a node that had been removed, and was promised epochs alone.)
TEST(Reconfiguration, WhoIsNoMemberMovesNoEpoch) {
  Given given = with_log();
  const Members now = {member_of(kOne), member_of(kTwo)};
  given.log = with_members(given.log, {{{Address{100}, Address{200}}, now}});
  given.committed = Address{500};
  Driven follower(kTwo, given);
  follower.receive(kThree, Seal{Epoch{9}, Address{50}});
  ASSERT_NE(follower.sent<Refuse>(kThree), nullptr);
  EXPECT_EQ(follower.sent<Refuse>(kThree)->reason, RefusalReason::kUnknownNode);
  EXPECT_EQ(follower.state().promise.epoch, Epoch{1});
  follower.receive(kThree, Seal{Epoch{9}, Address{300}});
  EXPECT_EQ(follower.state().promise.epoch, Epoch{9}) << "a later record may have added it";

  Driven leader(kOne, given);
  leader.lead(Epoch{5}, {kTwo});
  leader.receive(kThree, Refuse{RefusalReason::kStaleEpoch, Epoch{9}, kThree, ""});
  leader.receive(kThree, Acknowledge{Epoch{9}, Address{500}, {}});
  EXPECT_EQ(leader.state().role, Role::kLeader);
  leader.receive(kTwo, Refuse{RefusalReason::kStaleEpoch, Epoch{9}, kTwo, ""});
  EXPECT_NE(leader.state().role, Role::kLeader) << "a member's word";
}

/// (Found by the simulation: members changed before a majority had its votes, and none could lead.)
TEST(Reconfiguration, NoneBeforeAMajorityHasItsVotes) {
  Driven core(kOne, without_vote());
  core.lead(Epoch{1}, {kTwo, kThree}, Vote::kNone);
  core.caught_up(kTwo, Vote::kNone);
  ASSERT_TRUE(core.state().leadership.serving);
  const MemberChange change{Kind::kSet, member_of(kFive)};
  EXPECT_EQ(core.core().after_change(change).error().code, ErrorCode::kUnavailable);
}

TEST(Reconfiguration, WhoJoinsAndIsFarBehindIsNoVoterYet) {
  Driven core = ready();
  core.enqueue(1000);
  core.durable(core.state().log.durable.value + 1000, Epoch{5});
  core.pass(milliseconds(50));
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
}

TEST(Reconfiguration, TheNewMajorityCountsFromTheRecordOn) {
  Driven core = ready();
  core.pass(milliseconds(50));
  ASSERT_NE(core.wants<AppendMembers>(), nullptr);
  core.append_members();
  const Address before = core.state().committed;
  commit(core, {kTwo});  // two of four
  EXPECT_EQ(core.state().committed, before);
  core.acknowledge(kFive, core.state().log.durable.value);
  EXPECT_EQ(core.state().committed, core.state().log.durable);
}

TEST(Reconfiguration, WhoIsRemovedCountsNoMoreAndIsFedUntilItKnows) {
  Driven core = leading_to_change();
  core.ask(Kind::kRemove, member_of(kThree));
  core.append_members();
  const uint64_t end = core.state().log.tail.value;
  core.durable(end, Epoch{5});
  EXPECT_NE(core.wants<ShipBytes>(), nullptr);
  core.acknowledge(kThree, end);
  EXPECT_LT(core.state().committed.value, end);  // one of two
  core.acknowledge(kTwo, end);
  EXPECT_EQ(core.state().committed.value, end);
  for (const NodeId peer : {kTwo, kThree})
    core.feed(Shipped{peer, Address{100}, Address{end}, Address{end}});
  core.pass(milliseconds(50));  // tells it what is committed
  core.pass(milliseconds(50));
  EXPECT_FALSE(core.state().followers.contains(kThree));
  // It asks again, and hears why not.
  core.subscribe(kThree, end, Epoch{5});
  ASSERT_NE(core.sent<Refuse>(kThree), nullptr);
  EXPECT_EQ(core.sent<Refuse>(kThree)->reason, RefusalReason::kUnknownNode);
}

TEST(Reconfiguration, WhoIsRemovedAndDoesNotListenIsForgotten) {
  Driven core = leading_to_change();
  core.feed(PeerDisconnected{kThree});
  core.ask(Kind::kRemove, member_of(kThree));
  core.append_members();
  core.pass(milliseconds(50));
  EXPECT_FALSE(core.state().followers.contains(kThree));
}

TEST(Reconfiguration, ARemovalThatLeavesNoMajorityOfThoseWhoFollowIsRefused) {
  Driven core = leading_to_change();
  core.feed(PeerDisconnected{kThree});
  const MemberChange removal{Kind::kRemove, member_of(kTwo)};
  EXPECT_EQ(core.core().after_change(removal).error().code, ErrorCode::kFailedPrecondition);
  core.feed(ChangeAsked{removal});
  EXPECT_EQ(core.wants<AppendMembers>(), nullptr);
  const MemberChange of_the_dead{Kind::kRemove, member_of(kThree)};
  EXPECT_TRUE(core.core().after_change(of_the_dead));
}

// ---- Followers. --------------------------------------------------------------------------------

TEST(Reconfiguration, AFollowerGoesByARecordOnceItIsDurableAndACutTakesItBack) {
  Driven core(kTwo, with_log());
  core.follow(kOne, Epoch{2});
  core.receive(kOne,
               Data{Epoch{2}, Address{500}, bytes(kMembersBytes), Address{500}, Address{628}});
  core.drop_tail();  // append_members() puts it there
  Members without_two = three_voters_and_a_learner();
  without_two[1].voter = false;
  core.append_members(without_two);
  core.log_moved();
  EXPECT_EQ(core.state().role, Role::kFollower);
  core.durable(628, Epoch{2});
  EXPECT_EQ(core.state().role, Role::kLearner);
  EXPECT_EQ(core.state().members_record.end, Address{628});
  // The next leader does not have it.
  core.receive(kThree, Leading{Epoch{3}});
  core.settle();
  core.persist();
  core.receive(kThree, Diverges{Epoch{3}, Address{628}, Epoch{1}, Address{500}});
  core.settle();
  EXPECT_EQ(core.state().role, Role::kFollower);
  EXPECT_TRUE(core.state().members_record.empty());
}

TEST(Reconfiguration, AFollowerObeysALeaderWhoseRecordItDoesNotHave) {
  Driven core(kTwo);
  core.feed(PeerConnected{kFive});
  core.receive(kFive, Leading{Epoch{5}});
  ASSERT_NE(core.sent<Refuse>(kFive), nullptr);  // its configuration file says so, and no other's
  core.receive(kFive, Leading{Epoch{5}, Address{900}});
  core.settle();
  core.persist();
  EXPECT_NE(core.sent<Subscribe>(kFive), nullptr);
}

/// It may be a voter by a record that it does not have yet, and be needed.
TEST(Reconfiguration, ALearnerAnswersACandidate) {
  Driven core(kLearner);
  core.receive(kOne, Seal{Epoch{5}});
  core.settle();
  core.persist();
  EXPECT_NE(core.sent<Sealed>(kOne), nullptr);
}

TEST(Reconfiguration, WhomTheLeaderDoesNotKnowKnowsThatAndSeeksNothing) {
  Driven core(kTwo);
  core.receive(kOne, Leading{Epoch{5}});
  core.settle();
  core.persist();
  core.receive(kOne, Refuse{RefusalReason::kUnknownNode, Epoch{5}, kOne, "removed"});
  EXPECT_TRUE(core.state().outsider);
  core.receive(kOne, Leading{Epoch{5}});
  core.pass(milliseconds(3000));
  core.receive(kOne, Accept{Epoch{5}, core.state().log.durable, Address{}});
  EXPECT_FALSE(core.state().outsider);
}

// ---- Candidates. -------------------------------------------------------------------------------

TEST(Reconfiguration, ACandidateNeedsAMajorityOfTheMembersThatItsLogNames) {
  Given given = with_log();
  given.log = with_members(given.log, {{{Address{64}, Address{192}}, five_voters()}});
  Driven core(kOne, given);
  core.feed(PeerConnected{kFive});
  core.seek(Epoch{5});
  core.sealed(kTwo);
  EXPECT_EQ(core.state().role, Role::kCandidate);  // two of three, but of five
  core.sealed(kFive);
  EXPECT_EQ(core.state().role, Role::kLeader);
}

TEST(Reconfiguration, ACandidateNeedsAMajorityOfTheMembersThatItFetches) {
  Driven core(kOne, with_log());
  core.feed(PeerConnected{kFive});
  core.seek(Epoch{5});
  core.sealed(kTwo, Vote::kFull, Epoch{4}, 628);
  ASSERT_NE(core.sent<Subscribe>(kTwo), nullptr);
  core.receive(kTwo, Accept{Epoch{5}, Address{500}, Address{}});
  core.receive(kTwo, Data{Epoch{5}, Address{500}, bytes(kMembersBytes), Address{}, Address{628}});
  core.drop_tail();
  core.append_members(five_voters());
  core.durable(628, Epoch{4});
  EXPECT_EQ(core.state().role, Role::kCandidate);
  EXPECT_NE(core.sent<Seal>(kFive), nullptr);
  core.sealed(kFive, Vote::kFull, Epoch{1}, 500);
  EXPECT_EQ(core.state().role, Role::kLeader);
}

TEST(Reconfiguration, ACandidateThatFetchesItsOwnRemovalGivesUp) {
  Driven core(kOne, with_log());
  core.seek(Epoch{5});
  core.sealed(kTwo, Vote::kFull, Epoch{4}, 628);
  core.receive(kTwo, Accept{Epoch{5}, Address{500}, Address{}});
  core.receive(kTwo, Data{Epoch{5}, Address{500}, bytes(kMembersBytes), Address{}, Address{628}});
  core.drop_tail();
  core.append_members({member_of(kTwo), member_of(kThree)});
  core.durable(628, Epoch{4});
  EXPECT_EQ(core.state().role, Role::kLearner);
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->epoch, Epoch{5});
}

/// A new disk that is being filled passes through the members of long ago. (Found by the
/// simulation: it led alone by a record that had named nobody else.)
TEST(Reconfiguration, ANewDiskNeverLeadsByTheMembersOfLongAgo) {
  Given given = with_log();
  given.promise.vote = Vote::kNone;
  given.log = with_members(given.log, {{{Address{64}, Address{192}}, {member_of(kOne)}}});
  Driven core(kOne, given);
  core.seek(Epoch{5});
  EXPECT_EQ(core.state().role, Role::kCandidate);
}

/// Kept, it would keep all others from leading. (Found by the simulation.)
TEST(Reconfiguration, WhoIsNoVoterGivesAGrantBack) {
  Driven core(kLearner);
  core.feed(Granted{kLearner, Epoch{5}});
  ASSERT_NE(core.wants<Resign>(), nullptr);
  EXPECT_EQ(core.wants<Resign>()->epoch, Epoch{5});
}

TEST(Reconfiguration, ARecordThatCanNotBeReadStopsTheNode) {
  Given given = with_log();
  fasterlog::ConfigurationTable table{{Address{64}, Address{192}, Epoch{1}, {std::byte{9}}}};
  given.log.configurations = std::make_shared<const fasterlog::ConfigurationTable>(table);
  CoreOptions options;
  options.self = kTwo;
  options.members = three_voters_and_a_learner();
  Core core(options);
  std::vector<Action> actions;
  core.step(Started{given.log, given.promise, Address{}, milliseconds(1000)}, actions);
  EXPECT_TRUE(std::ranges::any_of(
      actions, [](const Action& action) { return std::holds_alternative<Fatal>(action); }));
}

}  // namespace
}  // namespace tailrace::replication
