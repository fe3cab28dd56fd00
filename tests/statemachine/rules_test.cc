// Rules are in the log: they change at one address on all nodes, whatever their files say; and a
// session's beginning is told from its repetition, whatever the rules become in between.

#include <gtest/gtest.h>

#include "harness.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr uint64_t kSecond = 1'000'000'000;

Rules with_ttl(seconds ttl) {
  Rules rules;
  rules.session_ttl_ns = static_cast<uint64_t>(Nanoseconds(ttl).count());
  return rules;
}

TEST(Rules, HaveTheDocumentedLayoutAndWhatIsNoneIsRefused) {
  std::vector<std::byte> bytes;
  encode(Rules{0x0102'0000'0000, 7, 9}, bytes);
  EXPECT_EQ(to_string(bytes), std::string("\1\0\0\0\7\0\0\0\0\0\0\0\2\1\0\0\11\0\0\0\0\0\0\0", 24));
  ASSERT_TRUE(decode_rules(bytes));
  EXPECT_EQ(*decode_rules(bytes), (Rules{0x0102'0000'0000, 7, 9}));
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_FALSE(decode_rules(ByteSpan(bytes).first(length)));
  bytes[20] = std::byte{1};
  EXPECT_EQ(decode_rules(bytes).error().code, ErrorCode::kCorruption);
  bytes[20] = std::byte{0};
  bytes[0] = std::byte{2};
  EXPECT_EQ(decode_rules(bytes).error().code, ErrorCode::kCorruption) << "it has no limits";
  bytes[0] = std::byte{3};
  EXPECT_EQ(decode_rules(bytes).error().code, ErrorCode::kCorruption) << "it has none either";
  bytes[0] = std::byte{4};
  EXPECT_EQ(decode_rules(bytes).error().code, ErrorCode::kUnsupported);
  for (const Rules& bad : {with_ttl(seconds(0)), with_ttl(kMostSessionTtl + seconds(1)),
                           Rules{kSecond, 0, 1}, Rules{kSecond, kMostSessionAnswers + 1, 1},
                           Rules{kSecond, 1, 0}, Rules{kSecond, 1, kMostAnswerBytes + 1}}) {
    EXPECT_EQ(validate(bad).error().code, ErrorCode::kInvalidArgument);
    encode(bad, bytes);
    EXPECT_EQ(decode_rules(bytes).error().code, ErrorCode::kCorruption);
  }
}

TEST(Rules, WithLimitsHaveTheDocumentedLayoutAndWhatIsNoneIsRefused) {
  const auto with = [](SessionLimits limits) { return Rules{kSecond, 7, 9, limits}; };
  std::vector<std::byte> bytes;
  encode(with({0x0102, 3, 0xa'0405'0000}), bytes);
  EXPECT_EQ(to_string(ByteSpan(bytes).first(4)), std::string("\2\0\0\0", 4));
  EXPECT_EQ(to_string(ByteSpan(bytes).subspan(24)),
            std::string("\2\1\0\0\3\0\0\0\0\0\5\4\12\0\0\0", 16));
  ASSERT_TRUE(decode_rules(bytes));
  EXPECT_EQ(*decode_rules(bytes), with({0x0102, 3, 0xa'0405'0000}));
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_FALSE(decode_rules(ByteSpan(bytes).first(length)));
  Rules positions = with({0x0102, 3, 0xa'0405'0000});
  positions.positions = true;
  bytes[0] = std::byte{3};
  ASSERT_TRUE(decode_rules(bytes));
  EXPECT_EQ(*decode_rules(bytes), positions);
  std::vector<std::byte> again;
  encode(positions, again);
  EXPECT_EQ(again, bytes);
  bytes[0] = std::byte{1};
  EXPECT_EQ(decode_rules(bytes).error().code, ErrorCode::kCorruption);
  for (const SessionLimits& bad :
       {SessionLimits{0, 1, 1}, SessionLimits{kMostSessions + 1, 1, 1}, SessionLimits{1, 0, 1},
        SessionLimits{1, kMostAnswerBytes + 1, 1}, SessionLimits{1, 1, 0},
        SessionLimits{1, 1, kMostAnswersBytes + 1}}) {
    EXPECT_EQ(validate(with(bad)).error().code, ErrorCode::kInvalidArgument);
    encode(with(bad), bytes);
    EXPECT_EQ(decode_rules(bytes).error().code, ErrorCode::kCorruption);
  }
}

