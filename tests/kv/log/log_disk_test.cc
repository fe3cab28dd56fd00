// The hybrid log and its disk: what stands there, and how it is read back.

#include <atomic>
#include <cstring>
#include <thread>

#include <gtest/gtest.h>

#include "kv/checkpoint/snapshot_capture.h"
#include "kv/log/hybrid_log.h"
#include "kv/log/segments.h"
#include "tests/kv/log/log_support.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;

class LogDiskTest : public ::testing::Test {
 protected:
  FaultFileSystem disk{2};
};

// Promise: a segment is its pages as they are in memory, each behind the checksums of its blocks;
// those of blocks that were not written are zero.
TEST_F(LogDiskTest, ASegmentIsItsPagesBehindTheirChecksums) {
  TestLog small(disk, small_log());
  small.create();
  ASSERT_TRUE(small.append(1).has_value());
  const LogAddress middle = small.fold();
  ASSERT_EQ(middle, 2 * kLogBlockBytes);
  const auto check = [&](LogAddress sealed) {
    const std::vector<std::byte> file = disk.content("/store/log/0000000000000000.log");
    for (uint64_t block = 0; block < kTestPage / kLogBlockBytes; ++block) {
      const uint64_t at = block * kLogBlockBytes;
      const uint32_t expected =
          block >= 1 && at < sealed ? block_sum(at, ByteSpan(file).subspan(at, kLogBlockBytes)) : 0;
      EXPECT_EQ(load<uint32_t>(file.data() + 4 * block), expected) << block;
    }
    for (uint64_t at = 4 * kTestPage / kLogBlockBytes; at < kLogBlockBytes; ++at) {
      EXPECT_EQ(file[at], std::byte{0});
    }
    EXPECT_EQ(0, std::memcmp(file.data() + kLogBlockBytes, small.log->record(kLogBlockBytes),
                             sealed - kLogBlockBytes));
  };
  check(middle);
  // The header is written again, and says the same of what was there.
  ASSERT_TRUE(small.append(2).has_value());
  const LogAddress later = small.fold();
  ASSERT_EQ(later, 3 * kLogBlockBytes);
  check(later);
}

// Promise: the names sort as the log goes and say where each file begins.
TEST_F(LogDiskTest, SegmentNamesSayTheirAddress) {
  EXPECT_EQ(segment_file_name(0), "0000000000000000.log");
  EXPECT_EQ(segment_file_name(0x12ab00000), "000000012ab00000.log");
  EXPECT_EQ(parse_segment_file_name("000000012ab00000.log"), 0x12ab00000u);
  for (const char* other : {"", "LOCK", "000000012AB00000.log", "000000012ab00000.seg",
                            "00000012ab00000.log", "000000012ab00000.log.old"}) {
    EXPECT_FALSE(parse_segment_file_name(other)) << other;
  }
}

// Promise: a block's checksum knows where the block belongs.
TEST_F(LogDiskTest, ABlockInTheWrongPlaceDoesNotPass) {
  const std::vector<std::byte> zeros(kLogBlockBytes);
  EXPECT_NE(block_sum(4096, zeros), block_sum(8192, zeros));
  EXPECT_NE(block_sum(4096, zeros), 0u);
}

// Promise: a frame is used again only when nobody is inside who may read it.
TEST_F(LogDiskTest, AnEvictedPageWaitsForItsReaders) {
  TestLog small(disk, small_log());
  small.create();
  small.append_all(0, 60);  // all in memory
  ASSERT_EQ(small.log->head(), small.log->first_address());
  small.fold();
  const auto first = *small.written.begin();
  std::atomic<bool> inside{false};
  std::atomic<bool> checked{false};
  std::thread reader([&] {
    const storage::EpochProtection::Guard guard(small.protection);
    ASSERT_GE(first.first, small.log->head());
    Record* record = small.log->record(first.first);
    inside.store(true);
    // The writer stands still, as the page that it wants is held up here.
    while (small.probe.room_waits.value() == 0) {
      small.expect_record(record, first.second);
      std::this_thread::yield();
    }
    for (int round = 0; round < 1000; ++round) {
      small.expect_record(record, first.second);
      std::this_thread::yield();
    }
    checked.store(true);
  });
  while (!inside.load())
    std::this_thread::yield();
  small.append_all(60, 1000);
  EXPECT_TRUE(checked.load());
  reader.join();
  EXPECT_GT(small.log->head(), first.first);
}

// Promise: what was evicted is read back as it was, by record and in order, from and to anywhere,
// also while further pages are evicted.
TEST_F(LogDiskTest, EverythingIsReadBackAfterEviction) {
  TestLog small(disk, small_log(8));
  small.create();
  small.append_all(0, 3000);
  small.fold();
  ASSERT_GT(small.log->head(), 10 * kTestPage);
  const auto read = small.read_cold(0, 8, 30);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_GT(*read, 1000u);
  Random random(3);
  for (int round = 0; round < 20; ++round) {
    auto from = small.written.begin();
    std::advance(from, static_cast<ptrdiff_t>(random.below(small.written.size())));
    auto until = from;
    std::advance(until, static_cast<ptrdiff_t>(random.below(
                            static_cast<uint64_t>(std::distance(from, small.written.end())))));
    const auto walked = small.expect_walk(from->first, until->first);
    ASSERT_TRUE(walked.has_value()) << walked.error().message;
  }
  const LogAddress end = small.log->safe_read_only();
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint64_t number = 3000; !stop.load(); ++number) {
      ASSERT_TRUE(small.append_record(number).has_value());
    }
  });
  for (int round = 0; round < 5; ++round) {
    const auto walked = small.expect_walk(small.log->begin(), end);
    EXPECT_TRUE(walked.has_value()) << walked.error().message;
  }
  stop.store(true);
  writer.join();
}

