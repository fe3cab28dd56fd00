// The hybrid log on a disk that fails or is full: nobody is stopped for ever, nothing is lost.

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "kv/log/hybrid_log.h"
#include "tests/kv/log/log_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

class LogFaultTest : public ::testing::Test {
 protected:
  FaultFileSystem disk{2};
};

// Promise: whichever operation of the disk fails, nobody waits for ever, the failure stays, and
// what had been made durable before is there afterwards.
TEST_F(LogFaultTest, AFailureAtAnyOperationIsFinalAndStopsNobody) {
  uint64_t struck = 0;
  for (const FaultKind kind :
       {FaultKind::kError, FaultKind::kNoSpace, FaultKind::kShort, FaultKind::kPowerCut}) {
    bool reached = true;
    for (uint64_t operation = 0; reached; operation += 3) {
      SCOPED_TRACE("kind " + std::to_string(static_cast<int>(kind)) + ", operation " +
                   std::to_string(operation));
      FaultFileSystem fresh(operation);
      TestLog small(fresh, small_log());
      fresh.fail_at(operation, kind);
      auto made = HybridLog::create(fresh, small.options, small.protection, small.probe);
      if (!made) continue;
      small.log = std::move(*made);
      std::optional<HybridLog::Start> durable;
      std::map<LogAddress, uint64_t> durable_records;
      std::optional<Error> failure;
      // Another writer, which must come to an end too.
      std::atomic<bool> stop{false};
      std::thread other([&] {
        for (uint64_t number = 100'000; !stop.load(); ++number) {
          const auto appended = small.append_record(number);
          if (appended || appended.error().code == ErrorCode::kResourceExhausted) continue;
          break;
        }
      });
      for (uint64_t number = 0; number < 300 && !failure; ++number) {
        const auto appended = small.append(number);
        if (!appended && kind == FaultKind::kNoSpace && !small.log->failure()) continue;
        if (!appended) failure = appended.error();
        if (number % 50 != 49) continue;
        if (number == 149) stop.store(true);  // so that the end of the log is this thread's alone
        const auto sealed = small.log->seal_tail(true);
        if (!sealed) {
          failure = sealed.error();
          break;
        }
        const auto synced = small.log->make_durable(*sealed);
        if (!synced) {
          failure = synced.error();
          break;
        }
        durable = {small.log->begin(), *sealed, *sealed};
        durable_records = small.written;
      }
      stop.store(true);
      other.join();
      if (failure) {
        ++struck;
        ASSERT_TRUE(small.log->failure().has_value());
        EXPECT_FALSE(small.append_record(1).has_value());
        EXPECT_FALSE(small.log->wait_for_room(100).has_value());
        EXPECT_FALSE(small.log->seal_tail(true).has_value());
        EXPECT_FALSE(small.log->make_durable(small.log->flushed()).has_value());
        // Copying updates waits for this, and it needs no disk.
        const LogAddress read_only = small.log->read_only();
        if (read_only > small.log->first_address()) small.log->wait_safe(read_only - 1);
      }
      small.log.reset();
      reached = fresh.operations() > operation;
      fresh.crash(CrashPolicy::kLoseUnsynced);
      if (!durable) continue;
      const auto recovered = small.recover(*durable);
      ASSERT_TRUE(recovered.has_value()) << recovered.error().message;
      auto walker = LogWalker::create(fresh, *small.log, durable->begin, durable->tail);
      size_t found = 0;
      for (;;) {
        const auto item = (*walker)->next();
        ASSERT_TRUE(item.has_value()) << item.error().message;
        if (!*item) break;
        const auto mine = durable_records.find((*item)->address);
        if (mine == durable_records.end()) continue;  // the other writer's
        small.expect_record((*item)->record, mine->second);
        ++found;
      }
      EXPECT_EQ(found, durable_records.size());
    }
  }
  EXPECT_GT(struck, 20u);
}

