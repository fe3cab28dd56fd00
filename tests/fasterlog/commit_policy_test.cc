#include <algorithm>
#include <atomic>
#include <thread>

#include "observability/metrics.h"
#include "tests/fasterlog/fault_options.h"
#include "tests/fasterlog/log_fixture.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/gate_file_system.h"

namespace tailrace::fasterlog {
namespace {

using std::chrono::milliseconds;

class CommitPolicyTest : public LogFixture {
 protected:
  LogOptions with(CommitPolicy policy) {
    LogOptions result = options();
    result.commit = policy;
    return result;
  }
  static Result<AddressRange> put(Log& log, size_t bytes) {
    return log.try_enqueue(RecordKind::kData, as_bytes(std::string(bytes, 'x')));
  }
  /// A sleep long enough for a flush that should not come.
  static void long_enough() { std::this_thread::sleep_for(milliseconds(60)); }
  static double begun(Log& log, const std::string& reason) {
    return metric(log, "\ntailrace_log_flushes_begun_total{reason=\"" + reason + "\"} ");
  }
  static double metric(Log& log, const std::string& name) {
    observability::MetricRegistry registry;
    log.register_metrics(registry);
    const std::string text = registry.expose();
    const size_t at = text.find(name);
    EXPECT_NE(at, std::string::npos) << text;
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size()));
  }
};

TEST_F(CommitPolicyTest, OnRequestFlushesOnlyForThoseWhoAskOrWait) {
  auto log = open_writer(with(CommitPolicy::on_request()));
  const Address before = log->durable();
  auto first = put(*log, 100);
  ASSERT_TRUE(first.has_value());
  long_enough();
  EXPECT_EQ(log->durable(), before) << "flushed though nobody asked";
  ASSERT_TRUE(log->wait_durable(first->end).has_value());
  EXPECT_EQ(begun(*log, "requested"), 1);

  auto second = put(*log, 100);
  EXPECT_GE(log->request_commit(), second->end);
  const auto scanner = log->scan(second->first);
  ASSERT_TRUE(scanner->wait(system_clock().now() + std::chrono::seconds(30)).has_value())
      << "a requested commit never came";
  EXPECT_GE(log->durable(), second->end);
  EXPECT_EQ(begun(*log, "requested"), 2);
}

TEST_F(CommitPolicyTest, WhoWaitsFarBeyondTheTailIsServedWhenItIsThereAndNotBefore) {
  auto log = open_writer(with(CommitPolicy::on_request()));
  const Address before = log->durable();
  const Address far = log->tail() + 2000;
  std::thread waits([&] {
    EXPECT_TRUE(log->wait_durable(far, system_clock().now() + std::chrono::seconds(30)).has_value())
        << "nothing is flushed for who waited before the bytes came";
  });
  long_enough();
  ASSERT_TRUE(put(*log, 1000).has_value());
  long_enough();
  EXPECT_EQ(log->durable(), before) << "flushed though the awaited address was not enqueued";
  // The next one is not overlooked behind the far one.
  EXPECT_TRUE(log->wait_durable(log->tail()).has_value());
  EXPECT_EQ(begun(*log, "requested"), 1);
  while (log->tail() < far)
    ASSERT_TRUE(put(*log, 500).has_value());
  waits.join();
  EXPECT_EQ(begun(*log, "requested"), 2);
}

// Listeners have no thread that waits: they say what they want, and a cut does not forget it.
TEST_F(CommitPolicyTest, WhatIsWantedIsFlushedWhenItIsThereAlsoAfterACut) {
  auto log = open_writer(with(CommitPolicy::on_request()));
  append(*log, std::string(3000, 'x'));
  const Address far = log->tail() + 100;
  const auto wanted = log->want_durable(far);
  ASSERT_TRUE(log->truncate_after(kFirstAddress));
  ASSERT_TRUE(put(*log, 1000).has_value());
  long_enough();
  EXPECT_EQ(log->durable(), kFirstAddress) << "flushed though the wanted address is not enqueued";
  while (log->tail() < far)
    ASSERT_TRUE(put(*log, 500).has_value());
  const auto scanner = log->scan(log->begin());
  EXPECT_TRUE(scanner->wait(system_clock().now() + std::chrono::seconds(30)).has_value());
  EXPECT_GE(log->durable(), far);
}

