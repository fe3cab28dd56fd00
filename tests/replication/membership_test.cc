// Members as a record holds them, and what a change makes of them.

#include "replication/membership.h"

#include <gtest/gtest.h>

#include "driven_core.h"

namespace tailrace::replication {
namespace {

Members some_members() {
  Members members = three_voters_and_a_learner();
  members[3].joining = true;
  return members;
}

TEST(MembersRecord, GivesBackWhatWasPutIn) {
  const Result<Members> read = decode_members(encode_members(some_members()));
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, some_members());
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
  bytes[0] = std::byte{2};
  EXPECT_EQ(decode_members(bytes).error().code, ErrorCode::kUnsupported);
}

TEST(MembersRecord, WithImpossibleMembersIsRefused) {
  const auto refused = [](Members members) {
    const Result<Members> read = decode_members(encode_members(members));
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

}  // namespace
}  // namespace tailrace::replication
