// What all sessions take together is bounded: the oldest goes first, on every node the same one,
// and a command is applied once nevertheless.

#include <algorithm>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "harness.h"
#include "statemachine/session/kept_answers.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

const Answer kNotKept{Outcome::kAnswerForgotten, false, {}};
constexpr uint64_t kOneByte = KeptAnswers::kOverheadBytes + 1;  // an answer of so much
constexpr uint64_t kHour = 3600ull * 1'000'000'000;

Rules limited(uint32_t sessions, uint32_t value_bytes = 100, uint64_t answers_bytes = 1u << 20) {
  Rules rules;
  rules.limits = SessionLimits{sessions, value_bytes, answers_bytes};
  return rules;
}

class SessionLimit : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.clock = &clock_;
    options_.log.page_bytes = options_.log.segment_bytes = 256u << 10;
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
  void restart_from_checkpoint() {
    ASSERT_TRUE(node_->checkpoint());
    reopen();
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
  /// What a client is told that asks now.
  uint64_t bound() const {
    const uint64_t log_time_ns = node_->machine().log_time_ns();
    return log_time_ns + node_->machine().rules().bound_window_ns(log_time_ns);
  }
  OwnedCommand first_of(uint64_t client, OwnedCommand command) const {
    return begins_before(bound(), in_session(client, 1, std::move(command)));
  }
  void begin(uint64_t client) { ASSERT_EQ(answer(first_of(client, put("k", "v"))), kDone); }
  bool knows(uint64_t client, uint64_t last_serial) {
    return answer(in_session(client, last_serial + 2, put("k", "v"))).outcome ==
           Outcome::kSerialGap;
  }
  uint64_t sessions() { return node_->machine().session_count(); }
  /// A node that never stopped comes to the same state from the same log.
  void expect_same_from_the_log(const char* where) {
    auto whole = Replica::open(disk_, node_->log(), small_store(where), options_.machine, clock_);
    ASSERT_TRUE(whole) << whole.error().message;
    (*whole)->machine().start();
    ASSERT_TRUE((*whole)->apply_to(node_->replica().watermarks.applied()));
    const StateDigest one = node_->replica().state_digest();
    const StateDigest other = (*whole)->state_digest();
    EXPECT_EQ(one.pairs, other.pairs);
    EXPECT_EQ(one.high, other.high);
    EXPECT_EQ(one.low, other.low);
    EXPECT_EQ(sessions(), (*whole)->machine().session_count());
  }

  testing::FaultFileSystem disk_{1};
  ManualClock clock_;
  Node::Options options_;
  std::unique_ptr<Node> node_;
};

TEST_F(SessionLimit, TheOneWhoseLastUseIsOldestGoes) {
  ASSERT_EQ(answer(set_rules(limited(3))), kDone);
  for (const uint64_t client : {1u, 2u, 3u})
    begin(client);
  EXPECT_EQ(answer(in_session(1, 2, put("k", "v"))), kDone);
  begin(4);
  EXPECT_EQ(sessions(), 3u);
  EXPECT_FALSE(knows(2, 1));
  EXPECT_TRUE(knows(1, 2));
  EXPECT_TRUE(knows(3, 1));
  EXPECT_EQ(answer(in_session(2, 2, put("k", "late"))), kExpired);
  begin(5);
  EXPECT_FALSE(knows(3, 1));
}

// The order is in the store: a node that was started again evicts the same ones.
TEST_F(SessionLimit, ANodeThatWasStartedAgainEvictsTheSame) {
  ASSERT_EQ(answer(set_rules(limited(4))), kDone);
  Random random(3);
  std::map<uint64_t, uint64_t> serials;
  for (int i = 0; i < 120; ++i) {
    const uint64_t client = random.below(7);
    const Answer heard =
        answer(serials[client] == 0 ? first_of(client, add("n", 1))
                                    : in_session(client, serials[client] + 1, add("n", 1)));
    serials[client] = heard == kExpired ? 0 : serials[client] + 1;
    if (random.chance(1, 15)) pass(minutes(random.below(100)));
    if (i % 30 == 29) restart_from_checkpoint();
  }
  EXPECT_EQ(sessions(), 4u);
  expect_same_from_the_log("/whole");
}