TEST_F(CommitPolicyTest, EachBytesFlushesAtTheSizeAndNotBefore) {
  auto log = open_writer(with(CommitPolicy::each(10'000, {})));
  const Address before = log->durable();
  ASSERT_TRUE(put(*log, 4000).has_value());
  ASSERT_TRUE(put(*log, 4000).has_value());
  long_enough();
  EXPECT_EQ(log->durable(), before);
  auto last = put(*log, 4000);
  const auto scanner = log->scan(last->first);
  ASSERT_TRUE(scanner->wait(system_clock().now() + std::chrono::seconds(30)).has_value());
  EXPECT_EQ(begun(*log, "bytes"), 1);
}

TEST_F(CommitPolicyTest, EachTimeFlushesTheFirstByteWithoutAnotherOne) {
  auto log = open_writer(with(CommitPolicy::each(0, milliseconds(20))));
  for (int round = 0; round < 3; ++round) {
    auto range = put(*log, 100);
    ASSERT_TRUE(range.has_value());
    const auto scanner = log->scan(range->first);
    ASSERT_TRUE(scanner->wait(system_clock().now() + std::chrono::seconds(30)).has_value());
    EXPECT_GE(log->durable(), range->end);
  }
  EXPECT_GE(begun(*log, "interval"), 1);
  EXPECT_EQ(begun(*log, "requested"), 0);
}

TEST_F(CommitPolicyTest, AFullBufferFlushesWhateverThePolicySays) {
  auto log = open_writer(with(CommitPolicy::on_request()));
  std::string expected;
  for (int i = 0; i < 200; ++i) {
    const auto range = log->enqueue(RecordKind::kData, as_bytes(std::string(10'000, 'y')),
                                    system_clock().now() + std::chrono::seconds(30));
    ASSERT_TRUE(range.has_value()) << range.error().message;
  }
  EXPECT_GT(begun(*log, "pressure"), 0);
}

// What is flushed presses no more, although it stays in memory for readers.
TEST_F(CommitPolicyTest, PressureIsOfWhatIsNotFlushedAndFallsAfterAFlush) {
  LogOptions pressed = with(CommitPolicy::on_request());
  pressed.pressure_fraction = 0.25;
  pressed.segment_bytes = 4u << 20;  // whoever had to wait for one would press, too
  auto log = open_writer(pressed);
  const size_t most = size_t{pressed.page_bytes} * pressed.buffer_pages / 4;
  // Up to just below the mark, and everything flushed because it was asked for; then again.
  for (int round = 0; round < 3; ++round) {
    for (size_t done = 0; done + 4096 < most; done += 4096)
      ASSERT_TRUE(put(*log, 4000).has_value());
    long_enough();
    EXPECT_EQ(begun(*log, "pressure"), 0) << "round " << round;
    ASSERT_TRUE(log->wait_durable(log->tail()).has_value());
  }
  // Beyond it nobody has to ask.
  for (size_t done = 0; done < most + 8192; done += 4096)
    ASSERT_TRUE(log->enqueue(RecordKind::kData, as_bytes(std::string(4000, 'x'))).has_value());
  const auto deadline = system_clock().now() + std::chrono::seconds(30);
  while (begun(*log, "pressure") == 0 && system_clock().now() < deadline)
    std::this_thread::sleep_for(milliseconds(1));
  EXPECT_GT(begun(*log, "pressure"), 0);
}

TEST_F(CommitPolicyTest, NoMoreFlushesAreInFlightThanAreAllowed) {
  for (const uint32_t most : {1u, 2u}) {
    LogOptions limited = options(most == 1 ? "one" : "two");
    limited.flushes_in_flight = most;
    auto log = open_writer(limited);
    std::atomic<bool> stop{false};
    std::thread writes([&] {
      while (!stop.load())
        EXPECT_TRUE(log->enqueue(RecordKind::kData, as_bytes(std::string(3000, 'x'))).has_value());
    });
    double greatest = 0;
    for (int look = 0; look < 2000; ++look)
      greatest = std::max(greatest, metric(*log, "\ntailrace_log_flushes_in_flight "));
    stop.store(true);
    writes.join();
    EXPECT_LE(greatest, most);
    EXPECT_GE(greatest, 1);
  }
}

// Promise: beside a flush that is under way, what is little waits and goes together when it is
// done; what is much does not wait.
TEST_F(CommitPolicyTest, LittleWaitsForTheFlushThatIsUnderWay) {
  testing::FaultFileSystem below(1);
  testing::GateFileSystem disk(below);
  LogOptions gated = fault_options();
  gated.page_bytes = 1u << 20;
  gated.segment_bytes = 1u << 20;
  gated.overlap_bytes = 64u << 10;
  auto opened = Log::open(disk, gated);
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  Log& log = **opened;
  ASSERT_TRUE(log.become_writer(Epoch{1}).has_value());
  ASSERT_TRUE(log.wait_durable(log.tail()).has_value());
  disk.hold_queues();
  const double before = begun(log, "natural");
  // So long that its mark ends a block: the next flush could begin at any time.
  ASSERT_TRUE(put(log, 100'000).has_value());
  const auto in_flight = [&](double wanted) {
    const auto deadline = system_clock().now() + std::chrono::seconds(30);
    while (metric(log, "\ntailrace_log_flushes_in_flight ") != wanted &&
           system_clock().now() < deadline)
      std::this_thread::sleep_for(milliseconds(1));
    return metric(log, "\ntailrace_log_flushes_in_flight ");
  };
  EXPECT_EQ(in_flight(1), 1);
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE(put(log, 100).has_value());
  long_enough();
  EXPECT_EQ(in_flight(1), 1) << "a flush of little began beside another one";
  ASSERT_TRUE(put(log, 70'000).has_value());
  EXPECT_EQ(in_flight(2), 2) << "much waited for the flush before";
  ASSERT_TRUE(put(log, 100).has_value());
  disk.let_go();
  ASSERT_TRUE(log.wait_durable(log.tail()).has_value());
  EXPECT_EQ(begun(log, "natural") - before, 3);
}

TEST_F(CommitPolicyTest, ClosingMakesEverythingDurableUnderEveryPolicy) {
  const CommitPolicy policies[] = {CommitPolicy::natural(), CommitPolicy::on_request(),
                                   CommitPolicy::each(1 << 20, {}),
                                   CommitPolicy::each(0, std::chrono::seconds(60))};
  std::vector<std::string> expected;
  for (const CommitPolicy& policy : policies) {
    auto log = open_writer(with(policy));
    expected.push_back("record " + std::to_string(expected.size()));
    ASSERT_TRUE(log->try_enqueue(RecordKind::kData, as_bytes(expected.back())).has_value());
    ASSERT_TRUE(log->close().has_value());
  }
  auto log = open();
  EXPECT_EQ(payloads(*log), expected);
}

TEST_F(CommitPolicyTest, ImpossibleOptionsAreRefusedByName) {
  LogOptions wrong = options();
  wrong.pressure_fraction = 0.9;
  auto log = Log::open(storage::posix_file_system(), wrong);
  ASSERT_FALSE(log.has_value());
  EXPECT_EQ(log.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(log.error().message.find("pressure_fraction"), std::string::npos);
}

}  // namespace
}  // namespace tailrace::fasterlog
