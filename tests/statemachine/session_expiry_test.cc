// Sessions expire by log time, which the commit marks carry, so that every node forgets the same
// session at the same address, whenever it applies it.

#include <gtest/gtest.h>

#include "harness.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::CrashPolicy;

class SessionExpiry : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.clock = &clock_;
    options_.machine.session_ttl = hours(1);
    reopen();
  }
  void reopen() {
    auto opened = Node::open(disk_, options_);
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
    ASSERT_TRUE(node_->settle());
  }
  Answer answer(const OwnedCommand& command) {
    clock_.advance(std::chrono::milliseconds(1));
    const Answer heard = node_->answer(command);
    EXPECT_TRUE(node_->settle());
    return heard;
  }
  /// Something happens in the log, so that its time moves to the present.
  void move_log_time() { ASSERT_EQ(answer(event("tick", "")), kDone); }

  testing::FaultFileSystem disk_{1};
  ManualClock clock_;
  Node::Options options_;
  std::unique_ptr<Node> node_;
};

// The first batch of a log has no mark before it.
TEST_F(SessionExpiry, TheFirstSessionOfALogLives) {
  EXPECT_EQ(answer(in_session(7, 1, put("k", "1"))), kDone);
  ASSERT_TRUE(node_->settle());
  EXPECT_EQ(node_->machine().session_count(), 1u);
  EXPECT_EQ(answer(in_session(7, 2, put("k", "2"))), kDone);
}

TEST_F(SessionExpiry, ASessionLivesForItsTimeAfterItsLastCommand) {
  EXPECT_EQ(answer(in_session(7, 1, put("k", "1"))), kDone);
  for (uint64_t serial = 2; serial <= 5; ++serial) {
    clock_.advance(minutes(50));
    move_log_time();
    EXPECT_EQ(answer(in_session(7, serial, put("k", "v"))), kDone);
  }
  clock_.advance(hours(2));
  move_log_time();
  ASSERT_TRUE(node_->settle());
  EXPECT_EQ(node_->machine().session_count(), 0u);
  EXPECT_EQ(answer(in_session(7, 6, put("k", "late"))), kExpired);
  std::string value;
  ASSERT_TRUE(node_->machine().read(as_bytes("k"), value));
  EXPECT_EQ(value, "v");
}

// The log was idle for longer than a session lives. A command that comes then is as new as its own
// batch's mark, not as old as the mark before it.
TEST_F(SessionExpiry, ASessionThatIsUsedAfterALongSilenceLives) {
  EXPECT_EQ(answer(in_session(7, 1, put("k", "1"))), kDone);
  move_log_time();
  clock_.advance(hours(5));
  EXPECT_EQ(answer(in_session(7, 2, put("k", "2"))), kDone);
  EXPECT_EQ(answer(in_session(8, 1, put("k", "3"))), kDone);
  move_log_time();
  ASSERT_TRUE(node_->settle());
  EXPECT_EQ(node_->machine().session_count(), 2u);
  EXPECT_EQ(answer(in_session(7, 3, put("k", "4"))), kDone);
  EXPECT_EQ(answer(in_session(8, 2, put("k", "5"))), kDone);
  clock_.advance(minutes(50));
  move_log_time();
  EXPECT_EQ(answer(in_session(7, 4, put("k", "6"))), kDone);
}

// A session that is used shortly after the mark before still lives for its whole time.
TEST_F(SessionExpiry, NoSessionLivesShorterThanItsTime) {
  move_log_time();
  for (int step = 0; step < 12; ++step) {
    SCOPED_TRACE(step);
    const uint64_t client = 100 + static_cast<uint64_t>(step);
    clock_.advance(seconds(20 * step));
    EXPECT_EQ(answer(in_session(client, 1, put("k", "1"))), kDone);
    clock_.advance(minutes(60));
    move_log_time();
    EXPECT_EQ(answer(in_session(client, 2, put("k", "2"))), kDone);
    clock_.advance(minutes(68));
    move_log_time();
    EXPECT_EQ(answer(in_session(client, 3, put("k", "3"))), kExpired);
  }
}

// What this node's clock says while it applies is of no importance.
TEST_F(SessionExpiry, TheLocalClockDoesNotExpireAnything) {
  EXPECT_EQ(answer(in_session(7, 1, put("k", "1"))), kDone);
  ASSERT_TRUE(node_->settle());
  node_.reset();
  clock_.advance(hours(100));
  reopen();  // all of it is applied anew, much later
  EXPECT_EQ(node_->machine().session_count(), 1u);
  EXPECT_EQ(answer(in_session(7, 2, put("k", "2"))), kDone);
}

// What a command says of its session must not depend on the moment at which somebody restarted.
TEST_F(SessionExpiry, IsTheSameForANodeThatRecoveredAndForOneThatNeverStopped) {
  options_.anchors = {{"transfer:test", Address{0}}};
  node_.reset();
  reopen();
  Random random(1);
  uint64_t serials[6] = {};
  for (int round = 0; round < 60; ++round) {
    const auto client = random.below(6);
    const auto done = node_->run(in_session(client, ++serials[client], add("n", 1)));
    ASSERT_TRUE(done) << done.error().message;
    if (done->second == kExpired) {
      serials[client] = 1;
      ASSERT_EQ(answer(in_session(client, 1, add("n", 1))).outcome, Outcome::kDone);
    }
    clock_.advance(minutes(random.chance(1, 10) ? 100 : random.below(20)));
    if (round % 10 != 9) continue;
    if (round % 20 == 9) {
      ASSERT_TRUE(node_->checkpoint());
    }
    node_.reset();
    disk_.crash(CrashPolicy::kLoseUnsynced);
    reopen();
  }
  auto whole = Replica::open(disk_, node_->log(), small_store("/whole"), options_.machine, clock_);
  ASSERT_TRUE(whole);
  (*whole)->machine().start();
  ASSERT_TRUE(node_->settle());
  ASSERT_TRUE((*whole)->apply_to(node_->replica().watermarks.applied()));
  const StateDigest one = node_->replica().state_digest();
  const StateDigest other = (*whole)->state_digest();
  EXPECT_EQ(one.pairs, other.pairs);
  EXPECT_EQ(one.high, other.high);
  EXPECT_EQ(one.low, other.low);
  EXPECT_EQ(node_->machine().session_count(), (*whole)->machine().session_count());
}

}  // namespace
}  // namespace tailrace::statemachine
