// Keys expire by log time: every node finds the same key absent at the same address, whenever it
// applies it and whatever of it is still in its store.

#include <gtest/gtest.h>

#include "harness.h"
#include "statemachine/expiry_schedule.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::CrashPolicy;

const Answer kAbsent{Outcome::kAbsent, false, {}};

class Expiry : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.clock = &clock_;
    options_.machine.expiry_horizon = horizon_;
    options_.store.is_garbage = [horizon = horizon_](ByteSpan key, ByteSpan value) {
      return horizon->is_garbage(key, value);
    };
    reopen();
  }
  void reopen() {
    node_.reset();
    auto opened = Node::open(disk_, options_);
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
    ASSERT_TRUE(node_->settle());
  }
  Answer answer(const OwnedCommand& command) {
    clock_.advance(milliseconds(1));
    const Answer heard = node_->answer(command);
    EXPECT_TRUE(node_->settle());
    return heard;
  }
  void pass(Nanoseconds time) {
    clock_.advance(time);
    ASSERT_EQ(answer(event("tick", "")), kDone);
  }
  uint64_t in(Nanoseconds time) const {
    return clock_.unix_time_ns() + static_cast<uint64_t>(time.count());
  }
  std::string read(const std::string& key) {
    std::string value;
    const auto found = node_->machine().read(as_bytes(key), value);
    std::string tried;
    const auto outcome = node_->machine().try_read(as_bytes(key), tried);
    EXPECT_TRUE(outcome.has_value());
    if (*outcome != StateMachine::ReadOutcome::kCold) {
      EXPECT_EQ(found.has_value(), *outcome == StateMachine::ReadOutcome::kFound);
      if (found) {
        EXPECT_EQ(tried, value);
      }
    }
    return found ? value : "absent";
  }

  testing::FaultFileSystem disk_{1};
  ManualClock clock_;
  std::shared_ptr<ExpiryHorizon> horizon_ = std::make_shared<ExpiryHorizon>();
  Node::Options options_;
  std::unique_ptr<Node> node_;
};

// The first batch of a log has no mark before it; and a log may have been silent for long.
TEST_F(Expiry, AKeyLivesForItsTimeAlsoAfterASilence) {
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(answer(expiring(in(seconds(10)), put("k", "v"))), kDone);
    EXPECT_EQ(read("k"), "v");
    pass(seconds(9));
    EXPECT_EQ(read("k"), "v");
    clock_.advance(seconds(2));
    EXPECT_EQ(read("k"), "v") << "the local clock decides nothing";
    pass(milliseconds(1));
    EXPECT_EQ(read("k"), "absent");
    EXPECT_EQ(node_->replica().pairs(), Pairs{});
    clock_.advance(minutes(300));
  }
}

TEST_F(Expiry, WhatHasExpiredIsAbsentToEveryCommand) {
  const auto expired = [&](const std::string& value) {
    EXPECT_EQ(answer(expiring(in(seconds(1)), put("k", value))), kDone);
    pass(seconds(2));
  };
  expired("v");
  EXPECT_EQ(answer(erase("k")), kAbsent);
  expired("v");
  EXPECT_EQ(answer(expire("k", in(minutes(1)))), kAbsent);
  EXPECT_EQ(read("k"), "absent");
  EXPECT_EQ(answer(cas("k", "v", "w")), (Answer{Outcome::kCasMismatch, false, {}}));
  expired("v");
  EXPECT_EQ(answer(insert("k", "w")), kDone);
  EXPECT_EQ(answer(insert("k", "x")), (Answer{Outcome::kCasMismatch, true, "w"}));
  pass(minutes(5));
  EXPECT_EQ(read("k"), "w") << "it is a new key, and that has no time";
  EXPECT_EQ(answer(expiring(in(seconds(1)), insert("lock", "mine"))), kDone);
  EXPECT_EQ(answer(expiring(in(minutes(9)), insert("lock", "yours"))),
            (Answer{Outcome::kCasMismatch, true, "mine"}));
  pass(seconds(2));
  EXPECT_EQ(read("lock"), "absent") << "who lost did not lengthen it";
  expired("40");
  EXPECT_EQ(answer(add("k", 2)), (Answer{Outcome::kDone, true, "2"}));
  pass(minutes(5));
  EXPECT_EQ(read("k"), "2") << "it is a new key, and that has no time";
}

TEST_F(Expiry, PutAndExpireDecideTheTimeAddAndCasKeepIt) {
  EXPECT_EQ(answer(expiring(in(seconds(10)), put("n", "1"))), kDone);
  EXPECT_EQ(answer(expiring(in(seconds(10)), put("c", "1"))), kDone);
  EXPECT_EQ(answer(expiring(in(seconds(10)), put("p", "1"))), kDone);
  EXPECT_EQ(answer(expiring(in(seconds(10)), put("e", "1"))), kDone);
  EXPECT_EQ(answer(put("x", "1")), kDone);
  EXPECT_EQ(answer(add("n", 1)).value, "2");
  EXPECT_EQ(answer(cas("c", "1", "2")), kDone);
  EXPECT_EQ(answer(put("p", "2")), kDone);
  EXPECT_EQ(answer(expire("e", 0)), kDone);
  EXPECT_EQ(answer(expire("x", in(seconds(5)))), kDone);
  EXPECT_EQ(node_->replica().pairs(),
            (Pairs{{"n", "2"}, {"c", "2"}, {"p", "2"}, {"e", "1"}, {"x", "1"}}));
  pass(seconds(20));
  EXPECT_EQ(node_->replica().pairs(), (Pairs{{"p", "2"}, {"e", "1"}}));
}

