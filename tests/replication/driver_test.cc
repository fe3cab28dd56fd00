// The drivers of a small cluster; driver_cluster.h has their logs, network and clock.

#include <string>

#include <gtest/gtest.h>

#include "driver_cluster.h"
#include "replication/leader_rules.h"
#include "replication/promise_file.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

template <uint32_t kMembers>
class Drivers : public ::testing::Test {
 protected:
  Drivers() {
    for (uint32_t i = 1; i <= kMembers; ++i)
      sides.push_back(std::make_unique<Side>(i, executor, network, clock, kMembers));
  }
  ~Drivers() override {
    for (const auto& side : sides)
      side->node->stop();
    executor.posted.clear();
  }
  /// Everyone has a full vote when this is through, and node 1 leads.
  void SetUp() override {
    for (const auto& side : sides)
      ASSERT_TRUE(side->node->start());
    settle();
    for (int i = 0; i < 6; ++i)
      pass(milliseconds(250));
    for (const auto& side : sides)
      ASSERT_EQ(side->status()->vote, Vote::kFull);
  }
  void settle() {
    for (int i = 0; i < 12; ++i) {
      executor.run();
      for (const auto& side : sides)
        side->log->flush();
    }
    executor.run();
  }
  void pass(milliseconds time) {
    clock.passed += time;
    for (const auto& side : sides)
      side->node->tick();
    settle();
  }
  Side& at(uint32_t id) { return *sides[id - 1]; }
  /// Where what was asked of a node comes to.
  Node::Done into(std::optional<Result<>>& result) {
    return [&result](Result<> done) { result = std::move(done); };
  }
  Node::Confirmed into(std::optional<Result<Address>>& result) {
    return [&result](Result<Address> done) { result = std::move(done); };
  }
  void promote(uint32_t id) {
    std::optional<Result<>> done;
    at(id).node->promote(into(done));
    settle();
    ASSERT_TRUE(done && *done);
  }

  HandExecutor executor;
  HandClock clock;
  Network network{executor};
  std::vector<std::unique_ptr<Side>> sides;
};

class DriverTest : public Drivers<2> {
 protected:
  Side& leader = at(1);
  Side& follower = at(2);
};
class DriversTest : public Drivers<3> {};

TEST_F(DriverTest, TheFollowerHoldsTheLeadersBytesAndTheMajorityCommitsThem) {
  EXPECT_TRUE(leader.status()->serving);
  ASSERT_TRUE(leader.enqueue("hello"));
  executor.run();
  EXPECT_LT(leader.watermarks->committed(), leader.log->tail());
  settle();
  EXPECT_EQ(follower.log->bytes(), leader.log->bytes());
  EXPECT_EQ(leader.watermarks->committed(), leader.log->tail());
  EXPECT_EQ(follower.watermarks->committed(), leader.log->tail());
  EXPECT_GT(follower.state_machine.notified, 0);
}

TEST_F(DriverTest, TheFollowerHasBytesWhileTheLeaderStillFlushesThem) {
  const auto range = at(1).log->try_enqueue(fasterlog::RecordKind::kData, as_bytes("both at once"));
  ASSERT_TRUE(range);
  at(1).log->begin_flush();
  executor.run();
  EXPECT_LT(at(1).log->durable(), range->end);
  EXPECT_EQ(at(2).log->tail(), range->end);
  at(2).log->flush();
  executor.run();
  EXPECT_LT(at(1).watermarks->committed(), range->end) << "one of two has it";
  at(1).log->flush();
  executor.run();
  EXPECT_EQ(at(1).watermarks->committed(), range->end);
  EXPECT_EQ(at(2).log->bytes(), at(1).log->bytes());
}

// The log is read once for all who want the same of it, as long as it is on its way; and not once
// more what was read before.
TEST_F(DriversTest, FollowersThatAreEquallyFarAreSentTheSameBytes) {
  for (const std::string text : {"one", "two"}) {
    ASSERT_TRUE(at(1).log->try_enqueue(fasterlog::RecordKind::kData, as_bytes(text)));
    at(1).log->begin_flush();
    executor.posted.front()();
    executor.posted.pop_front();
    ASSERT_NE(at(1).transport.newest[NodeId{2}], nullptr);
    EXPECT_EQ(at(1).transport.newest[NodeId{2}], at(1).transport.newest[NodeId{3}]);
    settle();
    EXPECT_EQ(at(2).log->bytes(), at(1).log->bytes());
    EXPECT_EQ(at(3).log->bytes(), at(1).log->bytes());
  }
}