// What clients are told lets them in, whatever was evicted; and no bound is greater.
TEST(Rules, TheGreatestBoundBeginsASessionAndIsAboveTheFloor) {
  Random random(1);
  const uint64_t numbers[] = {0, 1, kSecond, 5 * kSecond, UINT64_MAX - kSecond, UINT64_MAX - 1};
  for (int i = 0; i < 10'000; ++i) {
    const auto draw = [&] { return numbers[random.below(std::size(numbers))] + random.below(2); };
    const Rules rules = with_ttl(seconds(random.between(1, 10)));
    const uint64_t log_time = draw(), floor = draw();
    if (log_time == UINT64_MAX || floor == UINT64_MAX) continue;
    const uint64_t bound = greatest_bound(log_time, rules, floor);
    EXPECT_GT(bound, floor);
    EXPECT_TRUE(may_begin(bound, log_time, rules, floor));
    EXPECT_FALSE(may_begin(floor, log_time, rules, floor));
    if (bound != UINT64_MAX) {
      EXPECT_FALSE(may_begin(bound + 1, log_time, rules, floor));
    }
  }
}

class RulesInTheLog : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.clock = &clock_;
    options_.machine.session_ttl = hours(1);
    options_.anchors = {{"transfer:test", Address{0}}};
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
    clock_.advance(std::chrono::milliseconds(1));
    const Answer heard = node_->answer(command);
    EXPECT_TRUE(node_->settle());
    return heard;
  }
  void pass(Nanoseconds time) {
    clock_.advance(time);
    ASSERT_EQ(answer(event("tick", "")), kDone);
  }
  uint64_t log_time() const { return node_->machine().log_time_ns(); }
  /// A client that has just been told the log time and the ttl.
  uint64_t bound() const { return log_time() + node_->machine().rules().in_force.session_ttl_ns; }
  uint64_t format() {
    std::string value;
    EXPECT_TRUE(node_->replica().store().read(as_bytes("mformat"), value));
    return load<uint32_t>(as_bytes(value).data());
  }

  testing::FaultFileSystem disk_{1};
  ManualClock clock_;
  Node::Options options_;
  std::unique_ptr<Node> node_;
};

TEST_F(RulesInTheLog, AreThisNodesOwnUntilTheLogHasSomeAndThenWhateverTheFileSays) {
  EXPECT_FALSE(node_->machine().rules().in_log);
  EXPECT_EQ(node_->machine().rules().in_force, with_ttl(hours(1)));
  EXPECT_EQ(format(), 2u);
  ASSERT_EQ(answer(set_rules(with_ttl(hours(2)))), kDone);
  EXPECT_TRUE(node_->machine().rules().in_log);
  EXPECT_EQ(node_->machine().rules().in_force, with_ttl(hours(2)));
  EXPECT_EQ(node_->machine().rules().wanted.session_ttl_ns, with_ttl(hours(1)).session_ttl_ns);
  EXPECT_TRUE(node_->machine().rules().wanted.limits);
  EXPECT_EQ(format(), 3u) << "an older version must not go on with it";
  // From the log, and from a checkpoint.
  options_.machine.session_ttl = seconds(1);
  for (int round = 0; round < 2; ++round) {
    reopen();
    EXPECT_TRUE(node_->machine().rules().in_log);
    EXPECT_EQ(node_->machine().rules().in_force, with_ttl(hours(2)));
    ASSERT_TRUE(node_->checkpoint());
  }
  EXPECT_EQ(answer(in_session(7, 1, put("k", "1"))), kDone);
  pass(minutes(90));
  EXPECT_EQ(answer(in_session(7, 2, put("k", "2"))), kDone);
}

