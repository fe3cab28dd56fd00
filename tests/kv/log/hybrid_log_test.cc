// The log of pages by itself: its marks, its pages and who waits for whom.

#include "kv/log/hybrid_log.h"

#include <atomic>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "tests/kv/log/log_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

class HybridLogTest : public ::testing::Test {
 protected:
  testing::FaultFileSystem disk{1};
  TestLog small{disk, small_log()};
};

// Promise: an empty log begins at its first address, and sealing it changes nothing.
TEST_F(HybridLogTest, AnEmptyLogIsSealedAlready) {
  small.create();
  const LogAddress first = small.log->first_address();
  for (const LogAddress mark :
       {small.log->begin(), small.log->head(), small.log->flushed(), small.log->safe_read_only(),
        small.log->read_only(), small.log->tail()}) {
    EXPECT_EQ(mark, first);
  }
  EXPECT_EQ(small.fold(), first);
  EXPECT_EQ(small.fold(), first);
  EXPECT_EQ(small.log->tail(), first);
}

// Promise: a sealed tail is a block's start and stays there when it is sealed again; what follows
// begins exactly there, or at the next page's first record.
TEST_F(HybridLogTest, SealingTwiceIsSealingOnce) {
  small.create();
  for (uint64_t round = 0; round < 40; ++round) {
    ASSERT_TRUE(small.append(round).has_value());
    const LogAddress sealed = small.fold();
    EXPECT_EQ(sealed % kLogBlockBytes, 0u);
    EXPECT_EQ(small.fold(), sealed);
    EXPECT_EQ(small.log->tail(), sealed);
    EXPECT_EQ(small.log->flushed(), sealed);
    EXPECT_EQ(small.log->read_only(), sealed);
    const auto next = small.append_record(1000 + round);
    ASSERT_TRUE(next.has_value());
    small.written[*next] = 1000 + round;
    const LogAddress expected =
        sealed % kTestPage == 0 ? sealed + small.log->first_offset() : sealed;
    EXPECT_EQ(*next, expected);
  }
  const auto walked = small.expect_walk(small.log->first_address(), small.log->safe_read_only());
  EXPECT_TRUE(walked.has_value()) << walked.error().message;
}

// Promise: a log that would begin where records may still change, or behind its tail, ends the
// process: such a beginning loses what is written there.
TEST_F(HybridLogTest, BeginsNoLaterThanItsReadOnlyPart) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  small.create();
  ASSERT_TRUE(small.append(1).has_value());
  const LogAddress sealed = small.fold();
  ASSERT_TRUE(small.append(2).has_value());
  EXPECT_DEATH(small.log->set_begin(small.log->tail()), "the log would begin at");
  EXPECT_DEATH(small.log->set_begin(small.log->tail() + 4096), "the log would begin at");
  small.log->set_begin(sealed);
  EXPECT_EQ(small.log->begin(), sealed);
}

// Promise: a record of the greatest size fits, in every page.
TEST_F(HybridLogTest, TheGreatestRecordFillsAPage) {
  small.create();
  const uint64_t bytes = small.log->max_record_bytes();
  std::set<LogAddress> pages;
  for (int round = 0; round < 20; ++round) {
    for (;;) {
      {
        const storage::EpochProtection::Guard guard(small.protection);
        if (const auto address = small.log->allocate(bytes)) {
          EXPECT_EQ(*address % kTestPage, small.log->first_offset());
          EXPECT_TRUE(pages.insert(*address).second);
          small.log->record(*address)->initialise(0, 0, 1, {}, bytes - 32);
          break;
        }
      }
      ASSERT_TRUE(small.log->wait_for_room(bytes).has_value());
    }
  }
  EXPECT_EQ(pages.size(), 20u);
}

// Promise: the marks are in their order and only grow, whatever writers, sealers and evictions do,
// no two records overlap, and every record is there afterwards.
TEST_F(HybridLogTest, MarksKeepTheirOrderUnderManyWriters) {
  small.create();
  constexpr uint64_t kWriters = 4;
  constexpr uint64_t kEach = 1500;
  std::vector<std::vector<std::pair<LogAddress, uint64_t>>> addresses(kWriters);
  std::atomic<uint64_t> running{kWriters};
  std::vector<std::thread> threads;
  for (uint64_t writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      for (uint64_t number = writer * kEach; number < (writer + 1) * kEach; ++number) {
        const auto address = small.append_record(number);
        ASSERT_TRUE(address.has_value()) << address.error().message;
        addresses[writer].push_back({*address, number});
        const LogAddress read_only = small.log->read_only();
        if (number % 100 == 99 && read_only > small.log->first_address()) {
          small.log->wait_safe(read_only - 1);
          EXPECT_GE(small.log->safe_read_only(), read_only);
        }
      }
      running.fetch_sub(1);
    });
  }
  LogAddress last[6] = {};
  uint64_t rounds = 0;
  while (running.load() > 0) {
    // Read from the lowest on: a mark that is read later may only have grown.
    const LogAddress marks[6] = {small.log->begin(),     small.log->head(),
                                 small.log->flushed(),   small.log->safe_read_only(),
                                 small.log->read_only(), small.log->tail()};
    for (int mark = 0; mark < 6; ++mark) {
      EXPECT_GE(marks[mark], last[mark]) << mark;
      if (mark > 0) {
        EXPECT_GE(marks[mark], marks[mark - 1]) << mark;
      }
      last[mark] = marks[mark];
    }
    if (++rounds % 16 == 0) {
      EXPECT_TRUE(small.log->seal_tail(rounds % 32 == 0).has_value());
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  for (std::thread& thread : threads)
    thread.join();
  for (const auto& each : addresses) {
    for (const auto& [address, number] : each) {
      EXPECT_TRUE(small.written.emplace(address, number).second);
    }
  }
  ASSERT_EQ(small.written.size(), kWriters * kEach);
  LogAddress end = 0;
  for (const auto& [address, number] : small.written) {
    EXPECT_GE(address, end);
    end = address +
          Record::bytes_for(key_of(number).size(), value_of(number, small.most_value_bytes).size());
    EXPECT_GE(address % kTestPage, small.log->first_offset());
    EXPECT_EQ(address / kTestPage, (end - 1) / kTestPage);
  }
  const auto walked = small.expect_walk(small.log->first_address(), small.fold());
  EXPECT_TRUE(walked.has_value()) << walked.error().message;
}

}  // namespace
}  // namespace tailrace::kv