TEST_F(DriverTest, ManyMovesOfDurablePostOneEvent) {
  for (int i = 0; i < 10; ++i)
    leader.log->flush();
  EXPECT_EQ(executor.posted.size(), 1u);
}

TEST_F(DriverTest, BytesThatTheLogHasNoRoomForWaitUntilDurableMoves) {
  follower.log->room = 30;
  const Address before = follower.log->tail();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(leader.enqueue("12345678"));
    leader.log->flush();
    executor.run();
  }
  EXPECT_EQ(follower.log->tail(), before + 24);
  settle();
  EXPECT_EQ(follower.log->bytes(), leader.log->bytes());
}

TEST_F(DriverTest, AFailedDiskIsFatalAndEndsServing) {
  std::string fatal;
  leader.node->set_fatal_listener([&](const Error& error) { fatal = error.message; });
  leader.log->break_disk();
  executor.run();
  EXPECT_EQ(fatal, "fdatasync: no");
  EXPECT_FALSE(leader.status()->serving);
}

// Who asks a leader hears that its store would refuse a put before one is refused; a store that
// waits for compaction refuses none. At its budget the node can still be asked to delete, so this
// is no problem of the node.
TEST(LoneDriver, SaysThatItsStoreHasNoRoomBeforeAPutIsRefused) {
  for (const uint64_t budget : {uint64_t{0}, uint64_t{1} << 30}) {
    HandExecutor executor;
    HandClock clock;
    Network network(executor);
    Side alone(1, executor, network, clock, 1);
    alone.store_options.disk_bytes = budget;
    alone.make();
    ASSERT_TRUE(alone.node->start());
    const auto tick = [&] {
      for (int i = 0; i < 4; ++i) {
        executor.run();
        alone.log->flush();
      }
      executor.run();
      clock.passed += milliseconds(250);
      alone.node->tick();
    };
    for (int i = 0; i < 6; ++i)
      tick();
    ASSERT_TRUE(alone.status()->serving);
    const auto told = [&] {
      tick();
      EXPECT_TRUE((budget == 0 ? alone.status()->store_full : alone.status()->problem).empty());
      return budget == 0 ? alone.status()->problem : alone.status()->store_full;
    };
    // The largest put fills a page of the log.
    alone.state_machine.most_log_bytes = fasterlog::LogOptions().page_bytes;
    EXPECT_EQ(told(), "");
    --alone.state_machine.most_log_bytes;
    EXPECT_EQ(told(), "the largest put would be refused: no room for it");
    alone.state_machine.refuses = ErrorCode::kWouldBlock;
    EXPECT_EQ(told(), "");
    alone.node->stop();
    executor.posted.clear();
  }
}

// ---- Confirmation. -----------------------------------------------------------------------------

// The steady clock stands still while a machine is suspended; how old its state is does not.
TEST_F(DriverTest, WhatWasFreshBeforeASuspensionIsOldAfterIt) {
  const auto age = [&] { return clock.elapsed() - *follower.status()->fresh_at; };
  const auto apply = [&] {
    pass(milliseconds(250));
    ASSERT_TRUE(follower.state_machine.wait_applied(Address::max(), SteadyTime{}));
  };
  for (int i = 0; i < 4; ++i)
    apply();
  ASSERT_TRUE(follower.status()->fresh_at);
  EXPECT_LE(age(), milliseconds(1000));
  clock.suspended += std::chrono::hours(1);
  EXPECT_GE(age(), std::chrono::hours(1));
  for (int i = 0; i < 40; ++i)
    apply();
  ASSERT_TRUE(follower.status()->fresh_at);
  EXPECT_LE(age(), milliseconds(1000)) << "it has heard from the leader since";
}

