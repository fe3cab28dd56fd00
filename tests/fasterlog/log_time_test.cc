// Log time goes by elapsed time: no clock carries it off, and nothing stops it.

#include "fasterlog/time/log_time.h"

#include <cmath>

#include <gtest/gtest.h>

#include "fasterlog/log.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kBorn = 1'790'000'000'000'000'000;
constexpr Nanoseconds kHour = 1h, kYear = 365 * 24h;

class LogTimeRules : public ::testing::Test {
 protected:
  ClockReading reading() const {
    return {static_cast<uint64_t>(static_cast<int64_t>(kBorn) + (passed_ + error_).count()),
            1000s + passed_};
  }
  /// A node that writes reads its clocks ten times a second.
  void pass(Nanoseconds time) {
    for (const Nanoseconds end = passed_ + time; passed_ < end;) {
      passed_ += std::min<Nanoseconds>(100ms, end - passed_);
      const uint64_t before = rule_.time_ns();
      EXPECT_GE(rule_.advance(reading()), before) << "log time went back";
    }
  }
  /// How far log time is from true time.
  Nanoseconds off() const {
    return Nanoseconds(static_cast<int64_t>(rule_.time_ns() - kBorn)) - passed_;
  }

  LogTimeRule rule_;
  Nanoseconds passed_{0};
  Nanoseconds error_{0};  // of the wall clock
};

TEST_F(LogTimeRules, BeginsWithTheClockAndFollowsIt) {
  rule_.advance(reading());
  EXPECT_EQ(off(), 0ns);
  pass(10s);
  EXPECT_EQ(off(), 0ns);
  error_ = 1s;
  pass(100ms);
  EXPECT_EQ(off(), 1s);
  EXPECT_FALSE(rule_.doubts());
}

TEST_F(LogTimeRules, AClockThatIsAheadForLessThanAMinuteMovesNothing) {
  rule_.advance(reading());
  for (const Nanoseconds error : {Nanoseconds(1min), kHour, 10 * kYear, 200 * kYear}) {
    error_ = error;
    pass(59s);
    EXPECT_TRUE(rule_.doubts());
    EXPECT_LE(off(), LogTimeRule::kMostStep) << error.count();
    error_ = 0ns;
    pass(1s);
    EXPECT_FALSE(rule_.doubts());
  }
  EXPECT_EQ(rule_.jumps(), 0u);
  EXPECT_EQ(rule_.doubts_begun(), 4u);
}

// A cluster that was down for a week.
TEST_F(LogTimeRules, AClockThatStaysAheadIsBelievedAfterAMinute) {
  rule_.see(kBorn, reading());
  error_ = 7 * 24 * kHour;
  pass(59s);
  EXPECT_LE(off(), LogTimeRule::kMostStep);
  EXPECT_EQ(rule_.ahead_ns(), -error_.count());
  pass(2s);
  EXPECT_EQ(off(), error_);
  EXPECT_EQ(rule_.jumps(), 1u);
}

// What is put in the first minute after an outage must not go with the jump at its end.
TEST_F(LogTimeRules, ABelievedClockTakesNothingFromWhatWasPutWhileItWasDoubted) {
  for (const Nanoseconds outage : {Nanoseconds(10s), kHour, 80 * 24 * kHour}) {
    rule_ = {};
    rule_.see(reading().wall_ns, reading());
    error_ += outage;
    passed_ += 1s;
    rule_.advance(reading());
    EXPECT_TRUE(rule_.doubts());
    pass(1s);
    const Nanoseconds put = passed_;
    const uint64_t expires = rule_.reckon_ns() + 300'000'000'000u;
    pass(298s);
    EXPECT_FALSE(rule_.doubts());
    EXPECT_LT(rule_.time_ns(), expires) << outage.count() << " " << (passed_ - put).count();
    pass(4s);
    EXPECT_GE(rule_.time_ns(), expires);
  }
  // A log that began when the clock stood in 1970.
  rule_ = {};
  error_ = -Nanoseconds(kBorn) - passed_;
  rule_.begin();
  rule_.advance(reading());
  error_ = 0ns;
  passed_ += 5s;
  rule_.advance(reading());
  EXPECT_TRUE(rule_.doubts());
  EXPECT_EQ(rule_.reckon_ns(), reading().wall_ns);
  // Further away than that it is no reason to keep anything for years.
  rule_ = {};
  rule_.see(kBorn, reading());
  error_ += 10 * kYear;
  rule_.advance(reading());
  EXPECT_EQ(rule_.reckon_ns(), rule_.time_ns());
}

TEST_F(LogTimeRules, AMinuteIsOneOfManyReadings) {
  rule_.advance(reading());
  error_ = kHour;
  for (int i = 0; i < 50; ++i) {
    passed_ += 10min;
    rule_.advance(reading());
  }
  EXPECT_TRUE(rule_.doubts()) << "each of these counts as a second";
  EXPECT_EQ(off(), 0ns);
}

TEST_F(LogTimeRules, AClockThatWandersIsNeverBelieved) {
  rule_.advance(reading());
  for (int i = 0; i < 200; ++i) {
    error_ = kHour + i % 7 * 10s;
    pass(1s);
  }
  EXPECT_LE(off(), LogTimeRule::kMostStep);
}

// It creeps, so that each reading is near: a sixteenth is all that it gets.
TEST_F(LogTimeRules, AClockThatRunsTooFastCarriesLogTimeASixteenth) {
  rule_.advance(reading());
  for (int i = 0; i < 6000; ++i) {
    error_ += 50ms;
    pass(100ms);
  }
  EXPECT_LE(off(), LogTimeRule::kMostStep + passed_ / 16);
}