// Promise: at the disk budget a writer is refused at once and nothing has failed; space that is
// given back is used.
TEST_F(LogFaultTest, TheDiskBudgetRefusesUntilSpaceIsReleased) {
  auto options = small_log();
  options.disk_bytes = 3 * options.segment_bytes;
  TestLog small(disk, options);
  small.create();
  EXPECT_EQ(small.log->disk_capacity_bytes(), options.disk_bytes);
  uint64_t number = 0;
  for (int round = 0; round < 10; ++round) {
    Result<> appended;
    while ((appended = small.append(number)).has_value())
      ++number;
    EXPECT_EQ(appended.error().code, ErrorCode::kResourceExhausted);
    EXPECT_FALSE(small.log->failure().has_value());
    EXPECT_LE(small.log->tail() - small.log->disk_begin(), options.disk_bytes);
    EXPECT_LE(disk.files().size(), 3u);
    // The last page's room is there for small ones, but not for this.
    EXPECT_FALSE(small.log->wait_for_room(small.log->max_record_bytes()).has_value());
    small.fold();
    // Less than a segment gives nothing back.
    const LogAddress segment = small.log->disk_begin();
    ASSERT_EQ(segment % options.segment_bytes, 0u);
    small.log->set_begin(segment + options.segment_bytes - 64);
    ASSERT_TRUE(small.log->release_disk(small.log->begin()).has_value());
    EXPECT_EQ(small.log->disk_begin(), segment);
    EXPECT_FALSE(small.log->wait_for_room(small.log->max_record_bytes()).has_value());
    const LogAddress begin = small.written.lower_bound(segment + options.segment_bytes)->first;
    small.log->set_begin(begin);
    ASSERT_TRUE(small.log->release_disk(begin).has_value());
    EXPECT_EQ(small.log->disk_begin(), segment + options.segment_bytes);
    EXPECT_FALSE(*disk.exists(segment_path(options, segment)));
    const auto walked = small.expect_walk(begin, small.log->safe_read_only());
    ASSERT_TRUE(walked.has_value()) << walked.error().message;
  }
  EXPECT_EQ(small.probe.released_bytes.value(), 10 * options.segment_bytes);
  // After a restart too.
  small.fold();
  const HybridLog::Start start = start_of(small);
  const LogAddress disk_begin = small.log->disk_begin();
  small.log.reset();
  disk.crash(CrashPolicy::kLoseUnsynced);
  ASSERT_TRUE(small.recover(start).has_value());
  EXPECT_EQ(small.log->disk_begin(), disk_begin);
  ASSERT_TRUE(small.expect_walk(start.begin, start.tail).has_value());
}

// Promise: a full disk is a refusal, not a failure, and the log goes on when there is room again.
TEST_F(LogFaultTest, AFullDiskRefusesAndGoesOn) {
  auto options = small_log();
  TestLog small(disk, options);
  disk.set_capacity(2 * options.segment_bytes);
  small.create();
  uint64_t number = 0;
  Result<> appended;
  while ((appended = small.append(number)).has_value())
    ++number;
  EXPECT_EQ(appended.error().code, ErrorCode::kResourceExhausted);
  small.fold();
  EXPECT_FALSE(small.log->failure().has_value());
  // Given back by the log itself ...
  const LogAddress begin = small.written.lower_bound(options.segment_bytes)->first;
  small.log->set_begin(begin);
  ASSERT_TRUE(small.log->release_disk(begin).has_value());
  ASSERT_TRUE(small.log->wait_for_room(small.log->max_record_bytes()).has_value());
  while ((appended = small.append(number)).has_value())
    ++number;
  EXPECT_EQ(appended.error().code, ErrorCode::kResourceExhausted);
  // ... or by somebody else.
  disk.set_capacity(20 * options.segment_bytes);
  while (!small.log->wait_for_room(small.log->max_record_bytes())) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  small.append_all(number, number + 100);
  small.fold();
  ASSERT_TRUE(small.expect_walk(begin, small.log->tail()).has_value());
}

}  // namespace
}  // namespace tailrace::kv
