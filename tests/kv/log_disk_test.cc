// The hybrid log and its disk: what is durable comes back, what is damaged is found, and a disk
// that fails or is full stops nobody for ever.

#include <atomic>
#include <cstring>
#include <thread>

#include <gtest/gtest.h>

#include "kv/hybrid_log.h"
#include "kv/log_segments.h"
#include "tests/kv/log_support.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

storage::Path segment_path(const HybridLog::Options& options, LogAddress address) {
  return options.directory / segment_file_name(align_down(address, options.segment_bytes));
}

HybridLog::Start start_of(const TestLog& log) {
  return {log.log->begin(), log.log->flushed(), log.log->tail()};
}

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

// Promise: what was sealed and made durable is there after any crash, however often, and the log
// goes on where it was sealed. Of what came later nothing is in the way.
TEST_F(LogDiskTest, WhatIsDurableSurvivesEveryCrash) {
  for (const CrashPolicy policy : {CrashPolicy::kLoseUnsynced, CrashPolicy::kKeepAll,
                                   CrashPolicy::kRandom, CrashPolicy::kProcessEnds}) {
    SCOPED_TRACE(static_cast<int>(policy));
    FaultFileSystem fresh(10 + static_cast<uint64_t>(policy));
    Random random(20 + static_cast<uint64_t>(policy));
    TestLog small(fresh, small_log(5));
    small.create();
    uint64_t number = 0;
    for (int life = 0; life < 12; ++life) {
      const uint64_t sealed_number = number + random.below(400);
      small.append_all(number, sealed_number);
      small.fold();
      const HybridLog::Start start = start_of(small);
      const auto durable = small.written;
      number = sealed_number + random.below(400);
      small.append_all(sealed_number, number);
      if (random.chance(1, 2)) {
        ASSERT_TRUE(small.log->seal_tail(true).has_value());
      }
      small.log.reset();
      fresh.crash(policy);
      small.written = durable;
      number += 1000;  // what is written from now on differs from what was lost
      HybridLog::Loading loading;
      loading.check_all = life % 2 == 0;
      const auto recovered = small.recover(start, loading);
      ASSERT_TRUE(recovered.has_value()) << recovered.error().message;
      EXPECT_EQ(small.log->tail(), start.tail);
      EXPECT_EQ(small.log->read_only(), start.tail);
      ASSERT_TRUE(small.expect_walk(0, start.tail).has_value());
      ASSERT_TRUE(small.read_cold(0, 4, 16).has_value());
      const storage::EpochProtection::Guard guard(small.protection);
      for (auto at = small.written.lower_bound(small.log->head()); at != small.written.end();
           ++at) {
        small.expect_record(small.log->record(at->first), at->second);
      }
    }
  }
}

// Promise: a log that is only recovered has changed nothing on the disk.
TEST_F(LogDiskTest, RecoveryWritesNothing) {
  TestLog small(disk, small_log());
  small.create();
  small.append_all(0, 500);
  small.fold();
  const HybridLog::Start start = start_of(small);
  small.log.reset();
  const uint64_t operations = disk.operations();
  ASSERT_TRUE(small.recover(start).has_value());
  small.log->wait_safe(start.flushed - 1);
  ASSERT_TRUE(small.expect_walk(0, start.tail).has_value());
  small.log.reset();
  EXPECT_EQ(disk.operations(), operations);
}

