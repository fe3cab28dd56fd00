// Records that are only on disk, one by one.

#include "kv/log/cold_reader.h"

#include <thread>

#include <gtest/gtest.h>

#include "tests/kv/log/log_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

class ColdReaderTest : public ::testing::Test {
 protected:
  void fill(uint64_t records, size_t most_value_bytes) {
    small.most_value_bytes = most_value_bytes;
    small.create();
    small.append_all(0, records);
    small.fold();
  }

  testing::FaultFileSystem disk{7};
  TestLog small{disk, small_log(4, 128u << 10)};
  std::vector<ColdReader::Completion> completions;
};

// Promise: records of one block, of two and of many, wide and narrow, at any place in their block,
// come as they were written, however deep the queue is.
TEST_F(ColdReaderTest, RecordsOfEveryLength) {
  fill(1500, 20'000);
  ASSERT_GT(small.log->head(), 20 * small.options.page_bytes);
  for (const size_t depth : {1, 3, 64}) {
    const auto read = small.read_cold(0, depth, 100);
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_GT(*read, 1000u);
  }
  // More than one block was needed for many, and the first guess was not the whole page.
  EXPECT_GT(small.probe.cold_reads.value(), 3000u);
  EXPECT_LT(small.probe.cold_read_bytes.value(),
            small.probe.cold_reads.value() * small.options.page_bytes / 4);
}

// Promise: a read of what begin has passed ends with `gone`: not started yet, in flight, or when
// the file is no more.
TEST_F(ColdReaderTest, WhatBeginHasPassedIsGone) {
  fill(3000, 600);
  const LogAddress head = small.log->head();
  ASSERT_GT(head, small.options.segment_bytes);
  auto reader = ColdReader::create(disk, *small.log, 2);
  const LogAddress first = small.written.begin()->first;
  const LogAddress second = std::next(small.written.begin())->first;
  const LogAddress third = std::next(small.written.begin(), 2)->first;
  (*reader)->start(first, 1);   // in flight
  (*reader)->start(second, 2);  // in flight
  (*reader)->start(third, 3);   // waits for a slot
  const LogAddress begin = small.written.lower_bound(small.options.segment_bytes)->first;
  small.log->set_begin(begin);
  ASSERT_TRUE(small.log->release_disk(begin).has_value());
  (*reader)->start(second, 4);
  (*reader)->start(begin, 5);
  std::map<uint64_t, bool> gone;
  while ((*reader)->in_flight() > 0) {
    ASSERT_TRUE((*reader)->poll(completions, std::chrono::seconds(10)).has_value());
    for (const auto& completion : completions) {
      EXPECT_FALSE(completion.error.has_value()) << completion.error->message;
      EXPECT_EQ(completion.gone, completion.record == nullptr);
      EXPECT_TRUE(gone.emplace(completion.token, completion.gone).second);
    }
  }
  EXPECT_EQ(gone,
            (std::map<uint64_t, bool>{{1, true}, {2, true}, {3, true}, {4, true}, {5, false}}));
}

// Promise: a file that is missing, or too short, is an error that names it, and other reads go on.
TEST_F(ColdReaderTest, AMissingOrShortFileIsNamed) {
  fill(3000, 600);
  const LogAddress later = small.written.lower_bound(small.options.segment_bytes)->first;
  ASSERT_LT(later, small.log->head());
  {
    auto file = disk.open("/store/log/0000000000000000.log",
                          {.mode = storage::OpenMode::kReadWrite, .direct = true});
    ASSERT_TRUE((*file)->truncate(kLogBlockBytes + 512).has_value());
  }
  auto reader = ColdReader::create(disk, *small.log, 4);
  (*reader)->start(small.written.begin()->first, 1);
  (*reader)->start(later, 2);
  std::map<uint64_t, std::string> errors;
  while ((*reader)->in_flight() > 0) {
    ASSERT_TRUE((*reader)->poll(completions, std::chrono::seconds(10)).has_value());
    for (const auto& completion : completions) {
      errors[completion.token] = completion.error ? completion.error->message : "";
    }
  }
  EXPECT_NE(errors[1].find("0000000000000000.log, offset 4608"), std::string::npos) << errors[1];
  EXPECT_EQ(errors[2], "");
}

// Promise: an address at which no record begins is an error, not a record.
TEST_F(ColdReaderTest, NoRecordThere) {
  fill(3000, 600);
  // The zeros between the last record of a page and its end.
  const LogAddress page_end = small.options.page_bytes;
  ASSERT_LT(page_end, small.log->head());
  const LogAddress last = std::prev(small.written.lower_bound(page_end))->first;
  const uint64_t number = small.written.at(last);
  const LogAddress end =
      last + Record::bytes_for(key_of(number).size(), value_of(number, 600).size());
  ASSERT_LT(end, page_end);
  auto reader = ColdReader::create(disk, *small.log, 4);
  (*reader)->start(end, 1);
  ASSERT_TRUE((*reader)->poll(completions, std::chrono::seconds(10)).has_value());
  ASSERT_EQ(completions.size(), 1u);
  ASSERT_TRUE(completions[0].error.has_value());
  EXPECT_EQ(completions[0].error->code, ErrorCode::kCorruption);
}

// Promise: poll() returns when there is nothing to wait for.
TEST_F(ColdReaderTest, NothingInFlightIsNoWait) {
  fill(10, 100);
  auto reader = ColdReader::create(disk, *small.log, 4);
  ASSERT_TRUE((*reader)->poll(completions, std::chrono::hours(1)).has_value());
  EXPECT_TRUE(completions.empty());
  (*reader)->wake();
  ASSERT_TRUE((*reader)->poll(completions, std::chrono::hours(1)).has_value());
}

// Promise: several threads, each with its reader, beside writers and evictions.
TEST_F(ColdReaderTest, ManyReadersBesideAWriter) {
  fill(3000, 600);
  const auto known = small.written;
  const LogAddress head = small.log->head();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    for (uint64_t number = 10'000; !stop.load(); ++number) {
      ASSERT_TRUE(small.append_record(number).has_value());
    }
  });
  std::atomic<uint64_t> done{0};
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    threads.emplace_back([&, seed] {
      Random random(seed);
      auto reader = ColdReader::create(disk, *small.log, 8);
      std::vector<ColdReader::Completion> mine;
      for (uint64_t count = 0; count < 2000;) {
        while ((*reader)->in_flight() < 20) {
          const auto at = known.lower_bound(random.below(head));
          if (at != known.end() && at->first < head) (*reader)->start(at->first, at->second);
        }
        ASSERT_TRUE((*reader)->poll(mine, std::chrono::seconds(10)).has_value());
        for (auto& completion : mine) {
          ASSERT_FALSE(completion.error.has_value()) << completion.error->message;
          small.expect_record(completion.record, completion.token);
          ++count;
        }
      }
      done.fetch_add(1);
    });
  }
  while (done.load() < 3)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  stop.store(true);
  for (std::thread& thread : threads)
    thread.join();
}

}  // namespace
}  // namespace tailrace::kv
