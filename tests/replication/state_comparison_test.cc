// Comparing states: who differs is found, the right one is blamed, and no answer that is lost, late
// or missing hides it.

#include "replication/state_comparison.h"

#include <gtest/gtest.h>

#include "replication/divergence_file.h"
#include "replication/stall_watch.h"
#include "storage/atomic_file.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::replication {
namespace {

using namespace std::chrono_literals;

const NodeId kOne{1}, kTwo{2}, kThree{3};
const std::set<NodeId> kAll{kOne, kTwo, kThree};
constexpr Epoch kEpoch{7};

StateDigest digest(uint64_t address, uint64_t low) {
  return {Address{address}, 5, low, 10};
}

StateComparison make(uint32_t self, uint32_t voters = 3) {
  ComparisonOptions options;
  options.self = NodeId{self};
  for (uint32_t i = 1; i <= voters; ++i)
    options.voters.insert(NodeId{i});
  options.members = voters;
  options.interval = 60s;
  return StateComparison(options);
}

statemachine::DigestProgress has(const StateDigest& newest, bool moved = false) {
  statemachine::DigestProgress progress;
  progress.newest = newest;
  progress.asked = newest.address;
  progress.took = 1s;
  progress.moved = moved;
  return progress;
}

/// A leader (node 1) and its members, of which each has the digest that is named here.
class Compared : public ::testing::Test {
 protected:
  /// One tick; what is sent is answered by whom it reaches.
  void tick() {
    now_ += 1s;
    leader_.tick(kEpoch, has(own_), now_);
    for (int turn = 0; turn < 2; ++turn) {
      for (const auto& [to, question] : leader_.due(connected_, now_)) {
        ++questions_;
        if (deaf_.contains(to)) continue;
        StateComparison& member = to == kTwo ? two_ : three_;
        const auto& digest = to == kTwo ? of_two_ : of_three_;
        leader_.answered(to, member.answer(question, digest), now_);
      }
    }
  }