// Before the limits, sessions have no addresses: they go first, by their last time and their id,
// whether or not a node was started again in between.
TEST_F(SessionLimit, ThoseOfBeforeTheLimitsGoFirstAndInOneOrder) {
  ASSERT_EQ(answer(set_rules(Rules{})), kDone);
  for (const uint64_t client : {9u, 3u, 7u, 5u, 1u})
    answer(first_of(client, add("n", 1)));
  EXPECT_EQ(answer(in_session(9, 2, add("n", 1))).outcome, Outcome::kDone);
  ASSERT_EQ(answer(set_rules(limited(5, 100, 3 * kOneByte))), kDone);
  for (const bool restart : {false, true}) {
    if (restart) restart_from_checkpoint();
    answer(first_of(20 + restart, add("n", 1)));
  }
  EXPECT_FALSE(knows(3, 1));
  EXPECT_FALSE(knows(7, 1));
  EXPECT_TRUE(knows(5, 1));
  EXPECT_TRUE(knows(9, 2));
  expect_same_from_the_log("/whole");
}

// Fails where the floor is not kept.
TEST_F(SessionLimit, ARepeatOfAFirstCommandIsRefusedOnceItsSessionWasEvicted) {
  ASSERT_EQ(answer(set_rules(limited(2))), kDone);
  const OwnedCommand first = first_of(7, add("n", 1));
  EXPECT_EQ(answer(first).value, "1");
  EXPECT_EQ(answer(first).value, "1") << "the session is known";
  for (const uint64_t client : {8u, 9u})
    begin(client);
  for (const bool restart : {false, true}) {
    if (restart) restart_from_checkpoint();
    EXPECT_EQ(answer(first), kExpired) << restart;
    EXPECT_EQ(answer(add("n", 0)).value, "1") << restart;
  }
  // Its client asks again, and goes on.
  EXPECT_EQ(answer(first_of(7, add("n", 1))).value, "2");
}

// A flood with the greatest bounds there are keeps nobody out: who asks now is let in, though its
// command comes behind some of the flood.
TEST_F(SessionLimit, AFloodKeepsNobodyOut) {
  ASSERT_EQ(answer(set_rules(limited(20))), kDone);
  uint64_t flood = 1000;
  for (int round = 0; round < 10; ++round) {
    const OwnedCommand honest = first_of(static_cast<uint64_t>(round), add("n", 1));
    for (int i = 0; i < 15; ++i)
      begin(flood++);
    ASSERT_EQ(answer(honest).outcome, Outcome::kDone) << round;
  }
  EXPECT_EQ(sessions(), 20u);
}

// With a lower ttl the bounds of the sessions from before are further away than any that a client
// would be told by it: that must not shut the door until they have passed.
TEST_F(SessionLimit, ALowerTtlShutsNobodyOut) {
  Rules rules = limited(3);
  rules.session_ttl_ns = 1000 * kHour;
  ASSERT_EQ(answer(set_rules(rules)), kDone);
  std::vector<OwnedCommand> before;
  for (const uint64_t client : {1u, 2u, 3u}) {
    before.push_back(first_of(client, add("n", 1)));
    EXPECT_EQ(answer(before.back()).outcome, Outcome::kDone);
  }
  rules.session_ttl_ns = kHour;
  ASSERT_EQ(answer(set_rules(rules)), kDone);
  for (uint64_t client = 10; client < 20; ++client) {
    begin(client);
    if (client == 15) restart_from_checkpoint();
  }
  EXPECT_EQ(answer(add("n", 0)).value, "3");
  for (const OwnedCommand& command : before)
    EXPECT_EQ(answer(command), kExpired);
  EXPECT_EQ(answer(add("n", 0)).value, "3");
  // What clients are told has risen by a nanosecond or two, no more.
  EXPECT_LE(bound(), before.back().session->begins_before_ns + 10);
}