TEST_F(DriverTest, BeforeAllMembersKnowThemNoRulesAreWritten) {
  const Address tail = leader.log->tail();
  for (int i = 0; i < 3; ++i)
    pass(milliseconds(250));
  EXPECT_EQ(leader.log->tail(), tail);
}

TEST(LeaderRules, AreWrittenOnceWhereTheyDifferAndAllThatWasBeforeIsApplied) {
  CoreState state;
  state.role = Role::kLeader;
  state.leadership.serving = true;
  state.cluster_version = since(Feature::kRules);
  state.epoch = Epoch{3};
  state.leadership.epoch_start = {Address{100}, Address{200}};
  statemachine::RulesStatus rules;
  LeaderRules leader;
  EXPECT_FALSE(leader.is_due(state, rules, Address{150})) << "it may know of others by then";
  EXPECT_TRUE(leader.is_due(state, rules, Address{200})) << "the log has none";
  leader.asked(Epoch{3}, Address{300});
  EXPECT_FALSE(leader.is_due(state, rules, Address{200})) << "one is on its way";
  rules.in_log = true;
  EXPECT_FALSE(leader.is_due(state, rules, Address{300})) << "they are the ones it wants";
  rules.wanted.limits.emplace();
  EXPECT_FALSE(leader.is_due(state, rules, Address{300})) << "not all members know limits";
  EXPECT_EQ(LeaderRules::known(rules.wanted, state.cluster_version), rules.in_force);
  state.cluster_version = since(Feature::kSessionLimits);
  EXPECT_TRUE(leader.is_due(state, rules, Address{300}));
  EXPECT_EQ(LeaderRules::known(rules.wanted, state.cluster_version), rules.wanted);
  rules.in_force = rules.wanted;
  EXPECT_FALSE(leader.is_due(state, rules, Address{300}));
  rules.wanted.session_answers = 7;
  EXPECT_TRUE(leader.is_due(state, rules, Address{300}));
  leader.asked(Epoch{3}, Address{400});
  state.epoch = Epoch{5};
  EXPECT_TRUE(leader.is_due(state, rules, Address{300})) << "that one may have been cut off";
  state.leadership.serving = false;
  EXPECT_FALSE(leader.is_due(state, rules, Address{300}));
  state.leadership.serving = true;
  state.cluster_version = 1;
  EXPECT_FALSE(leader.is_due(state, rules, Address{300}));
  state.cluster_version = 2;
  state.role = Role::kFollower;
  EXPECT_FALSE(leader.is_due(state, rules, Address{300}));
}

TEST_F(DriversTest, AConfirmationGivesWhatWasCommittedWhenItWasAsked) {
  const Address committed = at(1).watermarks->committed();
  std::optional<Result<Address>> confirmed;
  at(1).node->confirm_leadership(SteadyTime::max(), into(confirmed));
  EXPECT_FALSE(confirmed);
  executor.run();
  ASSERT_TRUE(confirmed && *confirmed);
  EXPECT_EQ(**confirmed, committed);
}

TEST_F(DriversTest, WhoDoesNotLeadConfirmsNothing) {
  std::optional<Result<Address>> confirmed;
  at(2).node->confirm_leadership(SteadyTime::max(), into(confirmed));
  executor.run();
  ASSERT_TRUE(confirmed && !*confirmed);
  EXPECT_EQ(confirmed->error().code, ErrorCode::kNotLeader);
}

TEST_F(DriversTest, AConfirmationWithoutAMajorityTimesOut) {
  network.isolate(NodeId{1});
  std::optional<Result<Address>> confirmed;
  at(1).node->confirm_leadership(clock.now() + milliseconds(100), into(confirmed));
  settle();
  EXPECT_FALSE(confirmed);
  pass(milliseconds(150));
  ASSERT_TRUE(confirmed && !*confirmed);
  EXPECT_EQ(confirmed->error().code, ErrorCode::kTimedOut);
}

