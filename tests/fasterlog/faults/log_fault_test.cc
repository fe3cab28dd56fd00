#include <thread>

#include <gtest/gtest.h>

#include "fasterlog/format/log_metadata.h"
#include "fasterlog/format/record.h"
#include "fasterlog/log.h"
#include "tests/fasterlog/fault_options.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

// Record i's payload: its number, then bytes that follow from it.
std::string payload(int i) {
  return std::to_string(i) + ":" + std::string((i * 131) % 3000, static_cast<char>('a' + i % 26));
}

struct Outcome {
  int acknowledged = 0;  // records 0..acknowledged were reported durable
  Address begin = kFirstAddress;
  bool failed = false;
};

// Enqueues singly and in pairs, waits for durability, truncates, reopens; stops at any failure.
Outcome run_scenario(FaultFileSystem& disk) {
  Outcome outcome;
  int next = 0;
  for (uint64_t epoch = 1; epoch <= 2; ++epoch) {
    // Once with the flusher's thread alone, once with the waiter flushing where it can.
    LogOptions with = fault_options();
    with.waiters_flush = epoch == 2;
    auto log = Log::open(disk, with);
    if (!log || !(*log)->become_writer(Epoch{epoch})) return outcome.failed = true, outcome;
    for (int round = 0; round < 6; ++round) {
      Result<AddressRange> last = (*log)->enqueue(RecordKind::kData, as_bytes(payload(next)));
      if (!last) return outcome.failed = true, outcome;
      const std::string first = payload(next + 1);
      const std::string second = payload(next + 2);
      const RecordView pair[] = {{RecordKind::kData, as_bytes(first)},
                                 {RecordKind::kData, as_bytes(second)}};
      last = (*log)->try_enqueue_batch(pair);
      if (!last) return outcome.failed = true, outcome;
      next += 3;
      if (!(*log)->wait_durable(last->end)) {
        // The failure is final: nothing is taken any more.
        EXPECT_FALSE((*log)->try_enqueue(RecordKind::kData, as_bytes("x")).has_value());
        EXPECT_TRUE((*log)->failure().has_value());
        return outcome.failed = true, outcome;
      }
      outcome.acknowledged = next;
      if (round == 4) {
        auto begin = (*log)->truncate_before(Address{(*log)->durable().value - 5000});
        if (!begin) return outcome.failed = true, outcome;
        outcome.begin = *begin;
      }
    }
    if (!(*log)->close()) return outcome.failed = true, outcome;
  }
  return outcome;
}

void check_reopened(FaultFileSystem& disk, const Outcome& outcome) {
  auto log = Log::open(disk, fault_options());
  ASSERT_TRUE(log.has_value()) << log.error().message;
  ASSERT_GE((*log)->begin(), outcome.begin);
  int expected = -1;
  const auto scanner = (*log)->scan((*log)->begin());
  for (;;) {
    auto record = scanner->next(Address::max());
    ASSERT_TRUE(record.has_value()) << record.error().message;
    if (!*record) break;
    const std::string text = to_string((*record)->payload);
    const int number = std::atoi(text.c_str());
    if (expected < 0) expected = number;
    ASSERT_EQ(number, expected++);
    ASSERT_EQ(text, payload(number));
  }
  if (outcome.acknowledged > 0) {
    ASSERT_GE(expected, outcome.acknowledged) << "an acknowledged record is missing";
  }
  // Records 1 and 2 of each three were enqueued together: both or neither.
  if (expected > 0) {
    ASSERT_NE(expected % 3, 2) << "half of a batch is there";
  }
  // What is there can be continued.
  ASSERT_TRUE((*log)->become_writer(Epoch{9}).has_value());
  auto more = (*log)->enqueue(RecordKind::kData, as_bytes("more"));
  ASSERT_TRUE(more.has_value()) << more.error().message;
  ASSERT_TRUE((*log)->wait_durable(more->end).has_value());
}

