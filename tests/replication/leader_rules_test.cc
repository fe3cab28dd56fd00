// When a leader writes the rules of the cluster into its log.

#include "replication/leader_rules.h"

#include <chrono>

#include <gtest/gtest.h>

#include "tests/replication/driver_fixture.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

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
  rules.wanted.positions = true;
  EXPECT_FALSE(leader.is_due(state, rules, Address{300})) << "not all members know positions";
  state.cluster_version = since(Feature::kPositions);
  EXPECT_TRUE(leader.is_due(state, rules, Address{300}));
  rules.in_force = rules.wanted;
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

}  // namespace
}  // namespace tailrace::replication