// Promise: pages of which the checksums fill several blocks work like small ones.
TEST_F(LogDiskTest, PagesWithLongHeaders) {
  const testing::TemporaryDirectory directory;
  auto options = small_log(4, 8u << 20);
  options.segment_bytes = 8u << 20;
  options.directory = directory.path() / "log";
  TestLog large(storage::posix_file_system(), options);
  large.most_value_bytes = 200'000;
  large.create();
  EXPECT_EQ(large.log->first_offset(), 2 * kLogBlockBytes);
  large.append_all(0, 400);
  large.fold();
  const HybridLog::Start start = start_of(large);
  ASSERT_GT(large.log->head(), 8u << 20);
  large.log.reset();
  const auto recovered = large.recover(start);
  ASSERT_TRUE(recovered.has_value()) << recovered.error().message;
  ASSERT_TRUE(large.expect_walk(0, start.tail).has_value());
  const auto read = large.read_cold(0, 4, 8);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_GT(*read, 10u);
}

// Promise: an older checkpoint's blocks keep their checksums when a log that begins after them is
// recovered in the middle of their page and goes on there.
TEST_F(LogDiskTest, TheHeaderKeepsWhatLiesBeforeTheBeginning) {
  TestLog small(disk, small_log());
  small.create();
  small.append_all(0, 10);
  const LogAddress old_end = small.fold();
  ASSERT_LT(old_end, kTestPage - 2 * kLogBlockBytes);
  small.log->set_begin(old_end);
  const HybridLog::Start later{old_end, old_end, old_end};
  small.log.reset();
  ASSERT_TRUE(small.recover(later).has_value());
  ASSERT_TRUE(small.append(11).has_value());
  small.fold();
  small.log.reset();
  disk.crash(CrashPolicy::kLoseUnsynced);
  const HybridLog::Start older{kLogBlockBytes, old_end, old_end};
  const auto recovered = small.recover(older);
  ASSERT_TRUE(recovered.has_value()) << recovered.error().message;
  ASSERT_TRUE(small.expect_walk(0, old_end).has_value());
}

// Promise: a new log has nothing of an old one.
TEST_F(LogDiskTest, CreatingTakesAnOldLogAway) {
  TestLog small(disk, small_log());
  small.create();
  small.append_all(0, 3000);
  small.fold();
  small.log.reset();
  TestLog fresh(disk, small_log());
  fresh.create();
  EXPECT_LE(disk.files().size(), 2u);
  fresh.append_all(5000, 5100);
  ASSERT_TRUE(fresh.expect_walk(0, fresh.fold()).has_value());
}

// Promise: all of it works on a real disk, with O_DIRECT and an asynchronous queue.
TEST_F(LogDiskTest, OnARealDisk) {
  const testing::TemporaryDirectory directory;
  auto options = small_log(8, 1u << 20);
  options.directory = directory.path() / "log";
  TestLog real(storage::posix_file_system(), options);
  real.most_value_bytes = 20'000;
  real.create();
  real.append_all(0, 3000);
  real.fold();
  ASSERT_GT(real.log->head(), 10u << 20);
  ASSERT_TRUE(real.expect_walk(0, real.log->tail()).has_value());
  ASSERT_TRUE(real.read_cold(0, 16, 100).has_value());
  const HybridLog::Start start = start_of(real);
  real.log.reset();
  const auto recovered = real.recover(start);
  ASSERT_TRUE(recovered.has_value()) << recovered.error().message;
  real.append_all(3000, 4000);
  ASSERT_TRUE(real.expect_walk(0, real.fold()).has_value());
  const auto read = real.read_cold(0, 16, 100);
  ASSERT_TRUE(read.has_value()) << read.error().message;
}

// Promise: options that can never work are refused.
TEST_F(LogDiskTest, WrongOptionsAreRefused) {
  storage::EpochProtection protection;
  LogProbe probe;
  auto options = small_log();
  options.page_bytes = 16u << 10;
  EXPECT_FALSE(HybridLog::create(disk, options, protection, probe).has_value());
  options.page_bytes = 48u << 10;
  EXPECT_FALSE(HybridLog::create(disk, options, protection, probe).has_value());
  options = small_log();
  options.segment_bytes = kTestPage / 2;
  EXPECT_FALSE(HybridLog::create(disk, options, protection, probe).has_value());
}

// Promise: a snapshot of what is flushed already, also beyond its end, is empty and no failure.
// Others write on while it is taken, so the flusher may overtake the end that was sealed for it.
TEST_F(LogDiskTest, ASnapshotOfWhatIsFlushedAlreadyIsEmpty) {
  TestLog small(disk, small_log());
  small.create();
  ASSERT_TRUE(small.append(1).has_value());
  const LogAddress end = small.fold();
  ASSERT_TRUE(small.append(2).has_value());
  const LogAddress later = small.fold();
  ASSERT_LT(end, later);
  for (const LogAddress flushed : {end, later}) {
    const SnapshotCapture capture{*small.log, small.protection, flushed, end, {}, {}};
    const auto captured = capture.write(disk, "/store/snapshot", 1);
    ASSERT_TRUE(captured.has_value()) << captured.error().message;
    EXPECT_EQ(captured->from, end);
    EXPECT_EQ(captured->file.chunks, 0u);
  }
}

}  // namespace
}  // namespace tailrace::kv