// Killed, reopened, and only then the power fails: what the reopened log calls durable must be.
TEST(KilledProcess, WhatRecoveryFindsSurvivesAPowerCut) {
  int more_than_one_segment = 0;
  for (uint64_t operation = 5; operation < 60; ++operation) {
    SCOPED_TRACE(operation);
    FaultFileSystem disk(operation);
    disk.fail_at(operation, FaultKind::kPowerCut);
    {
      auto log = Log::open(disk, fault_options());
      if (!log || !(*log)->become_writer(Epoch{1})) continue;
      for (int i = 0; i < 30; ++i) {
        if (!(*log)->enqueue(RecordKind::kData, as_bytes(std::string(8000, 'k')))) break;
      }
    }
    disk.crash(CrashPolicy::kProcessEnds);
    Address durable;
    {
      auto log = Log::open(disk, fault_options());
      ASSERT_TRUE(log.has_value()) << log.error().message;
      durable = (*log)->durable();
      disk.fail_at(disk.operations(), FaultKind::kPowerCut);
    }
    more_than_one_segment += durable.value > fault_options().segment_bytes ? 1 : 0;
    disk.crash(CrashPolicy::kLoseUnsynced);
    auto log = Log::open(disk, fault_options());
    ASSERT_TRUE(log.has_value()) << log.error().message;
    ASSERT_EQ((*log)->durable(), durable) << "was called durable";
  }
  EXPECT_GT(more_than_one_segment, 0);
}