TEST_F(DriversTest, AConfirmationOfALeaderThatIsDeposedMeanwhileIsRefused) {
  network.isolate(NodeId{1});
  std::optional<Result<Address>> confirmed;
  at(1).node->confirm_leadership(SteadyTime::max(), into(confirmed));
  settle();
  promote(2);
  EXPECT_TRUE(at(2).status()->serving);
  EXPECT_FALSE(confirmed);
  network.heal();
  settle();
  ASSERT_TRUE(confirmed && !*confirmed);
  EXPECT_EQ(confirmed->error().code, ErrorCode::kNotLeader);
}

TEST_F(DriversTest, ManyWhoAskShareARound) {
  const uint64_t before = at(1).transport.greatest_round;
  int confirmed = 0;
  for (int i = 0; i < 100; ++i)
    at(1).node->confirm_leadership(SteadyTime::max(),
                                   [&](Result<Address> done) { confirmed += done ? 1 : 0; });
  executor.run();
  EXPECT_EQ(confirmed, 100);
  // One for the first; who came while it was on its way shares the next.
  EXPECT_LE(at(1).transport.greatest_round, before + 2);
}

// ---- The lead moves. ---------------------------------------------------------------------------

TEST_F(DriverTest, ATransferMovesTheLeadAndLosesNothingThatWasEnqueued) {
  ASSERT_TRUE(leader.enqueue("on its way"));
  const Address end = leader.log->tail();
  std::optional<Result<>> done;
  leader.node->transfer(NodeId{2}, into(done));
  executor.run();
  EXPECT_FALSE(leader.status()->serving);
  EXPECT_FALSE(done);
  settle();
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done) << done->error().message;
  EXPECT_EQ(leader.status()->role, Role::kFollower);
  EXPECT_TRUE(follower.status()->serving);
  EXPECT_GE(follower.watermarks->committed(), end);
  EXPECT_EQ(leader.log->cuts, 0);
  EXPECT_EQ(follower.log->bytes(), leader.log->bytes());
}

TEST_F(DriverTest, ATransferEndsWithTheAcknowledgementThatItWaitsFor) {
  ASSERT_TRUE(leader.enqueue("not on 2 yet"));
  leader.log->flush();
  executor.run();
  std::optional<Result<>> done;
  leader.node->transfer(NodeId{2}, into(done));
  executor.run();
  EXPECT_FALSE(done);
  follower.log->flush();
  executor.run();  // without a tick, and without a move of the leader's own durable end
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done) << done->error().message;
}

TEST_F(DriversTest, ATransferToNobodyInParticularTakesTheVoterThatHasMost) {
  network.cut(NodeId{1}, NodeId{2});
  ASSERT_TRUE(at(1).enqueue("only on 3"));
  settle();
  network.heal();
  std::optional<Result<>> done;
  at(1).node->transfer(NodeId{}, into(done));
  settle();
  ASSERT_TRUE(done && *done);
  EXPECT_TRUE(at(3).status()->serving);
}

// "Done" means handed over: a leader that another one deposes meanwhile says so.
TEST_F(DriversTest, ATransferThatAnotherOneForestallsIsNoSuccess) {
  network.cut(NodeId{1}, NodeId{2});
  ASSERT_TRUE(at(1).enqueue("not on 2 yet"));
  network.heal();
  executor.run();
  std::optional<Result<>> done;
  at(1).node->transfer(NodeId{2}, into(done));
  executor.run();
  EXPECT_FALSE(done);
  std::optional<Result<>> promoted;
  at(3).node->promote(into(promoted));
  settle();
  pass(milliseconds(50));
  ASSERT_TRUE(at(3).status()->serving);
  ASSERT_TRUE(done);
  ASSERT_FALSE(*done) << "it was handed over to nobody";
  EXPECT_EQ(done->error().code, ErrorCode::kUnknownOutcome);
  EXPECT_NE(done->error().message.find("node 3"), std::string::npos) << done->error().message;
}

// The same node, by whatever way it came to lead.
TEST_F(DriversTest, ATransferToWhoTakesTheLeadByItselfIsDone) {
  ASSERT_TRUE(at(1).enqueue("not on 2 yet"));
  at(1).log->flush();
  executor.run();
  std::optional<Result<>> done, promoted;
  at(1).node->transfer(NodeId{2}, into(done));
  executor.run();
  EXPECT_FALSE(done);
  at(2).node->promote(into(promoted));
  settle();
  pass(milliseconds(50));
  ASSERT_TRUE(at(2).status()->serving);
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done) << done->error().message;
}