TEST_F(LogTimeRules, BehindAClockItNeverGoesBackNorStands) {
  rule_.advance(reading());
  error_ = -kYear;
  const uint64_t before = rule_.time_ns();
  pass(160s);
  const auto moved = Nanoseconds(static_cast<int64_t>(rule_.time_ns() - before));
  EXPECT_EQ(moved, 150s);
  // A clock that is a little behind is waited for.
  error_ = off() - 1s;
  pass(16s);
  EXPECT_EQ(off(), error_);
  pass(100s);
  EXPECT_EQ(off(), error_);
}

TEST_F(LogTimeRules, AnAbsurdClockSaysNothing) {
  for (const int64_t wall : {int64_t{0}, int64_t{1}, INT64_MAX}) {
    rule_ = {};
    rule_.advance({static_cast<uint64_t>(wall), 5s});
    EXPECT_GE(rule_.time_ns(), LogTimeRule::kLeastWall);
    EXPECT_LE(rule_.time_ns(), LogTimeRule::kMostWall);
    rule_ = {};
    rule_.see(kBorn, {static_cast<uint64_t>(wall), 5s});
    EXPECT_EQ(rule_.advance({static_cast<uint64_t>(wall), 25s}), kBorn + 20'000'000'000u);
  }
}

// The fail-over: what passes while nobody writes passes; what it stamped before is forgotten.
TEST_F(LogTimeRules, ANewLeaderGoesOnFromWhatItHasAppliedAndNotFromItsOwnPast) {
  rule_.advance(reading());
  error_ = 10 * kYear;
  pass(100s);
  EXPECT_EQ(rule_.jumps(), 1u);  // it led alone, and nothing of that was committed
  const uint64_t applied = kBorn + 30'000'000'000;
  rule_.end();
  rule_.see(applied, reading());
  passed_ += 5s;
  rule_.see(applied, reading());
  passed_ += 5s;
  rule_.begin();
  EXPECT_EQ(rule_.advance(reading()), applied + 10'000'000'000u);
  rule_.see(applied + 20'000'000'000u, reading());
  EXPECT_EQ(rule_.advance(reading()), applied + 20'000'000'000u);
  // The same without a moment in between.
  rule_.begin();
  EXPECT_EQ(rule_.advance(reading()), applied + 20'000'000'000u);
}

class TwoClocks final : public Clock {
 public:
  SteadyTime now() const override { return SteadyTime(1s); }
  Nanoseconds elapsed() const override { return passed; }
  uint64_t unix_time_ns() const override {
    return static_cast<uint64_t>(static_cast<int64_t>(kBorn) + (passed + error).count());
  }
  Nanoseconds passed{1s}, error{0};
};

TEST(LogTime, StampsTheMarksOfALogAndSaysWhatItIsNow) {
  TwoClocks clock;
  testing::FaultFileSystem disk{1};
  LogOptions options;
  options.directory = "/log";
  options.owner = "test";
  options.page_bytes = 64u << 10;
  options.buffer_pages = 4;
  options.segment_bytes = 64u << 10;
  options.huge_pages = false;
  options.reserve_disk_bytes = 0;
  options.time = std::make_shared<LogTime>(clock);
  options.time->follow(kBorn);
  auto log = Log::open(disk, options, clock);
  ASSERT_TRUE(log) << log.error().message;
  ASSERT_TRUE((*log)->become_writer(Epoch{1}));
  clock.passed += 5s;
  clock.error = kHour;
  EXPECT_EQ(options.time->now_ns(), kBorn + 5'000'000'000u);
  const auto range = (*log)->enqueue(RecordKind::kData, as_bytes("x"));
  ASSERT_TRUE(range);
  ASSERT_TRUE((*log)->wait_durable(range->end));
  const auto scanner = (*log)->scan((*log)->begin(), {.with_commit_marks = true});
  std::optional<uint64_t> stamp;
  while (true) {
    const auto record = scanner->next((*log)->durable());
    ASSERT_TRUE(record);
    if (!*record) break;
    if ((*record)->kind == RecordKind::kCommitMark)
      stamp = parse_commit_mark(**record)->unix_time_ns;
  }
  EXPECT_EQ(stamp, kBorn + 5'000'000'000u);
}

// Promise: the metric is NaN where nobody compares log time with this node's clock, and right where
// it leads; what it was in a lead before is not told in the next one.
TEST(LogTime, HowFarItIsAheadIsToldOfALeaderAlone) {
  TwoClocks clock;
  LogTime time(clock);
  observability::MetricRegistry registry;
  time.register_metrics(registry);
  const auto told = [&] {
    const std::string text = registry.expose(), name = "\ntailrace_log_time_ahead_seconds ";
    return std::stod(text.substr(text.find(name) + name.size()));
  };
  EXPECT_TRUE(std::isnan(told()));
  time.follow(kBorn);
  EXPECT_TRUE(std::isnan(told()));
  clock.error = -kHour;
  time.begin();
  EXPECT_TRUE(std::isnan(told())) << "it has not looked at its clock yet";
  time.write(kBorn);
  EXPECT_NEAR(told(), 3600, 2);
  time.follow(kBorn);
  EXPECT_TRUE(std::isnan(told()));
}

// CLOCK_MONOTONIC stands still there.
TEST(SystemClock, ElapsedTimeGoesOnWithTheMachine) {
  const Nanoseconds before = system_clock().elapsed();
  const Nanoseconds steady = system_clock().now().time_since_epoch();
  EXPECT_GE(before + 1s, steady) << "it has all that the steady clock has, and the suspended time";
  EXPECT_GE(system_clock().elapsed(), before);
}

}  // namespace
}  // namespace tailrace::fasterlog
