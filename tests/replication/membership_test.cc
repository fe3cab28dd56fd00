// Members as a record holds them, and what a change makes of them.

#include "replication/protocol/membership.h"

#include <gtest/gtest.h>

#include "core/bytes.h"
#include "driven_core.h"

namespace tailrace::replication {
namespace {

Members some_members() {
  Members members = three_voters_and_a_learner();
  members[3].joining = true;
  return members;
}

/// Of cluster version 1.
std::vector<std::byte> encode_members(const Members& members) {
  return replication::encode_members({members, 1});
}

MembersRecord some_record() {
  MembersRecord record{some_members(), 2};
  for (Member& member : record.members)
    if (member.voter) member.incarnation = 70 + member.id.value;
  return record;
}

TEST(MembersRecord, GivesBackWhatWasPutIn) {
  const Result<MembersRecord> read = decode_members(encode_members(some_members()));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->members, some_members());
  EXPECT_EQ(read->cluster_version, 1u);
}

TEST(MembersRecord, OfVersion2NamesTheDisksThatVote) {
  const std::vector<std::byte> bytes = replication::encode_members(some_record());
  const Result<MembersRecord> read = decode_members(bytes);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->members, some_record().members);
  EXPECT_EQ(read->cluster_version, 2u);
  EXPECT_EQ(load<uint8_t>(bytes.data()), 2u);         // layout
  EXPECT_EQ(load<uint16_t>(bytes.data() + 1), 4u);    // members
  EXPECT_EQ(load<uint32_t>(bytes.data() + 3), 2u);    // cluster version
  EXPECT_EQ(load<uint32_t>(bytes.data() + 7), 1u);    // the first one's id
  EXPECT_EQ(load<uint8_t>(bytes.data() + 11), 1u);    // a voter
  EXPECT_EQ(load<uint64_t>(bytes.data() + 12), 71u);  // its disk
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_members(ByteSpan(bytes).first(size))) << size;
}

TEST(MembersRecord, FromVersion4OnItSaysWhichClusterItIs) {
  MembersRecord record = some_record();
  record.cluster_version = 4;
  record.identity = {0x0102030405060708, 9};
  const std::vector<std::byte> bytes = replication::encode_members(record);
  const Result<MembersRecord> read = decode_members(bytes);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->members, record.members);
  EXPECT_EQ(read->identity, record.identity);
  EXPECT_EQ(load<uint8_t>(bytes.data()), 3u);  // layout
  EXPECT_EQ(load<uint64_t>(bytes.data() + 7), 0x0102030405060708u);
  EXPECT_EQ(load<uint64_t>(bytes.data() + 15), 9u);
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_members(ByteSpan(bytes).first(size))) << size;
}

TEST(MembersRecord, WithoutTheIdentityThatItsVersionHasIsRefused) {
  const auto refused = [](uint32_t version, ClusterIdentity identity) {
    MembersRecord record = some_record();
    record.cluster_version = version;
    record.identity = identity;
    const auto read = decode_members(replication::encode_members(record));
    return !read && read.error().code == ErrorCode::kCorruption;
  };
  EXPECT_FALSE(refused(4, {1, 0}));
  EXPECT_TRUE(refused(4, {}));
  std::vector<std::byte> bytes = replication::encode_members(some_record());
  store(bytes.data() + 3, uint32_t{4});  // in the layout of before
  EXPECT_EQ(decode_members(bytes).error().code, ErrorCode::kCorruption);
}

TEST(MembersRecord, OfVersion2WithAVoterWithoutADiskIsRefused) {
  MembersRecord record = some_record();
  record.members[1].incarnation = 0;
  EXPECT_EQ(decode_members(replication::encode_members(record)).error().code,
            ErrorCode::kCorruption);
  record = some_record();
  record.members[3].incarnation = 5;  // it has no vote
  EXPECT_EQ(decode_members(replication::encode_members(record)).error().code,
            ErrorCode::kCorruption);
}