  StateComparison leader_ = make(1), two_ = make(2), three_ = make(3);
  StateDigest own_ = digest(100, 1);
  std::optional<StateDigest> of_two_ = digest(100, 1), of_three_ = digest(100, 1);
  std::set<NodeId> connected_ = kAll, deaf_;
  int questions_ = 0;
  std::chrono::nanoseconds now_{1s};
};

TEST_F(Compared, EqualStatesAreSaidToBeEqualAndNobodyIsAskedAgain) {
  tick();
  EXPECT_EQ(leader_.last_compared(), Address{100});
  EXPECT_EQ(two_.last_compared(), Address{100});
  for (const NodeId id : {kTwo, kThree}) {
    EXPECT_EQ(leader_.member(id).last_compared, Address{100});
    EXPECT_FALSE(leader_.member(id).diverged);
  }
  const int asked = questions_;
  for (int i = 0; i < 5; ++i)
    tick();
  EXPECT_EQ(questions_, asked);
  EXPECT_EQ(leader_.mismatches() + two_.mismatches() + three_.mismatches(), 0u);
}

TEST_F(Compared, AMemberThatDiffersKnowsItAndTheLeaderKnowsWhichAndTheOthersAreWell) {
  of_three_ = digest(100, 2);
  tick();
  tick();
  ASSERT_TRUE(three_.divergence());
  EXPECT_EQ(*three_.divergence(), (Divergence{digest(100, 2), digest(100, 1)}));
  EXPECT_TRUE(leader_.member(kThree).diverged);
  ASSERT_TRUE(leader_.member(kThree).divergence);
  EXPECT_EQ(*leader_.member(kThree).divergence, *three_.divergence());
  EXPECT_FALSE(leader_.member(kTwo).diverged);
  EXPECT_FALSE(two_.divergence());
  EXPECT_FALSE(leader_.divergence());
  EXPECT_EQ(leader_.mismatches(), 1u);
  EXPECT_EQ(three_.mismatches(), 1u);
  const std::string text = describe(*three_.divergence());
  EXPECT_NE(text.find("address 100"), std::string::npos) << text;
}

// It stays so: a later digest that happens to agree does not make a state right that was wrong.
TEST_F(Compared, ADivergenceStays) {
  of_three_ = digest(100, 2);
  tick();
  tick();
  own_ = digest(200, 9);
  of_two_ = of_three_ = digest(200, 9);
  tick();
  EXPECT_TRUE(three_.divergence());
  EXPECT_TRUE(leader_.member(kThree).diverged);
  EXPECT_EQ(leader_.member(kThree).last_compared, Address{200});
  // Until there is another disk, which says nothing of the kind.
  three_ = make(3);
  of_three_.reset();
  leader_.connected(kThree);
  tick();
  EXPECT_FALSE(leader_.member(kThree).diverged);
}

// The leader is not right because it leads.
TEST_F(Compared, ALeaderWhoseStateIsTheOnlyOneIsTheOneThatDiverged) {
  own_ = digest(100, 2);
  tick();
  tick();
  ASSERT_TRUE(leader_.divergence());
  EXPECT_EQ(*leader_.divergence(), (Divergence{digest(100, 2), digest(100, 1)}));
  EXPECT_FALSE(two_.divergence());
  EXPECT_FALSE(three_.divergence());
  EXPECT_FALSE(leader_.member(kTwo).diverged);
}

TEST_F(Compared, WhatIsLostIsSentAgainUntilItIsAnswered) {
  of_three_ = digest(100, 2);
  deaf_ = {kTwo, kThree};
  for (int i = 0; i < 5; ++i)
    tick();
  EXPECT_GE(questions_, 8);
  deaf_.clear();
  tick();
  tick();
  EXPECT_TRUE(three_.divergence());
}

// The word that decides may be lost as well.
TEST_F(Compared, WhatWasDecidedIsSaidUntilTheMemberKnowsIt) {
  of_three_ = digest(100, 2);
  now_ += 1s;
  leader_.tick(kEpoch, has(own_), now_);
  for (const auto& [to, question] : leader_.due(connected_, now_))
    leader_.answered(
        to, (to == kTwo ? two_ : three_).answer(question, to == kTwo ? of_two_ : of_three_), now_);
  EXPECT_FALSE(three_.divergence()) << "a question decides nothing";
  deaf_ = {kThree};
  tick();
  EXPECT_FALSE(three_.divergence());
  connected_.erase(kThree);
  tick();
  connected_.insert(kThree);
  leader_.connected(kThree);
  deaf_.clear();
  tick();
  tick();
  EXPECT_TRUE(three_.divergence());
}

// Of two that differ nobody can say which is right: nobody is marked, the leader's is read and the
// other's is not, and who comes back decides.
TEST_F(Compared, WithoutAMajorityNobodyIsMarkedAndWhoComesBackDecides) {
  of_three_ = digest(100, 2);
  connected_.erase(kTwo);
  for (int i = 0; i < 5; ++i) {
    tick();
    EXPECT_FALSE(three_.dispute()) << "node 2 may decide at once";
  }
  for (int i = 0; i < 10; ++i)
    tick();
  EXPECT_TRUE(leader_.disputed());
  ASSERT_TRUE(three_.dispute());
  EXPECT_EQ(*three_.dispute(), (Divergence{digest(100, 2), digest(100, 1)}));
  EXPECT_FALSE(three_.divergence());
  EXPECT_FALSE(leader_.divergence());
  ASSERT_TRUE(leader_.member(kThree).dispute);
  EXPECT_FALSE(leader_.member(kThree).diverged);
  EXPECT_GE(leader_.mismatches(), 1u);
  const int asked = questions_;
  tick();
  EXPECT_EQ(questions_, asked) << "it has said that it knows";
  connected_.insert(kTwo);
  of_two_ = digest(100, 2);
  tick();
  tick();
  EXPECT_FALSE(leader_.disputed());
  EXPECT_TRUE(leader_.divergence()) << "two against one, and the leader is the one";
  EXPECT_FALSE(leader_.member(kThree).dispute);
  tick();
  EXPECT_FALSE(two_.divergence());
  EXPECT_FALSE(three_.divergence());
}

TEST_F(Compared, ADisputeEndsWithTheStatesThatMakeIt) {
  leader_ = make(1, 2);
  connected_ = {kOne, kTwo};
  of_two_ = digest(100, 2);
  tick();
  tick();
  EXPECT_TRUE(leader_.disputed());
  EXPECT_TRUE(two_.dispute());
  EXPECT_FALSE(two_.divergence());
  // Its state was replaced by the leader's, say.
  own_ = digest(200, 7);
  of_two_ = digest(200, 7);
  tick();
  tick();
  EXPECT_FALSE(leader_.disputed());
  EXPECT_FALSE(two_.dispute());
  EXPECT_FALSE(leader_.member(kTwo).dispute);
}

// All three differ: by a restart with another file, say.
TEST_F(Compared, WhereEveryStateDiffersNobodyIsMarkedAndOneGoesOnToBeRead) {
  of_two_ = digest(100, 2);
  of_three_ = digest(100, 3);
  tick();
  tick();
  for (const StateComparison* each : {&leader_, &two_, &three_})
    EXPECT_FALSE(each->divergence());
  EXPECT_FALSE(leader_.dispute());
  EXPECT_TRUE(two_.dispute() && three_.dispute());
  // Another one leads: it is the one that is read.
  two_.tick(Epoch{8}, has(*of_two_), now_);
  EXPECT_FALSE(two_.dispute());
}

// One after the other they would all be marked, by a majority of which one was wrong before.
TEST_F(Compared, AStateThatWasWrongOnceIsNoWitness) {
  of_three_ = digest(100, 2);
  tick();
  tick();
  ASSERT_TRUE(three_.divergence());
  own_ = digest(200, 1);
  of_two_ = of_three_ = digest(200, 2);
  tick();
  tick();
  EXPECT_FALSE(leader_.divergence()) << "node 3 does not count";
  EXPECT_FALSE(two_.divergence());
  EXPECT_TRUE(leader_.disputed());
  EXPECT_TRUE(leader_.member(kThree).diverged);
  EXPECT_FALSE(leader_.member(kThree).dispute);
}

// A leader that is known to be wrong is no measure for the others.
TEST_F(Compared, ADivergedLeaderDisputesNobody) {
  leader_.known_before({digest(50, 1), digest(50, 2)});
  of_two_ = digest(100, 2);
  of_three_ = digest(100, 3);
  tick();
  tick();
  EXPECT_FALSE(leader_.disputed());
  EXPECT_FALSE(two_.dispute() || three_.dispute() || two_.divergence() || three_.divergence());
  EXPECT_EQ(leader_.member(kTwo).last_compared, Address{100}) << "it may be handed the lead";
  EXPECT_FALSE(leader_.member(kTwo).diverged || leader_.member(kTwo).dispute);
}

// A restarted or busy member has nothing to compare: that is no difference.
TEST_F(Compared, WhoHasNoDigestIsNotBlamedAndNotCountedAsCompared) {
  of_three_.reset();
  tick();
  EXPECT_EQ(leader_.member(kThree).last_compared, Address{});
  EXPECT_FALSE(leader_.member(kThree).diverged);
  EXPECT_EQ(leader_.last_compared(), Address{100}) << "two of three agree";
}

TEST_F(Compared, AnswersOfAnotherEpochOrAddressCountForNothing) {
  now_ += 1s;
  leader_.tick(kEpoch, has(own_), now_);
  for (StateCompared answer : {StateCompared{Epoch{6}, Address{100}, true, 5, 2, 10, true},
                               StateCompared{kEpoch, Address{99}, true, 5, 2, 10, true}})
    leader_.answered(kThree, answer, now_);
  EXPECT_FALSE(leader_.member(kThree).diverged);
}

TEST(StateComparison, AsksForDigestsAtALowRateAndOnlyWhenThereIsSomethingToCompare) {
  StateComparison leader = make(1);
  std::chrono::nanoseconds now = 100s;
  statemachine::DigestProgress progress;
  leader.tick(kEpoch, progress, now);
  EXPECT_FALSE(leader.wants_digest(kAll, now + 59s));
  EXPECT_TRUE(leader.wants_digest(kAll, now + 60s));
  now += 60s;
  leader.asked(Address{100}, now);
  leader.tick(kEpoch, progress, now + 100s);
  EXPECT_FALSE(leader.wants_digest(kAll, now + 100s)) << "that one is not even applied";
  progress.asked = Address{100};
  progress.running = true;
  leader.tick(kEpoch, progress, now + 100s);
  EXPECT_FALSE(leader.wants_digest(kAll, now + 100s)) << "it runs";
  progress.running = false;
  progress.newest = digest(100, 1);
  progress.took = 100s;
  now += 100s;
  leader.tick(kEpoch, progress, now);
  EXPECT_FALSE(leader.wants_digest(kAll, now + 399s)) << "rests four times as long as it took";
  EXPECT_TRUE(leader.wants_digest(kAll, now + 400s));
  progress.moved = false;
  leader.tick(kEpoch, progress, now);
  EXPECT_TRUE(leader.wants_digest(kAll, now + 400s)) << "two and three have not been compared";
  for (const auto& [to, question] : leader.due(kAll, now))
    leader.answered(to, make(2).answer(question, digest(100, 1)), now);
  EXPECT_FALSE(leader.wants_digest(kAll, now + 4000s)) << "nothing has changed since";
  leader.tick(Epoch{}, progress, now);
  EXPECT_FALSE(leader.wants_digest(kAll, now + 4000s)) << "it does not lead";
}

TEST(StallWatch, OnlyWhatHasWorkAndDoesNotMoveHasStalled) {
  StallWatch watch;
  watch.observe(Address{10}, Address{20}, 100s);
  EXPECT_EQ(watch.stalled_for(), 0s);
  watch.observe(Address{10}, Address{20}, 107s);
  EXPECT_EQ(watch.stalled_for(), 7s);
  watch.observe(Address{11}, Address{20}, 108s);
  EXPECT_EQ(watch.stalled_for(), 0s);
  watch.observe(Address{20}, Address{20}, 120s);
  watch.observe(Address{20}, Address{20}, 200s);
  EXPECT_EQ(watch.stalled_for(), 0s);
}

// A restart must not serve what is known to be wrong, and the bytes are a format.
TEST(DivergenceFile, KeepsTheFactsAndHasTheDocumentedLayout) {
  testing::FaultFileSystem disk{1};
  ASSERT_TRUE(disk.make_directory("/node"));
  DivergenceFile file(disk, "/node");
  EXPECT_FALSE(file.read().value().has_value());
  const Divergence facts{{Address{100}, 1, 2, 3}, {Address{100}, 4, 5, 6}};
  ASSERT_TRUE(file.write(facts, 7));
  const auto back = DivergenceFile(disk, "/node").read();
  ASSERT_TRUE(back && *back);
  EXPECT_EQ(**back, facts);
  const auto content =
      storage::read_atomic_file(disk, "/node/DIVERGED", {storage::four_letters("DIVG"), 1});
  ASSERT_TRUE(content);
  std::vector<uint64_t> words;
  for (size_t at = 0; at < content->bytes.size(); at += 8)
    words.push_back(load<uint64_t>(content->bytes.data() + at));
  EXPECT_EQ(words, (std::vector<uint64_t>{100, 1, 2, 3, 4, 5, 6, 7}));
}

// A full disk must not make a node forget that it diverged.
TEST(DivergenceFile, IsWrittenOnAFullDiskWhereRoomWasKept) {
  testing::FaultFileSystem disk{1};
  ASSERT_TRUE(disk.make_directory("/node"));
  DivergenceFile file(disk, "/node");
  ASSERT_TRUE(file.reserve());
  disk.fill();
  const Divergence facts{{Address{100}, 1, 2, 3}, {Address{100}, 4, 5, 6}};
  ASSERT_TRUE(file.write(facts, 7));
  disk.crash(testing::CrashPolicy::kLoseUnsynced);
  const auto back = DivergenceFile(disk, "/node").read();
  ASSERT_TRUE(back && *back);
  EXPECT_EQ(**back, facts);
}

}  // namespace
}  // namespace tailrace::replication