// Promise: what was not flushed is taken from the caller, is mutable, and reaches the disk with
// what is written behind it.
TEST_F(LogDiskTest, ThePartThatWasNotFlushedIsFilledIn) {
  TestLog small(disk, small_log(8));
  small.create();
  small.append_all(0, 900);
  small.fold();
  small.append_all(900, 990);
  const LogAddress flushed = small.log->flushed();
  HybridLog::Start start;
  start.begin = small.log->begin();
  start.flushed = flushed;
  start.tail = *small.log->seal_tail(false);
  ASSERT_LT(small.log->flushed(), start.tail);
  std::map<LogAddress, std::vector<std::byte>> image;  // by page
  for (LogAddress page = align_down(flushed, kTestPage); page < start.tail; page += kTestPage) {
    const auto* bytes = reinterpret_cast<const std::byte*>(small.log->record(page));
    image[page].assign(bytes, bytes + kTestPage);
  }
  small.log.reset();
  disk.crash(CrashPolicy::kLoseUnsynced);

  HybridLog::Loading loading;
  LogAddress last = 0;
  loading.fill = [&](LogAddress address, MutableByteSpan into) -> Result<> {
    EXPECT_GT(address, last);
    last = address;
    EXPECT_LE(address + into.size(), start.tail);
    const LogAddress page = align_down(address, kTestPage);
    EXPECT_GE(address - page, kLogBlockBytes);
    std::copy_n(image.at(page).begin() + static_cast<ptrdiff_t>(address - page), into.size(),
                into.begin());
    return {};
  };
  const auto recovered = small.recover(start, loading);
  ASSERT_TRUE(recovered.has_value()) << recovered.error().message;
  EXPECT_EQ(small.log->read_only(), start.flushed);
  small.append_all(2000, 2500);
  const LogAddress end = small.fold();
  ASSERT_TRUE(small.expect_walk(0, end).has_value());
  const HybridLog::Start again = start_of(small);
  small.log.reset();
  disk.crash(CrashPolicy::kLoseUnsynced);
  ASSERT_TRUE(small.recover(again).has_value());
  ASSERT_TRUE(small.expect_walk(0, end).has_value());

  // With too little memory for it the caller learns how much it takes.
  small.log.reset();
  small.options = small_log(4);
  start.flushed = start.begin;
  const auto refused = small.recover(start, loading);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
}

// Promise: what was filled in and finds no disk is refused, not waited for, and written when there
// is room.
TEST_F(LogDiskTest, AFilledPartThatFindsNoDiskIsRefused) {
  TestLog small(disk, small_log(8));
  small.create();
  small.append_all(0, 300);
  small.fold();
  HybridLog::Start start = start_of(small);
  small.log.reset();
  ASSERT_TRUE(disk.remove(segment_path(small.options, start.tail)).has_value());
  const LogAddress segment = align_down(start.tail, small.options.segment_bytes);
  start.begin = start.flushed = segment + kLogBlockBytes;
  ASSERT_LT(start.flushed, start.tail);
  small.written.clear();
  disk.set_capacity(1);
  HybridLog::Loading loading;
  loading.fill = [](LogAddress, MutableByteSpan) -> Result<> { return {}; };
  const auto recovered = small.recover(start, loading);
  ASSERT_TRUE(recovered.has_value()) << recovered.error().message;
  const LogAddress sealed = *small.log->seal_tail(true);
  const auto durable = small.log->make_durable(sealed);
  ASSERT_FALSE(durable.has_value());
  EXPECT_EQ(durable.error().code, ErrorCode::kResourceExhausted);
  EXPECT_FALSE(small.log->failure().has_value());
  disk.set_capacity(100u << 20);
  while (!small.log->make_durable(sealed)) {
    EXPECT_FALSE(small.log->failure().has_value());
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  small.append_all(0, 500);
  ASSERT_TRUE(small.expect_walk(0, small.fold()).has_value());
}

// Promise: an error of the caller's while filling is recovery's.
TEST_F(LogDiskTest, AFailedFillIsARefusal) {
  TestLog small(disk, small_log());
  small.create();
  small.append_all(0, 20);
  const HybridLog::Start start{small.log->begin(), small.log->begin(),
                               *small.log->seal_tail(false)};
  small.log.reset();
  HybridLog::Loading loading;
  loading.fill = [](LogAddress, MutableByteSpan) -> Result<> {
    return make_error(ErrorCode::kCorruption, "the snapshot is damaged");
  };
  const auto recovered = small.recover(start, loading);
  ASSERT_FALSE(recovered.has_value());
  EXPECT_EQ(recovered.error().message, "the snapshot is damaged");
}

// Promise: progress goes up to the total.
TEST_F(LogDiskTest, RecoveryTellsItsProgress) {
  TestLog small(disk, small_log());
  small.create();
  small.append_all(0, 2000);
  small.fold();
  const HybridLog::Start start = start_of(small);
  small.log.reset();
  uint64_t last = 0;
  uint64_t whole = 0;
  HybridLog::Loading loading;
  loading.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, last);
    last = done;
    whole = total;
  };
  ASSERT_TRUE(small.recover(start, loading).has_value());
  EXPECT_GT(whole, 0u);
  EXPECT_EQ(last, whole);
}

