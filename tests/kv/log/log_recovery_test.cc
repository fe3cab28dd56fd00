// The hybrid log after a crash: what was durable comes back, and what is damaged is found.

#include <gtest/gtest.h>

#include "kv/log/hybrid_log.h"
#include "tests/kv/log/log_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;

class LogRecoveryTest : public ::testing::Test {
 protected:
  FaultFileSystem disk{2};
};

// Promise: what was sealed and made durable is there after any crash, however often, and the log
// goes on where it was sealed. Of what came later nothing is in the way.
TEST_F(LogRecoveryTest, WhatIsDurableSurvivesEveryCrash) {
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
TEST_F(LogRecoveryTest, RecoveryWritesNothing) {
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
TEST_F(LogRecoveryTest, ThePartThatWasNotFlushedIsFilledIn) {
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
TEST_F(LogRecoveryTest, AFilledPartThatFindsNoDiskIsRefused) {
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
TEST_F(LogRecoveryTest, AFailedFillIsARefusal) {
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
TEST_F(LogRecoveryTest, RecoveryTellsItsProgress) {
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
TEST_F(LogRecoveryTest, AFlippedBitIsFoundOnEachWay) {
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

}  // namespace
}  // namespace tailrace::kv