// A leader that has nothing to do asks this; it is what moves the time for it.
TEST_F(Expiry, TheLogTimeIsWantedOnlyWhenSomethingExpires) {
  pass(seconds(1));
  EXPECT_FALSE(node_->machine().wants_log_time(in(minutes(60))));
  EXPECT_EQ(answer(expiring(in(seconds(30)), put("k", "v"))), kDone);
  const auto check = [&] {
    EXPECT_FALSE(node_->machine().wants_log_time(in(seconds(20))));
    EXPECT_TRUE(node_->machine().wants_log_time(in(seconds(40))));
  };
  check();
  reopen();
  check();
  ASSERT_TRUE(node_->checkpoint());
  reopen();
  check();
  pass(seconds(40));
  EXPECT_FALSE(node_->machine().wants_log_time(in(minutes(60))));
}

// Of a great many moments some are looked at in vain, but none is missed.
TEST(ExpirySchedule, NoMomentIsMissed) {
  constexpr uint64_t kSecond = 1'000'000'000;
  ExpirySchedule schedule;
  schedule.passed(1000 * kSecond);
  for (uint64_t i = 100'000; i > 0; --i)
    schedule.note((1000 + 2 * i) * kSecond + 5);
  EXPECT_FALSE(schedule.due(1000 * kSecond));
  for (uint64_t now = 1000; now < 201'100; now += 10) {
    schedule.passed(now * kSecond);
    if (now + 10 <= 201'000) {
      EXPECT_TRUE(schedule.due((now + 10) * kSecond)) << now;
    }
  }
  EXPECT_FALSE(schedule.due(300'000 * kSecond));
}

// What is gone from one node's store and still in another's makes no difference, and a checkpoint
// and the rest of the log give the same as the whole log.
TEST_F(Expiry, IsTheSameForANodeThatCompactedAndRecoveredAndForOneThatDidNeither) {
  options_.anchors = {{"transfer:test", Address{0}}};
  reopen();
  Random random(from_environment("TAILRACE_SEED", 3));
  for (int round = 0; round < 400; ++round) {
    const std::string key = "k" + std::to_string(random.below(30));
    const std::string number = std::to_string(random.below(100));
    const uint64_t moment = in(seconds(random.below(60)));
    const OwnedCommand commands[] = {put(key, number),     expiring(moment, put(key, number)),
                                     erase(key),           add(key, 1),
                                     expire(key, 0),       expire(key, moment),
                                     cas(key, "1", number)};
    answer(commands[random.below(std::size(commands))]);
    if (random.chance(1, 3)) pass(seconds(random.below(20)));
    if (round % 40 == 39) {
      ASSERT_TRUE(node_->checkpoint());
      const auto extent = node_->replica().store().log_extent();
      const auto compacted = node_->replica().store().compact(extent.read_only);
      ASSERT_TRUE(compacted) << compacted.error().message;
      if (random.chance(1, 2)) {
        node_.reset();
        disk_.crash(CrashPolicy::kLoseUnsynced);
        reopen();
      }
    }
  }
  auto whole = Replica::open(disk_, node_->log(), small_store("/whole"), quiet(), clock_);
  ASSERT_TRUE(whole) << whole.error().message;
  (*whole)->machine().start();
  ASSERT_TRUE((*whole)->apply_to(node_->replica().watermarks.applied()));
  EXPECT_EQ(node_->replica().pairs(), (*whole)->pairs());
  const StateDigest one = node_->replica().state_digest();
  const StateDigest other = (*whole)->state_digest();
  EXPECT_EQ(one.pairs, other.pairs);
  EXPECT_EQ(one.high, other.high);
  EXPECT_EQ(one.low, other.low);
}

// A pair may be gone for good only when no state that this node can come back to still shows it.
TEST_F(Expiry, ThePairIsGarbageOnlyBehindACheckpoint) {
  EXPECT_EQ(answer(expiring(in(seconds(1)), put("k", "v"))), kDone);
  ASSERT_TRUE(node_->checkpoint());
  pass(minutes(1));
  std::string stored;
  encode_state_value({as_bytes("v"), node_->machine().log_time_ns() - 1}, stored);
  EXPECT_EQ(read("k"), "absent");
  EXPECT_FALSE(horizon_->is_garbage(as_bytes("uk"), as_bytes(stored)));
  ASSERT_TRUE(node_->checkpoint());
  EXPECT_TRUE(horizon_->is_garbage(as_bytes("uk"), as_bytes(stored)));
  EXPECT_FALSE(horizon_->is_garbage(as_bytes("sk"), as_bytes(stored))) << "not a user's";
  encode_state_value({as_bytes("v")}, stored);
  EXPECT_FALSE(horizon_->is_garbage(as_bytes("uk"), as_bytes(stored)));
}

}  // namespace
}  // namespace tailrace::statemachine