TEST_F(RulesInTheLog, ALowerTtlEndsAtTheNextMarkWhatIsTooOldByIt) {
  ASSERT_EQ(answer(set_rules(with_ttl(hours(1)))), kDone);
  EXPECT_EQ(answer(in_session(7, 1, put("k", "1"))), kDone);
  pass(minutes(30));
  EXPECT_EQ(answer(in_session(8, 1, put("k", "1"))), kDone);
  ASSERT_EQ(answer(set_rules(with_ttl(minutes(10)))), kDone);
  pass(seconds(1));
  EXPECT_EQ(node_->machine().session_count(), 1u);
  EXPECT_EQ(answer(in_session(7, 2, put("k", "late"))), kExpired);
  EXPECT_EQ(answer(in_session(8, 2, put("k", "2"))), kDone);
}

TEST_F(RulesInTheLog, FewerAnswersAreKeptFromTheirAddressOn) {
  Rules rules;
  ASSERT_EQ(answer(set_rules(rules)), kDone);
  for (uint64_t serial = 1; serial <= 4; ++serial)
    answer(in_session(7, serial, add("n", 1)));
  EXPECT_EQ(answer(in_session(7, 1, add("n", 1))).value, "1");
  rules.session_answers = 2;
  ASSERT_EQ(answer(set_rules(rules)), kDone);
  answer(in_session(7, 5, add("n", 1)));
  EXPECT_EQ(answer(in_session(7, 3, add("n", 1))).outcome, Outcome::kAnswerForgotten);
  EXPECT_EQ(answer(in_session(7, 4, add("n", 1))).value, "4");
}

TEST_F(RulesInTheLog, ThoseOfANewerVersionStopTheApplier) {
  OwnedCommand newer = set_rules(Rules{});
  newer.value[0] = 4;
  auto range = append(node_->log(), newer);
  ASSERT_TRUE(range);
  ASSERT_TRUE(node_->log().wait_durable(range->end, soon()));
  const auto applied = node_->machine().wait_applied(range->end, soon());
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, ErrorCode::kUnsupported) << applied.error().message;
}

TEST_F(RulesInTheLog, LimitsMakeANewFormatAndStayWhenALaterRecordHasNone) {
  Rules rules = with_ttl(hours(2));
  ASSERT_EQ(answer(set_rules(rules)), kDone);
  EXPECT_EQ(format(), 3u);
  rules.limits = SessionLimits{5, 6, 7};
  ASSERT_EQ(answer(set_rules(rules)), kDone);
  EXPECT_EQ(format(), 4u) << "an older version must not go on with it";
  ASSERT_EQ(answer(set_rules(with_ttl(hours(3)))), kDone);
  rules.session_ttl_ns = with_ttl(hours(3)).session_ttl_ns;
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(node_->machine().rules().in_force, rules);
    EXPECT_EQ(format(), 4u);
    ASSERT_TRUE(node_->checkpoint());
    reopen();
  }
}

TEST_F(RulesInTheLog, PositionsMakeANewFormatAndStayWhenALaterRecordHasNone) {
  Rules rules = with_ttl(hours(2));
  rules.limits = SessionLimits{5, 6, 7};
  rules.positions = true;
  ASSERT_EQ(answer(set_rules(rules)), kDone);
  rules.positions = false;
  ASSERT_EQ(answer(set_rules(rules)), kDone);
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(node_->machine().rules().in_force.positions);
    EXPECT_EQ(format(), 5u);
    ASSERT_TRUE(node_->checkpoint());
    reopen();
  }
}

// The case of the audit: applied, forgotten, and sent once more.
TEST_F(RulesInTheLog, ARepeatOfAFirstCommandIsRefusedOnceItsSessionHasEnded) {
  ASSERT_EQ(answer(set_rules(with_ttl(hours(1)))), kDone);
  const OwnedCommand first = begins_before(bound(), in_session(7, 1, add("n", 1)));
  EXPECT_EQ(answer(first).value, "1");
  EXPECT_EQ(answer(first).value, "1") << "the session is known";
  pass(hours(2));
  EXPECT_EQ(node_->machine().session_count(), 0u);
  EXPECT_EQ(answer(first), kExpired);
  EXPECT_EQ(answer(add("n", 0)).value, "1");
}