TEST(KilledProcess, WhatRecoveryFoundIsProvenSoon) {
  FaultFileSystem disk(1);
  {
    auto log = Log::open(disk, fault_options());
    ASSERT_TRUE(log && (*log)->become_writer(Epoch{1}));
    ASSERT_TRUE((*log)->wait_durable((*log)->enqueue(RecordKind::kData, as_bytes("x"))->end));
    disk.fail_at(disk.operations(), FaultKind::kPowerCut);
  }
  disk.crash(CrashPolicy::kKeepAll);
  auto log = Log::open(disk, fault_options());
  ASSERT_TRUE(log.has_value()) << log.error().message;
  const SteadyTime deadline = system_clock().now() + std::chrono::seconds(30);
  for (;;) {
    auto metadata = read_log_metadata(disk, "/log");
    if (metadata && metadata->proven == (*log)->durable()) break;
    ASSERT_LT(system_clock().now(), deadline) << "a later damage would be taken for a torn tail";
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

class FaultAtEveryOperation : public ::testing::TestWithParam<std::tuple<FaultKind, CrashPolicy>> {
};

TEST_P(FaultAtEveryOperation, LosesNothingAcknowledgedAndKeepsNothingHalf) {
  const auto [kind, policy] = GetParam();
  uint64_t operations = 0;
  {
    FaultFileSystem disk(1);
    ASSERT_FALSE(run_scenario(disk).failed);
    operations = disk.operations();
  }
  for (uint64_t operation = 0; operation < operations; ++operation) {
    SCOPED_TRACE("operation " + std::to_string(operation));
    FaultFileSystem disk(operation + 1);
    disk.fail_at(operation, kind);
    const Outcome outcome = run_scenario(disk);
    disk.crash(policy);
    check_reopened(disk, outcome);
    if (HasFatalFailure()) return;
  }
}

// A full disk has room for what META has to say, and for a start.
TEST(FullDisk, WhatIsDurableIsClosedInOrderAndThereAgain) {
  FaultFileSystem disk(1);
  const Outcome outcome = run_scenario(disk);
  ASSERT_FALSE(outcome.failed);
  std::string newest = "written when no byte was left";
  {
    auto log = Log::open(disk, fault_options());
    ASSERT_TRUE(log) << log.error().message;
    ASSERT_TRUE((*log)->become_writer(Epoch{7}));
    disk.fill();
    const auto range = (*log)->try_enqueue(RecordKind::kData, as_bytes(newest));
    ASSERT_TRUE(range) << range.error().message;
    ASSERT_TRUE((*log)->wait_durable(range->end));
    const auto closed = (*log)->close();
    EXPECT_TRUE(closed) << closed.error().message;
  }
  EXPECT_TRUE(read_log_metadata(disk, "/log")->clean);
  disk.fill();
  auto log = Log::open(disk, fault_options());
  ASSERT_TRUE(log) << log.error().message;
  std::string last;
  const auto scanner = (*log)->scan((*log)->begin());
  for (auto record = scanner->next(Address::max()); *record; record = scanner->next(Address::max()))
    last = to_string((*record)->payload);
  EXPECT_EQ(last, newest);
}

// A copy that differs from its leader's log is cut also where nothing more fits: a change of leader
// does not stop a node because its disk is full.
TEST(FullDisk, ACutNeedsNoRoom) {
  FaultFileSystem disk(1);
  std::vector<Address> ends;
  Address cut;
  {
    auto log = Log::open(disk, fault_options());
    ASSERT_TRUE(log && (*log)->become_writer(Epoch{1}));
    for (int i = 0; i < 150; ++i) {
      const auto range = (*log)->enqueue(RecordKind::kData, as_bytes(std::string(1000, 'x')));
      ASSERT_TRUE(range && (*log)->wait_durable(range->end));
      ends.push_back(range->end);
    }
    auto consumer = (*log)->open_consumer("reader", {});
    ASSERT_TRUE(consumer) << consumer.error().message;
    while ((*consumer)->next()->has_value()) {
    }
    ASSERT_TRUE((*consumer)->acknowledge(ends.back()));
    disk.fill();
    const auto to = (*log)->truncate_after(ends[20] + kLeastMarkBytes);
    ASSERT_TRUE(to) << to.error().message;
    cut = *to;
    EXPECT_GE(cut, ends[20]);
    EXPECT_LT(cut, ends[21]);
    EXPECT_FALSE((*log)->failure());
    EXPECT_LE((*consumer)->position(), cut);
    // Only what is written next finds no room.
    const auto refused = (*log)->try_enqueue(RecordKind::kData, as_bytes("behind the cut"));
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().code, ErrorCode::kIo) << refused.error().message;
    EXPECT_TRUE((*log)->close());
  }
  disk.fill();
  auto log = Log::open(disk, fault_options());
  ASSERT_TRUE(log) << log.error().message;
  size_t records = 0;
  const auto scanner = (*log)->scan((*log)->begin());
  for (auto record = scanner->next(Address::max()); *record; record = scanner->next(Address::max()))
    ++records;
  EXPECT_EQ(records, 21u);
}

// Who asks is told that there is no room, in the words of the refusals, until there is some again:
// before anything is refused, and while the smallest record is still taken where the largest is
// not.
TEST(FullDisk, IsToldUntilThereIsRoom) {
  FaultFileSystem disk(1);
  auto log = Log::open(disk, fault_options());
  ASSERT_TRUE(log) << log.error().message;
  ASSERT_TRUE((*log)->become_writer(Epoch{1}));
  EXPECT_FALSE((*log)->shortage());
  disk.set_capacity(0);
  const std::string event(1000, 'x');
  Result<AddressRange> range;
  int taken_before = 0, taken_after = 0;
  for (;;) {
    const bool told = (*log)->shortage().has_value();
    range = (*log)->enqueue(RecordKind::kData, as_bytes(event));
    if (!range) {
      EXPECT_TRUE(told);
      break;
    }
    ++(told ? taken_after : taken_before);
    // The log's threads find out what there is to know of its disk while it is written, and this
    // disk takes no time for that.
    ASSERT_TRUE((*log)->wait_durable(range->end));
    if ((taken_before + taken_after) % 16 == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_GT(taken_before, 50);
  EXPECT_GT(taken_after, 0);
  EXPECT_LE(taken_after, 2 * 64);
  EXPECT_EQ(range.error().code, ErrorCode::kResourceExhausted);
  ASSERT_TRUE((*log)->shortage());
  EXPECT_EQ((*log)->shortage()->message, range.error().message);
  EXPECT_FALSE((*log)->failure());
  disk.set_capacity(uint64_t{1} << 40);
  // It looks again by itself.
  while ((*log)->shortage())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE((*log)->enqueue(RecordKind::kData, as_bytes(event)));
}

INSTANTIATE_TEST_SUITE_P(
    Faults, FaultAtEveryOperation,
    ::testing::Combine(::testing::Values(FaultKind::kError, FaultKind::kNoSpace,
                                         FaultKind::kPowerCut),
                       ::testing::Values(CrashPolicy::kLoseUnsynced, CrashPolicy::kKeepAll,
                                         CrashPolicy::kRandom)));

}  // namespace
}  // namespace tailrace::fasterlog
