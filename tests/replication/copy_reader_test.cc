#include "replication/copy/copy_reader.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "core/random.h"

namespace tailrace::replication {
namespace {

constexpr uint64_t kStretch = CopyReader::kStretchBytes;
constexpr uint64_t kBytes = 3 * kStretch + 100;

std::byte byte_at(uint64_t offset) {
  return static_cast<std::byte>(offset ^ offset >> 8 ^ offset >> 16);
}

Result<> give(uint64_t offset, MutableByteSpan into) {
  for (std::byte& each : into)
    each = byte_at(offset++);
  return {};
}

void expect_right(CopyReader& reader, uint64_t offset, uint64_t size) {
  std::vector<std::byte> bytes(size), right(size);
  const auto read = reader.read(offset, bytes);
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_TRUE(give(offset, right));
  EXPECT_TRUE(bytes == right) << size << " bytes from " << offset;
}

/// In order, from any offset, across stretches, again: always the bytes of that offset.
TEST(CopyReader, GivesTheBytesThatAreAskedFor) {
  CopyReader reader(kBytes, give);
  for (uint64_t at = 0; at < kBytes; at += 1'000'000)
    expect_right(reader, at, std::min<uint64_t>(1'000'000, kBytes - at));
  Random random(1);
  for (int i = 0; i < 12; ++i) {
    const uint64_t at = random.below(kBytes);
    expect_right(reader, at, random.below(std::min(kBytes - at, 2 * kStretch)));
  }
  expect_right(reader, 0, kBytes);
  std::vector<std::byte> bytes(2);
  EXPECT_EQ(reader.read(kBytes - 1, bytes).error().code, ErrorCode::kInvalidArgument);
}

/// Each stretch is read once when the parts follow each other, and the next one without being
/// asked for.
TEST(CopyReader, ReadsEachStretchOnceAndAhead) {
  std::atomic<int> reads = 0;
  CopyReader reader(kBytes, [&](uint64_t offset, MutableByteSpan into) {
    ++reads;
    return give(offset, into);
  });
  expect_right(reader, 0, 10);
  while (reads < 2)
    std::this_thread::yield();
  for (uint64_t at = 10; at < kBytes; at += 999'999)
    expect_right(reader, at, std::min<uint64_t>(999'999, kBytes - at));
  EXPECT_EQ(reads, 4);
}

/// A stretch that failed on the way ahead is not taken for what was read before, and is tried again
/// for who wants it; who wants what fails is told.
TEST(CopyReader, WhatFailsIsToldAndTriedAgain) {
  std::atomic<bool> broken = false;
  std::atomic<int> failures = 0;
  CopyReader reader(kBytes, [&](uint64_t offset, MutableByteSpan into) -> Result<> {
    if (offset >= kStretch && broken) {
      ++failures;
      return make_error(ErrorCode::kIo, "no such sector");
    }
    return give(offset, into);
  });
  broken = true;
  expect_right(reader, 0, kStretch);
  while (failures < 1)
    std::this_thread::yield();
  std::vector<std::byte> bytes(10);
  EXPECT_EQ(reader.read(kStretch, bytes).error().code, ErrorCode::kIo);
  broken = false;
  expect_right(reader, kStretch, 2 * kStretch);
}

}  // namespace
}  // namespace tailrace::replication