TEST_F(DriverTest, ATransferThatTakesTooLongIsCalledOff) {
  network.isolate(NodeId{2});
  std::optional<Result<>> done;
  ASSERT_TRUE(leader.enqueue("not on 2"));
  leader.log->flush();
  leader.node->transfer(NodeId{2}, into(done));
  auto ask = std::move(executor.posted.back());  // asked before the connection's end was known
  executor.posted.pop_back();
  executor.posted.push_front(std::move(ask));
  settle();
  EXPECT_FALSE(done);
  EXPECT_FALSE(leader.status()->serving);
  pass(milliseconds(2100));
  ASSERT_TRUE(done && !*done);
  EXPECT_EQ(done->error().code, ErrorCode::kTimedOut);
  EXPECT_TRUE(leader.status()->serving);
}

TEST_F(DriverTest, ATransferToWhoIsNoVoterOrByWhoDoesNotLeadIsRefused) {
  std::optional<Result<>> done;
  leader.node->transfer(NodeId{9}, into(done));
  executor.run();
  ASSERT_TRUE(done && !*done);
  EXPECT_EQ(done->error().code, ErrorCode::kInvalidArgument);
  follower.node->transfer(NodeId{1}, into(done));
  executor.run();
  EXPECT_EQ(done->error().code, ErrorCode::kNotLeader);
}

TEST_F(DriversTest, APromotedNodeLeadsInANewEpochAndTheOthersFollow) {
  promote(2);
  EXPECT_EQ(at(2).status()->role, Role::kLeader);
  EXPECT_TRUE(at(2).status()->serving);
  EXPECT_EQ(at(2).status()->epoch, Epoch{2});
  for (const uint32_t id : {1, 3}) {
    EXPECT_EQ(at(id).status()->role, Role::kFollower);
    EXPECT_EQ(at(id).status()->leader, NodeId{2});
    EXPECT_EQ(at(id).log->bytes(), at(2).log->bytes());
  }
  promote(3);
  EXPECT_TRUE(at(3).status()->serving);
  EXPECT_EQ(at(3).status()->epoch, Epoch{3});
}

// A node that is to lead and has a full disk waits for room, and lives.
TEST_F(DriversTest, ALeaderWithoutRoomForItsFirstRecordServesWhenThereIsSome) {
  std::optional<Error> fatal;
  at(2).node->set_fatal_listener([&](const Error& error) { fatal = error; });
  at(2).log->full = true;
  promote(2);
  pass(milliseconds(50));
  EXPECT_FALSE(fatal) << fatal->message;
  EXPECT_EQ(at(2).status()->role, Role::kLeader);
  EXPECT_FALSE(at(2).status()->serving);
  at(2).log->full = false;
  pass(milliseconds(50));
  EXPECT_TRUE(at(2).status()->serving);
  EXPECT_EQ(at(1).status()->leader, NodeId{2});
}

TEST_F(DriversTest, WhatWasNeverCommittedIsCutFromALogThatDiverges) {
  network.isolate(NodeId{1});
  settle();
  ASSERT_TRUE(at(1).enqueue("never committed"));
  settle();
  promote(2);
  ASSERT_TRUE(at(2).enqueue("committed"));
  settle();
  EXPECT_NE(at(1).log->bytes(), at(2).log->bytes());
  network.heal();
  settle();
  EXPECT_EQ(at(1).log->cuts, 1);
  EXPECT_EQ(at(1).log->bytes(), at(2).log->bytes());
  EXPECT_EQ(at(1).status()->role, Role::kFollower);
  EXPECT_TRUE(at(1).status()->problem.empty()) << at(1).status()->problem;
}