// Promise: one flipped bit is found by each way of reading that meets it, and the message says in
// which file and where.
TEST_F(LogDiskTest, AFlippedBitIsFoundOnEachWay) {
  TestLog small(disk, small_log(5));
  small.create();
  small.append_all(0, 2000);
  small.fold();
  const HybridLog::Start start = start_of(small);
  const LogAddress head = small.log->head();
  ASSERT_GT(head, 8 * kTestPage);
  Random random(5);
  for (int round = 0; round < 30; ++round) {
    auto victim = small.written.begin();
    std::advance(victim, static_cast<ptrdiff_t>(random.below(small.written.size() / 2)));
    ASSERT_LT(victim->first, head);
    const LogAddress bad = victim->first + random.below(16);
    const storage::Path path = segment_path(small.options, bad);
    const uint64_t offset = bad % small.options.segment_bytes;
    const int bit = static_cast<int>(random.below(8));
    disk.flip_bit(path, offset, bit);
    const std::string place =
        path.string() + ", offset " + std::to_string(align_down(offset, kLogBlockBytes));
    const auto expect = [&](const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kCorruption);
      EXPECT_NE(error.message.find(place), std::string::npos) << error.message;
    };

    auto reader = ColdReader::create(disk, *small.log, 4);
    std::vector<ColdReader::Completion> completions;
    (*reader)->start(victim->first, 1);
    ASSERT_TRUE((*reader)->poll(completions, std::chrono::seconds(10)).has_value());
    ASSERT_EQ(completions.size(), 1u);
    ASSERT_TRUE(completions[0].error.has_value());
    expect(*completions[0].error);
    reader->reset();

    const auto walked = small.expect_walk(victim->first, start.tail);
    ASSERT_FALSE(walked.has_value());
    expect(walked.error());

    small.log.reset();
    HybridLog::Loading loading;
    const auto checked = small.recover(start, loading);
    ASSERT_FALSE(checked.has_value());
    expect(checked.error());
    // Without the check it is found by who reads it.
    loading.check_all = false;
    ASSERT_TRUE(small.recover(start, loading).has_value());
    const auto cold = small.read_cold(0, 4, 8);
    ASSERT_FALSE(cold.has_value());
    expect(cold.error());
    disk.flip_bit(path, offset, bit);
    ASSERT_TRUE(small.read_cold(0, 4, 8).has_value());
  }
  // In what is loaded into memory recovery itself finds it, and a flipped checksum too.
  for (const LogAddress bad : {start.tail - 1, align_down(start.tail - 1, kTestPage) + 4}) {
    small.log.reset();
    const storage::Path path = segment_path(small.options, bad);
    disk.flip_bit(path, bad % small.options.segment_bytes, 3);
    HybridLog::Loading loading;
    loading.check_all = false;
    const auto recovered = small.recover(start, loading);
    ASSERT_FALSE(recovered.has_value());
    EXPECT_EQ(recovered.error().code, ErrorCode::kCorruption);
    EXPECT_NE(recovered.error().message.find(path.string()), std::string::npos);
    disk.flip_bit(path, bad % small.options.segment_bytes, 3);
  }
  // A missing file is named.
  small.log.reset();
  const storage::Path path = segment_path(small.options, start.begin);
  ASSERT_TRUE(disk.remove(path).has_value());
  const auto recovered = small.recover(start);
  ASSERT_FALSE(recovered.has_value());
  EXPECT_NE(recovered.error().message.find(path.string()), std::string::npos);
}

// Promise: whichever operation of the disk fails, nobody waits for ever, the failure stays, and
// what had been made durable before is there afterwards.
TEST_F(LogDiskTest, AFailureAtAnyOperationIsFinalAndStopsNobody) {
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
TEST_F(LogDiskTest, TheDiskBudgetRefusesUntilSpaceIsReleased) {
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
TEST_F(LogDiskTest, AFullDiskRefusesAndGoesOn) {
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

}  // namespace
}  // namespace tailrace::kv