// A first command without a bound cannot be told from its repeat: once one was evicted, none
// begins before that one would have ended.
TEST_F(SessionLimit, WithoutABoundNoneBeginsWhileARepeatWouldBeTakenForIt) {
  ASSERT_EQ(answer(set_rules(limited(2))), kDone);
  const OwnedCommand first = in_session(7, 1, add("n", 1));
  EXPECT_EQ(answer(first).value, "1");
  begin(8);
  EXPECT_EQ(answer(in_session(6, 1, put("k", "v"))), kDone) << "none was evicted yet; one is now";
  EXPECT_EQ(answer(first), kExpired);
  EXPECT_EQ(answer(in_session(5, 1, put("k", "v"))), kExpired);
  pass(minutes(50));
  restart_from_checkpoint();
  EXPECT_EQ(answer(first), kExpired);
  begin(9);
  pass(minutes(20));
  EXPECT_EQ(answer(in_session(5, 1, put("k", "v"))), kDone);
  EXPECT_EQ(answer(add("n", 0)).value, "1");
}

// The batch of the first commands after a silence is as new as its own mark.
TEST_F(SessionLimit, WithoutABoundASilenceBeforeItsUseDoesNotCount) {
  ASSERT_EQ(answer(set_rules(limited(1))), kDone);
  clock_.advance(hours(5));
  // Both in one batch: the first is evicted before the mark that dates it.
  const OwnedCommand first = in_session(7, 1, add("n", 1));
  auto before = append(node_->log(), first);
  auto after = append(node_->log(), begins_before(bound() + 1, in_session(8, 1, put("k", "v"))));
  ASSERT_TRUE(before && after);
  ASSERT_TRUE(node_->settle());
  begin(9);
  EXPECT_EQ(answer(first), kExpired);
  EXPECT_EQ(answer(add("n", 0)).value, "1");
}

TEST_F(SessionLimit, TheOldestAnswerOfAllIsForgottenFirst) {
  // Three answers of one byte each.
  ASSERT_EQ(answer(set_rules(limited(100, 100, 3 * kOneByte))), kDone);
  for (uint64_t serial = 1; serial <= 2; ++serial)
    for (const uint64_t client : {1u, 2u}) {
      const OwnedCommand command = in_session(client, serial, add("n", 1));
      answer(serial == 1 ? begins_before(bound(), command) : command);
    }
  for (const bool restart : {false, true}) {
    if (restart) restart_from_checkpoint();
    EXPECT_EQ(answer(in_session(1, 1, add("n", 1))), kNotKept);
    EXPECT_EQ(answer(in_session(2, 1, add("n", 1))).value, "2");
    EXPECT_EQ(answer(in_session(1, 2, add("n", 1))).value, "3");
    EXPECT_EQ(answer(in_session(2, 2, add("n", 1))).value, "4");
  }
  EXPECT_EQ(answer(in_session(1, 3, add("n", 1))).value, "5");
  EXPECT_EQ(answer(in_session(2, 1, add("n", 1))), kNotKept);
  EXPECT_EQ(answer(in_session(1, 2, add("n", 1))).value, "3");
  expect_same_from_the_log("/whole");
}

TEST_F(SessionLimit, ALongValueIsNotKeptWithItsAnswer) {
  ASSERT_EQ(answer(set_rules(limited(100, 5))), kDone);
  ASSERT_EQ(answer(put("short", "12345")), kDone);
  ASSERT_EQ(answer(put("long", "123456")), kDone);
  const Answer is_short{Outcome::kCasMismatch, true, "12345"};
  EXPECT_EQ(answer(first_of(7, cas("short", "x", "y"))), is_short);
  EXPECT_EQ(answer(in_session(7, 2, cas("long", "x", "y"))),
            (Answer{Outcome::kCasMismatch, true, "123456"}));
  for (const bool restart : {false, true}) {
    if (restart) restart_from_checkpoint();
    EXPECT_EQ(answer(in_session(7, 1, cas("short", "x", "y"))), is_short);
    EXPECT_EQ(answer(in_session(7, 2, cas("long", "x", "y"))),
              (Answer{Outcome::kCasMismatch, true, "", 6}));
  }
}