TEST_F(DriversTest, BytesThatWaitForRoomAreDroppedWhenANewEpochBegins) {
  network.cut(NodeId{1}, NodeId{2});
  settle();
  at(3).log->room = 0;
  ASSERT_TRUE(at(1).enqueue("waits on 3"));
  at(1).log->flush();
  executor.run();
  network.isolate(NodeId{1});
  executor.run();
  promote(2);
  at(3).log->room = 1 << 20;
  ASSERT_TRUE(at(2).enqueue("committed"));
  settle();
  pass(milliseconds(50));
  EXPECT_EQ(at(3).log->cuts, 0);
  EXPECT_EQ(at(3).log->bytes(), at(2).log->bytes());
  EXPECT_EQ(at(2).watermarks->committed(), at(2).log->tail());
}

// ---- Members. ----------------------------------------------------------------------------------

MemberChange removal(uint32_t id) {
  MemberChange change{MemberChange::Kind::kRemove, {}};
  change.member.id = NodeId{id};
  return change;
}
MemberChange move(uint32_t id, const std::string& address) {
  MemberChange change;
  change.member.id = NodeId{id};
  change.member.peer_address = address;
  return change;
}

TEST_F(DriversTest, AChangeOfTheMembersIsAnsweredWhenItIsCommittedAndEveryoneGoesByIt) {
  std::optional<Result<>> done;
  at(1).node->change_members(removal(3), into(done));
  executor.run();
  EXPECT_FALSE(done);
  settle();
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done) << done->error().message;
  for (const uint32_t id : {1u, 2u}) {
    EXPECT_EQ(at(id).status()->members.size(), 2u);
    EXPECT_TRUE(at(id).status()->members_in_log);
    EXPECT_EQ(at(id).transport.named.size(), 2u);
  }
  EXPECT_TRUE(at(3).status()->removed);
  EXPECT_FALSE(at(3).status()->problem.empty());
  // One that has no vote any more must not seek the lead.
  std::optional<Result<>> promoted;
  at(3).node->promote(into(promoted));
  settle();
  ASSERT_TRUE(promoted);
  EXPECT_EQ(promoted->error().code, ErrorCode::kFailedPrecondition);
}

TEST_F(DriversTest, AfterARestartTheMembersAreThoseOfTheLogAndNotOfTheFile) {
  std::optional<Result<>> done;
  at(1).node->change_members(removal(3), into(done));
  settle();
  ASSERT_TRUE(done && *done);
  at(1).node->stop();
  at(1).make();
  settle();
  ASSERT_TRUE(at(1).node->start());
  settle();
  EXPECT_EQ(at(1).status()->members.size(), 2u);
  EXPECT_TRUE(at(1).status()->serving);
}

/// With a new disk it would found a cluster of its own beside the one that it belongs to.
TEST(LoneDriver, TakesNoOtherVoterUntilItsFileNamesOne) {
  HandExecutor executor;
  HandClock clock;
  Network network(executor);
  Side alone(1, executor, network, clock, 1);
  Members in_file{member_named(1)};
  std::optional<Error> unreadable;
  alone.members_in_file = [&]() -> Result<Members> {
    if (unreadable) return tl::unexpected(*unreadable);
    return in_file;
  };
  alone.make();
  ASSERT_TRUE(alone.node->start());
  const auto settle = [&] {
    for (int i = 0; i < 4; ++i) {
      executor.run();
      alone.log->flush();
    }
    executor.run();
  };
  for (int i = 0; i < 6; ++i) {
    settle();
    clock.passed += milliseconds(250);
    alone.node->tick();
  }
  const auto add = [&] {
    MemberChange change;
    change.member = member_named(2);
    change.member.client_address = "client2";
    std::optional<Result<>> done;
    alone.node->change_members(change, [&](Result<> result) { done = std::move(result); });
    settle();
    EXPECT_TRUE(done);
    return done.value_or(Result<>{});
  };
  Result<> refused = add();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_NE(refused.error().message.find("names no other voter"), std::string::npos);
  in_file.push_back(member_named(2));
  in_file.back().voter = false;
  EXPECT_FALSE(add()) << "a learner is no one who could tell it that the cluster exists";
  unreadable = Error{ErrorCode::kInvalidArgument, "node1.yaml:3: no"};
  refused = add();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("node1.yaml:3"), std::string::npos);
  EXPECT_EQ(alone.status()->members.size(), 1u);
  unreadable.reset();
  in_file.back().voter = true;
  EXPECT_TRUE(add());
  EXPECT_EQ(alone.status()->members.size(), 2u);
  alone.node->stop();
  executor.posted.clear();
}