TEST(MembersRecord, AClusterOfANewerVersionIsRefused) {
  MembersRecord record = some_record();
  record.cluster_version = kClusterVersion + 1;
  EXPECT_EQ(decode_members(replication::encode_members(record)).error().code,
            ErrorCode::kUnsupported);
}

/// A cluster whose members were never changed goes on by its files' addresses.
TEST(MembersRecord, LeavesAddressesToTheFileUntilTheyAreChanged) {
  MembersRecord record = some_record();
  for (Member& member : record.members)
    member.addresses_in_file = true;
  Members read = decode_members(replication::encode_members(record))->members;
  EXPECT_EQ(read[0].peer_address, "");
  Members moved = three_voters_and_a_learner();
  moved[0].peer_address = "elsewhere";
  fill_addresses(read, moved);
  EXPECT_EQ(read[0].peer_address, "elsewhere");
  EXPECT_EQ(read[1].peer_address, "peer2");
  MemberChange change;
  change.member = {kTwo, true, "new", ""};
  const Members next = changed(read, change, kOne).value();
  EXPECT_FALSE(next[1].addresses_in_file);
  EXPECT_TRUE(next[0].addresses_in_file);
}

TEST(MembersRecord, CutOffOrWithMoreBehindItIsRefused) {
  std::vector<std::byte> bytes = encode_members(some_members());
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_members(ByteSpan(bytes).first(size))) << size;
  bytes.push_back(std::byte{0});
  EXPECT_EQ(decode_members(bytes).error().code, ErrorCode::kCorruption);
}

TEST(MembersRecord, OfANewerVersionSaysSo) {
  std::vector<std::byte> bytes = encode_members(some_members());
  bytes[0] = std::byte{4};
  EXPECT_EQ(decode_members(bytes).error().code, ErrorCode::kUnsupported);
}

TEST(MembersRecord, WithImpossibleMembersIsRefused) {
  const auto refused = [](Members members) {
    const Result<MembersRecord> read = decode_members(encode_members(members));
    return !read && read.error().code == ErrorCode::kCorruption;
  };
  EXPECT_TRUE(refused({}));                                  // nobody votes
  EXPECT_TRUE(refused({member_of(kOne, false)}));            // nobody votes
  EXPECT_TRUE(refused({member_of(kTwo), member_of(kOne)}));  // not ascending
  EXPECT_TRUE(refused({member_of(kOne), member_of(kOne)}));  // twice
  EXPECT_TRUE(refused({member_of(NodeId{0}), member_of(kOne)}));
  std::vector<std::byte> bytes = encode_members({member_of(kOne)});
  bytes[7] = std::byte{3};  // the kind
  EXPECT_FALSE(decode_members(bytes));
}

MemberChange set(Member member) {
  return {MemberChange::Kind::kSet, std::move(member)};
}
MemberChange remove(NodeId id) {
  return {MemberChange::Kind::kRemove, member_of(id)};
}

TEST(MemberChanges, ANewVoterBeginsAsJoiningAndANewLearnerAsOne) {
  const Result<Members> voter = changed(three_voters_and_a_learner(), set(member_of(kFive)), kOne);
  ASSERT_TRUE(voter);
  ASSERT_EQ(voter->size(), 5u);
  EXPECT_TRUE((*voter)[4].joining);
  EXPECT_FALSE((*voter)[4].voter);
  const Result<Members> learner =
      changed(three_voters_and_a_learner(), set(member_of(kFive, false)), kOne);
  ASSERT_TRUE(learner);
  EXPECT_FALSE((*learner)[4].joining);
  EXPECT_FALSE((*learner)[4].voter);
}

TEST(MemberChanges, ALearnerJoinsAndAVoterThatIsSetAgainStaysOne) {
  const Members members = three_voters_and_a_learner();
  EXPECT_TRUE((*changed(members, set(member_of(kLearner)), kOne))[3].joining);
  EXPECT_EQ(*changed(members, set(member_of(kTwo)), kOne), members);
  EXPECT_FALSE((*changed(members, set(member_of(kTwo, false)), kOne))[1].voter);
}