TEST_F(RulesInTheLog, AFirstCommandThatComesInTimeBeginsItsSession) {
  ASSERT_EQ(answer(set_rules(with_ttl(hours(1)))), kDone);
  const uint64_t begins = bound();
  pass(minutes(59));
  EXPECT_EQ(answer(begins_before(begins, in_session(7, 1, add("n", 1)))).value, "1");
  EXPECT_EQ(answer(in_session(7, 2, add("n", 1))).value, "2");
  pass(minutes(59));
  EXPECT_EQ(answer(begins_before(begins, in_session(8, 1, add("n", 1)))), kExpired);
}

// Nobody holds a session, or the right to begin one, for longer than its ttl.
TEST_F(RulesInTheLog, ABoundFurtherAwayThanTheTtlBeginsNothing) {
  ASSERT_EQ(answer(set_rules(with_ttl(hours(1)))), kDone);
  EXPECT_EQ(answer(begins_before(UINT64_MAX, in_session(7, 1, put("k", "1")))), kExpired);
  EXPECT_EQ(
      answer(begins_before(bound() + hours(1) / Nanoseconds(1), in_session(7, 1, put("k", "1")))),
      kExpired);
  EXPECT_EQ(node_->machine().session_count(), 0u);
}

// A ttl that is lowered must not end a session before its first command's bound: the repeat would
// find it unknown, and its bound not passed.
TEST_F(RulesInTheLog, ASessionIsHeldUntilItsBoundWhateverTheTtlBecomes) {
  ASSERT_EQ(answer(set_rules(with_ttl(hours(10)))), kDone);
  const OwnedCommand first = begins_before(bound(), in_session(7, 1, add("n", 1)));
  EXPECT_EQ(answer(first).value, "1");
  EXPECT_EQ(answer(in_session(8, 1, add("m", 1))).value, "1");
  ASSERT_EQ(answer(set_rules(with_ttl(minutes(1)))), kDone);
  for (int hour = 1; hour < 10; ++hour) {
    pass(hours(1));
    ASSERT_EQ(node_->machine().session_count(), 1u) << hour;
    ASSERT_EQ(answer(first).value, "1") << hour;
    if (hour % 3 == 0) {
      // The same from a checkpoint.
      ASSERT_TRUE(node_->checkpoint());
      reopen();
    }
  }
  pass(hours(1));
  EXPECT_EQ(node_->machine().session_count(), 0u);
  // Raised again, so that the bound is not too far away either.
  ASSERT_EQ(answer(set_rules(with_ttl(hours(20)))), kDone);
  EXPECT_EQ(answer(first), kExpired);
  EXPECT_EQ(answer(add("n", 0)).value, "1");
}

TEST_F(RulesInTheLog, ASessionThatIsHeldLivesOnWhenItIsUsedOrTheTtlIsRaised) {
  ASSERT_EQ(answer(set_rules(with_ttl(hours(10)))), kDone);
  for (const uint64_t client : {7u, 8u})
    answer(begins_before(bound(), in_session(client, 1, add("n", 1))));
  ASSERT_EQ(answer(set_rules(with_ttl(minutes(1)))), kDone);
  pass(hours(1));
  EXPECT_EQ(answer(in_session(7, 2, put("k", "2"))), kDone);
  ASSERT_EQ(answer(set_rules(with_ttl(hours(100)))), kDone);
  pass(hours(50));
  EXPECT_EQ(node_->machine().session_count(), 2u);
  pass(hours(60));
  EXPECT_EQ(node_->machine().session_count(), 0u);
}

// Before the log has rules, nodes may have different ones: no bound is looked at.
TEST_F(RulesInTheLog, WithoutRulesABoundSaysNothing) {
  EXPECT_EQ(answer(begins_before(1, in_session(7, 1, put("k", "1")))), kDone);
  EXPECT_EQ(answer(begins_before(UINT64_MAX, in_session(8, 1, put("k", "1")))), kDone);
}

TEST_F(RulesInTheLog, WhatNoRulesCouldBeIsRefusedAtTheStart) {
  node_.reset();
  options_.machine.session_ttl = seconds(0);
  const auto opened = Node::open(disk_, options_);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("session_ttl"), std::string::npos)
      << opened.error().message;
}

}  // namespace
}  // namespace tailrace::statemachine