TEST_F(SessionLimit, AValueThatIsTooLongForAnAnswerDoesNotComeWithIt) {
  const std::string most(kMostAnswerBytes, 'v');
  ASSERT_EQ(answer(put("most", most)), kDone);
  ASSERT_EQ(answer(put("more", most + "v")), kDone);
  const Answer withheld{Outcome::kCasMismatch, true, "", most.size() + 1};
  EXPECT_EQ(answer(cas("most", "x", "y")), (Answer{Outcome::kCasMismatch, true, most}));
  EXPECT_EQ(answer(cas("more", "x", "y")), withheld);
  EXPECT_EQ(answer(insert("more", "y")), withheld);
  // Without limits it counts whole, as ever: it takes the room of all the session's answers.
  EXPECT_EQ(answer(in_session(7, 1, add("n", 1))).value, "1");
  EXPECT_EQ(answer(in_session(7, 2, cas("more", "x", "y"))), withheld);
  EXPECT_EQ(answer(in_session(7, 1, add("n", 1))), kNotKept);
  EXPECT_EQ(answer(in_session(7, 2, cas("more", "x", "y"))), kNotKept);
  ASSERT_EQ(answer(set_rules(limited(100))), kDone);
  EXPECT_EQ(answer(in_session(7, 3, add("n", 1))).value, "2");
  EXPECT_EQ(answer(in_session(7, 4, cas("more", "x", "y"))), withheld);
  EXPECT_EQ(answer(in_session(7, 3, add("n", 1))).value, "2");
  EXPECT_EQ(answer(in_session(7, 4, cas("more", "x", "y"))), withheld);
}

// No single command takes long, however many there are too many.
TEST_F(SessionLimit, LowerLimitsAreKeptToBitByBit) {
  ASSERT_EQ(answer(set_rules(Rules{})), kDone);
  for (uint64_t client = 1; client <= 40; ++client)
    answer(first_of(client, add("n", 1)));
  ASSERT_EQ(answer(set_rules(limited(2))), kDone);
  EXPECT_EQ(sessions(), 40u);
  uint64_t known = 40;
  for (uint64_t client = 101; known > 2; ++client) {
    begin(client);
    known = std::max<uint64_t>(2, known + 1 - 2);
    EXPECT_EQ(sessions(), known);
    if (client == 105) restart_from_checkpoint();
  }
  expect_same_from_the_log("/whole");
}

// Whoever hears a stretch's answers holds them in memory (Heard counts their bytes).
TEST_F(SessionLimit, AStretchEndsWhereItsAnswersTakeTooMuch) {
  ASSERT_EQ(answer(put("k", std::string(60'000, 'v'))), kDone);
  fasterlog::LogOptions log = options_.log;
  log.directory = "/other/log";
  auto other = fasterlog::Log::open(disk_, log, clock_);
  ASSERT_TRUE(other);
  ASSERT_TRUE((*other)->become_writer(Epoch{1}));
  auto replica = Replica::open(disk_, **other, small_store("/other/kv"), options_.machine, clock_);
  ASSERT_TRUE(replica);
  (*replica)->machine().start();
  ASSERT_TRUE(append(**other, put("k", std::string(60'000, 'v'))));
  std::vector<Address> lost;
  for (int i = 0; i < 100; ++i) {
    const auto range = append(**other, cas("k", "x", "y"));
    ASSERT_TRUE(range);
    lost.push_back(range->first);
  }
  ASSERT_TRUE((*other)->wait_durable((*other)->tail(), soon()));
  ASSERT_TRUE((*replica)->apply_to((*other)->durable()));
  for (const Address address : lost)
    EXPECT_EQ((*replica)->heard.at(address).value.size(), 60'000u);
}

}  // namespace
}  // namespace tailrace::statemachine