TEST(MemberChanges, AddressesChangeOnlyWhenTheyAreGiven) {
  Member moved{kTwo, true, "elsewhere:1", ""};
  const Result<Members> next = changed(three_voters_and_a_learner(), set(moved), kOne);
  ASSERT_TRUE(next);
  EXPECT_EQ((*next)[1].peer_address, "elsewhere:1");
  EXPECT_EQ((*next)[1].client_address, "client2");
  Member unreachable{kFive, true, "", "c"};
  EXPECT_EQ(changed(three_voters_and_a_learner(), set(unreachable), kOne).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(changed(three_voters_and_a_learner(), set(member_of(NodeId{0})), kOne).error().code,
            ErrorCode::kInvalidArgument);
}

/// A node that no other can reach must not make a cluster unable to commit.
TEST(MemberChanges, ANodeWithoutAPeerListenerStaysAlone) {
  const Members single = {{kOne, true, "", ""}};
  EXPECT_EQ(changed(single, set(member_of(kTwo)), kOne).error().code,
            ErrorCode::kFailedPrecondition);
}

TEST(MemberChanges, RemovingIsDoneOnceAndNotByTheLeaderItself) {
  const Members members = three_voters_and_a_learner();
  const Result<Members> next = changed(members, remove(kThree), kOne);
  ASSERT_TRUE(next);
  EXPECT_EQ(find_member(*next, kThree), nullptr);
  EXPECT_EQ(*changed(*next, remove(kThree), kOne), *next);
  EXPECT_EQ(changed(members, remove(kOne), kOne).error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(changed(members, set(member_of(kOne, false)), kOne).error().code,
            ErrorCode::kFailedPrecondition);
}

TEST(MemberChange, NobodyIsWhereAnotherOneIs) {
  Members members = three_voters_and_a_learner();
  MemberChange change;
  change.kind = MemberChange::Kind::kSet;
  change.member = {kFive, true, "peer1", "client5"};
  const Result<Members> next = changed(members, change, kOne);
  ASSERT_FALSE(next);
  EXPECT_NE(next.error().message.find("peer1, where node 1 is"), std::string::npos)
      << next.error().message;
  change.member = {kTwo, true, "", "client3"};
  EXPECT_FALSE(changed(members, change, kOne)) << "nor is one moved there";
  members[0].peer_address = "host:7201";
  change.member = {kFive, true, "HOST:07201", "client5"};
  EXPECT_FALSE(changed(members, change, kOne)) << "it is written in another way";
  change.member = {kTwo, true, "peer2", "client9"};
  EXPECT_TRUE(changed(members, change, kOne));
}

// The record is read and sent as a whole, and every client is told of its servers.
TEST(MemberChange, ThereAreNotMoreMembersThanNodesCanDealWith) {
  Members members = three_voters_and_a_learner();
  const auto add = [&](uint32_t id) {
    MemberChange change;
    change.kind = MemberChange::Kind::kSet;
    change.member = {NodeId{id}, false, "peer" + std::to_string(id), "client" + std::to_string(id)};
    return changed(members, change, kOne);
  };
  for (uint32_t id = 101; members.size() < 1024; ++id) {
    Member member{NodeId{id}, false, "peer" + std::to_string(id), "client" + std::to_string(id)};
    members.push_back(member);
  }
  const auto next = add(5000);
  ASSERT_FALSE(next);
  EXPECT_EQ(next.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(next.error().message.find("1024"), std::string::npos) << next.error().message;
  MemberChange change;
  change.kind = MemberChange::Kind::kSet;
  change.member = {NodeId{200}, false, "peer-200", ""};
  EXPECT_TRUE(changed(members, change, kOne)) << "those that are there can be changed";
  change.member = {NodeId{200}, false, std::string(70'000, 'p'), ""};
  EXPECT_FALSE(changed(members, change, kOne));
}

}  // namespace
}  // namespace tailrace::replication
