// The log of pages by itself.

#include "kv/hybrid_log.h"

#include <gtest/gtest.h>

namespace tailrace::kv {
namespace {

class HybridLogTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kPage = 4096;
  using Purpose = HybridLog::Purpose;

  /// Allocates until nothing goes any more; returns the last address.
  LogAddress fill(Purpose purpose) {
    LogAddress last = 0;
    const storage::EpochProtection::Guard guard(protection);
    while (const auto address = log->allocate(1000, purpose))
      last = *address;
    return last;
  }

  storage::EpochProtection protection;
  std::unique_ptr<HybridLog> log = std::move(*HybridLog::create({.memory_bytes = 4 * kPage,
                                                                 .page_bytes = kPage,
                                                                 .mutable_fraction = 0.9,
                                                                 .huge_pages = false},
                                                                protection));
};

// Promise: the last page is compaction's alone, also while there is room in it.
TEST_F(HybridLogTest, WritersKeepOutOfTheLastPage) {
  EXPECT_LT(fill(Purpose::kWrite), 3 * kPage);
  EXPECT_FALSE(log->has_room(1000));
  const storage::EpochProtection::Guard guard(protection);
  const auto copied = log->allocate(1000, Purpose::kCompact);
  ASSERT_TRUE(copied.has_value());
  EXPECT_GT(*copied, 3 * kPage);
  EXPECT_FALSE(log->has_room(1000));
  EXPECT_FALSE(log->allocate(1000, Purpose::kWrite).has_value());
  EXPECT_TRUE(log->allocate(1000, Purpose::kCompact).has_value());
}

// Promise: a page is written again only when nobody is inside who may read it.
TEST_F(HybridLogTest, AReleasedPageWaitsForItsReaders) {
  fill(Purpose::kWrite);
  ASSERT_TRUE(log->end_of_first_page().has_value());
  protection.enter();
  log->release_first_page();
  log->reclaim(false);
  EXPECT_FALSE(log->has_room(1000));
  EXPECT_FALSE(log->allocate(1000, Purpose::kWrite).has_value());
  protection.leave();
  log->reclaim(false);
  EXPECT_TRUE(log->has_room(1000));
  // Who comes in later holds nothing up.
  fill(Purpose::kWrite);
  const uint64_t used = log->used_bytes();
  EXPECT_LE(used, log->capacity_bytes());
}

// Promise: the end of the first page is known only when the tail has left it, also of page 0.
TEST_F(HybridLogTest, ThePageOfTheTailHasNoEndYet) {
  EXPECT_FALSE(log->end_of_first_page().has_value());
  const storage::EpochProtection::Guard guard(protection);
  LogAddress last = 0;
  while (last < kPage) {
    EXPECT_FALSE(log->end_of_first_page().has_value()) << "with the tail at " << log->tail();
    last = log->allocate(1000, Purpose::kWrite).value();
  }
  EXPECT_EQ(log->end_of_first_page().value(), 64 + 4 * 1000u);
}

// Promise: what was frozen never becomes writable in place again.
TEST_F(HybridLogTest, TheReadOnlyMarkNeverSinks) {
  fill(Purpose::kWrite);
  log->freeze(2 * kPage);
  EXPECT_EQ(log->frozen(), 2 * kPage);
  EXPECT_GE(log->read_only(), log->frozen());
  log->freeze(kPage);
  EXPECT_EQ(log->frozen(), 2 * kPage);
  log->release_first_page();
  EXPECT_GE(log->read_only(), log->frozen());
}

}  // namespace
}  // namespace tailrace::kv
