#include <fstream>
#include <thread>

#include "fasterlog/engine/consumers.h"
#include "storage/atomic_file.h"
#include "tests/fasterlog/fault_options.h"
#include "tests/fasterlog/log_fixture.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {
namespace {

class ConsumerTest : public LogFixture {
 protected:
  /// Reads and acknowledges `count` records; their payloads.
  static std::vector<std::string> consume(Consumer& consumer, int count) {
    std::vector<std::string> result;
    Address end;
    for (int i = 0; i < count; ++i) {
      auto record = consumer.next();
      EXPECT_TRUE(record.has_value() && *record);
      if (!record || !*record) break;
      result.push_back(to_string((*record)->payload));
      end = (*record)->end;
    }
    EXPECT_TRUE(consumer.acknowledge(end).has_value());
    return result;
  }
};

TEST_F(ConsumerTest, GoesOnWhereItAcknowledgedAfterAReopen) {
  {
    auto log = open_writer(options());
    for (int i = 0; i < 6; ++i)
      append(*log, std::to_string(i));
    auto consumer = log->open_consumer("mailer");
    ASSERT_TRUE(consumer.has_value()) << consumer.error().message;
    EXPECT_EQ(consume(**consumer, 2), (std::vector<std::string>{"0", "1"}));
    ASSERT_TRUE((*consumer)->next().has_value());  // read and not acknowledged: comes again
  }
  auto log = open();
  auto consumer = log->open_consumer("mailer");
  ASSERT_TRUE(consumer.has_value());
  EXPECT_EQ(consume(**consumer, 4), (std::vector<std::string>{"2", "3", "4", "5"}));
}

TEST_F(ConsumerTest, PinsTheLogUntilItAcknowledgesOrFallsTooFarBehind) {
  auto log = open_writer(options());
  for (int i = 0; i < 20; ++i)
    append(*log, std::to_string(i) + std::string(1000, 'x'));
  ConsumerOptions bounded;
  bounded.most_pinned_bytes = 12'000;
  auto all = log->open_consumer("all");
  auto some = log->open_consumer("some", bounded);
  ASSERT_TRUE(all && some);
  ASSERT_TRUE(log->truncate_before(log->durable()).has_value());
  EXPECT_EQ(log->begin(), kFirstAddress) << "the log was taken from under a consumer";
  for (const ConsumerStatus& status : log->consumers())
    EXPECT_EQ(status.pins, status.name == "all") << status.name;

  consume(**all, 15);
  ASSERT_TRUE(log->truncate_before(log->durable()).has_value());
  EXPECT_LE(log->begin(), (*all)->position());
  EXPECT_GT(log->begin(), kFirstAddress);
  // Its position is the end of record 14, whose batch ends a commit mark later.
  EXPECT_EQ(payloads(*log).size(), 6u);
  const auto lost = (*some)->next();
  ASSERT_FALSE(lost.has_value());
  EXPECT_EQ(lost.error().code, ErrorCode::kTruncated);
}

TEST_F(ConsumerTest, WaitsForWhatComes) {
  auto log = open_writer(options());
  append(*log, "old");
  ConsumerOptions from_end;
  from_end.from_end = true;
  auto consumer = log->open_consumer("tail", from_end);
  ASSERT_TRUE(consumer.has_value());
  EXPECT_EQ((*consumer)->wait(system_clock().now() + std::chrono::milliseconds(20)).error().code,
            ErrorCode::kTimedOut);
  std::thread writer([&] { append(*log, "new"); });
  ASSERT_TRUE((*consumer)->wait(system_clock().now() + std::chrono::seconds(30)).has_value());
  EXPECT_EQ(consume(**consumer, 1), std::vector<std::string>{"new"});
  writer.join();
  EXPECT_FALSE((*consumer)->next()->has_value());
  std::stop_source stop;
  std::thread stopper([&] { stop.request_stop(); });
  EXPECT_EQ((*consumer)->wait(SteadyTime::max(), stop.get_token()).error().code,
            ErrorCode::kCancelled);
  stopper.join();
}

TEST_F(ConsumerTest, ClosingTheLogEndsItsWaits) {
  auto log = open_writer(options());
  const auto scanner = log->scan(log->durable());
  std::thread closer([&] { ASSERT_TRUE(log->close().has_value()); });
  EXPECT_EQ(scanner->wait().error().code, ErrorCode::kClosed);
  closer.join();
}

TEST_F(ConsumerTest, NamesAreCheckedAndAConsumerIsOpenOnce) {
  auto log = open_writer(options());
  append(*log, "x");
  EXPECT_EQ(log->open_consumer("").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(log->open_consumer(std::string(256, 'n')).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(log->remove_consumer("nobody").error().code, ErrorCode::kNotFound);
  {
    auto consumer = log->open_consumer("one");
    ASSERT_TRUE(consumer.has_value());
    EXPECT_EQ(log->open_consumer("one").error().code, ErrorCode::kAlreadyExists);
    EXPECT_EQ(log->remove_consumer("one").error().code, ErrorCode::kFailedPrecondition);
    EXPECT_EQ((*consumer)->acknowledge(log->durable()).error().code, ErrorCode::kInvalidArgument)
        << "acknowledged what it never read";
  }
  EXPECT_TRUE(log->remove_consumer("one").has_value());
  EXPECT_TRUE(log->consumers().empty());
}

TEST_F(ConsumerTest, ASuffixTruncationTakesPositionsBack) {
  auto log = open_writer(options());
  append(*log, "0");
  const AddressRange cut = append(*log, "1");
  auto consumer = log->open_consumer("c");
  consume(**consumer, 2);
  ASSERT_TRUE(log->truncate_after(cut.first).has_value());
  append(*log, "other");
  EXPECT_EQ((*consumer)->next().error().code, ErrorCode::kOutOfRange);
  consumer->reset();
  auto again = log->open_consumer("c");
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(consume(**again, 1), std::vector<std::string>{"other"});
}

TEST_F(ConsumerTest, WhatWasCutCanNotBeAcknowledgedAnyMore) {
  auto log = open_writer(options());
  append(*log, "0");
  const AddressRange cut = append(*log, "1");
  const AddressRange last = append(*log, "2");
  auto consumer = log->open_consumer("c");
  ASSERT_TRUE(consumer.has_value());
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE((*consumer)->next().has_value());
  ASSERT_TRUE((*consumer)->acknowledge(cut.end).has_value());
  const auto to = log->truncate_after(cut.first);
  ASSERT_TRUE(to.has_value());
  EXPECT_EQ((*consumer)->position(), *to);
  EXPECT_EQ((*consumer)->acknowledge(last.end).error().code, ErrorCode::kOutOfRange);
  EXPECT_EQ((*consumer)->acknowledge(cut.first).error().code, ErrorCode::kOutOfRange);
  EXPECT_EQ(log->consumers()[0].position, *to) << "a position beyond the log's end";
  append(*log, "other");
  append(*log, "another");
  consumer->reset();
  consumer = log->open_consumer("c");
  ASSERT_TRUE(consumer.has_value());
  EXPECT_EQ(consume(**consumer, 2), (std::vector<std::string>{"other", "another"}));
}

TEST_F(ConsumerTest, OnlyTheEndOfARecordIsAcknowledged) {
  {
    auto log = open_writer(options());
    const AddressRange first = append(*log, "0");
    append(*log, "1");
    auto consumer = log->open_consumer("c");
    ASSERT_TRUE(consumer.has_value());
    ASSERT_TRUE((*consumer)->next().has_value() && (*consumer)->next().has_value());
    for (const Address wrong : {first.end - 8, first.end + 1, first.end - 1})
      EXPECT_EQ((*consumer)->acknowledge(wrong).error().code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE((*consumer)->acknowledge(first.end).has_value());
  }
  auto log = Log::open(storage::posix_file_system(), options());
  ASSERT_TRUE(log.has_value()) << log.error().message;
  EXPECT_EQ(consume(**(*log)->open_consumer("c"), 1), std::vector<std::string>{"1"});
}

TEST_F(ConsumerTest, ADamagedFileIsRefusedByName) {
  {
    auto log = open_writer(options());
    append(*log, "x");
    ASSERT_TRUE(log->open_consumer("c").has_value());
  }
  const auto path = root_ / "log" / kConsumersName;
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(45);
  file.put('!');
  file.close();
  auto log = Log::open(storage::posix_file_system(), options());
  ASSERT_FALSE(log.has_value());
  EXPECT_EQ(log.error().code, ErrorCode::kCorruption);
  EXPECT_NE(log.error().message.find(kConsumersName), std::string::npos) << log.error().message;
}

/// What the log does beside its callers, such as making the next segment, is over.
void wait_until_quiet(const testing::FaultFileSystem& disk) {
  for (uint64_t before = ~uint64_t{0}; before != disk.operations();) {
    before = disk.operations();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

// A removal that failed may have reached the disk all the same. Who opens the consumer after that
// has it: it is there after a crash, too.
TEST(ConsumerFault, OneOpenedAfterAFailedRemovalIsThereAfterACrash) {
  int failures = 0;
  for (uint64_t operation = 0; operation < 10; ++operation) {
    SCOPED_TRACE("operation " + std::to_string(operation));
    testing::FaultFileSystem disk(1);
    auto log = Log::open(disk, fault_options());
    ASSERT_TRUE(log.has_value());
    ASSERT_TRUE((*log)->open_consumer("c").has_value());
    wait_until_quiet(disk);
    disk.fail_at(disk.operations() + operation, testing::FaultKind::kNoSpace);
    const auto removed = (*log)->remove_consumer("c");
    if (removed) continue;
    ++failures;
    ASSERT_TRUE((*log)->open_consumer("c").has_value());
    disk.fail_at(disk.operations(), testing::FaultKind::kPowerCut);
    log->reset();
    disk.crash(testing::CrashPolicy::kKeepAll);
    auto again = Log::open(disk, fault_options());
    ASSERT_TRUE(again.has_value()) << again.error().message;
    ASSERT_EQ((*again)->consumers().size(), 1u);
  }
  EXPECT_GE(failures, 4) << "opening, writing, syncing, renaming, syncing the directory";
}

}  // namespace
}  // namespace tailrace::fasterlog