TEST_F(DriversTest, AChangeWhoseLeaderIsLostMeanwhileHasAnUnknownOutcome) {
  network.isolate(NodeId{1});
  std::optional<Result<>> done;
  at(1).node->change_members(move(2, "elsewhere"), into(done));
  settle();
  EXPECT_FALSE(done);
  promote(2);
  network.heal();
  settle();
  pass(milliseconds(250));
  ASSERT_TRUE(done);
  EXPECT_EQ(done->error().code, ErrorCode::kUnknownOutcome);
  // The next leader did not have it, so it is taken back.
  EXPECT_EQ(at(1).status()->members[1].peer_address, "peer2");
}

TEST_F(DriversTest, WhatChangesNothingIsDoneAtOnceAndOneChangeRunsAtATime) {
  std::optional<Result<>> nothing, first, second;
  at(1).node->change_members(removal(9), into(nothing));
  at(1).node->change_members(move(2, "elsewhere"), into(first));
  at(1).node->change_members(move(3, "elsewhere"), into(second));
  executor.run();
  ASSERT_TRUE(nothing && second);
  EXPECT_TRUE(*nothing);
  EXPECT_EQ(second->error().code, ErrorCode::kUnavailable);
  settle();
  ASSERT_TRUE(first);
  EXPECT_TRUE(*first);
  std::optional<Result<>> of_a_follower;
  at(2).node->change_members(move(3, "elsewhere"), into(of_a_follower));
  settle();
  ASSERT_TRUE(of_a_follower);
  EXPECT_EQ(of_a_follower->error().code, ErrorCode::kNotLeader);
}

// ---- Starts. -----------------------------------------------------------------------------------

/// Who comes back hears first that another one was promoted meanwhile.
TEST_F(DriversTest, TheLeaderOfBeforeDoesNotTakeTheLeadFromWhoWasPromoted) {
  at(1).node->stop();
  at(1).make();
  settle();
  promote(2);
  ASSERT_TRUE(at(2).status()->serving);
  const Epoch epoch = at(2).status()->epoch;
  ASSERT_TRUE(at(1).node->start());
  settle();
  for (int i = 0; i < 8; ++i)
    pass(milliseconds(250));
  EXPECT_TRUE(at(2).status()->serving);
  EXPECT_EQ(at(2).status()->epoch, epoch);
  EXPECT_EQ(at(1).status()->leader, NodeId{2});
}

TEST_F(DriversTest, ALogThatWasLostUnderAVoteIsANewDiskWithoutOneUntilItHasCaughtUp) {
  Side& lost = at(3);
  PromiseFile file(storage::posix_file_system(), lost.directory.path(), NodeId{3}, "test");
  const uint64_t before = file.read()->incarnation;
  lost.node->stop();
  lost.lose_log();
  lost.make();
  network.isolate(NodeId{3});
  ASSERT_TRUE(lost.node->start());
  settle();
  EXPECT_EQ(lost.status()->vote, Vote::kNone);
  EXPECT_NE(file.read()->incarnation, before);
  EXPECT_EQ(file.read()->vote, Vote::kNone);
  network.heal();
  settle();
  for (int i = 0; i < 4; ++i)
    pass(milliseconds(250));
  EXPECT_EQ(lost.status()->vote, Vote::kFull);
  EXPECT_EQ(lost.log->bytes(), at(1).log->bytes());
}

TEST_F(DriversTest, AfterARestartTheOneThatWasPromotedLeadsWhateverTheConfigurationSays) {
  promote(2);
  for (const auto& side : sides) {
    side->node->stop();
    side->make();
  }
  settle();  // the connections end
  for (const auto& side : sides)
    ASSERT_TRUE(side->node->start());
  settle();
  EXPECT_TRUE(at(2).status()->serving);
  EXPECT_EQ(at(2).status()->epoch, Epoch{3});
  EXPECT_EQ(at(1).status()->leader, NodeId{2});
  EXPECT_EQ(at(3).status()->leader, NodeId{2});
}

}  // namespace
}  // namespace tailrace::replication
