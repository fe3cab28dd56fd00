#include "rpc/durable_wait.h"

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <gtest/gtest.h>

#include "tests/support/fault_file_system.h"

namespace tailrace::rpc {
namespace {

using fasterlog::Log;
using fasterlog::LogOptions;
using fasterlog::RecordKind;

std::unique_ptr<Log> open_log(storage::FileSystem& disk, fasterlog::CommitPolicy commit = {}) {
  LogOptions options;
  options.commit = commit;
  options.directory = "/log";
  options.owner = "test";
  options.page_bytes = 64u << 10;
  options.buffer_pages = 4;
  options.segment_bytes = 64u << 10;
  options.reserve_disk_bytes = 0;
  options.huge_pages = false;
  auto log = Log::open(disk, options);
  EXPECT_TRUE(log.has_value());
  EXPECT_TRUE((*log)->become_writer(Epoch{1}).has_value());
  return std::move(*log);
}

asio::awaitable<void> writer(Log& log, DurableWait& durable, int records, int& done) {
  for (int i = 0; i < records; ++i) {
    const std::string text = "record " + std::to_string(i);
    auto range = log.enqueue(RecordKind::kData, as_bytes(text));
    EXPECT_TRUE(range.has_value());
    auto waiting = durable.reached(range->end);
    const Result<> reached = co_await std::move(waiting);
    EXPECT_TRUE(reached.has_value()) << reached.error().message;
    EXPECT_GE(log.durable(), range->end) << "woken before it was durable";
    ++done;
  }
}

TEST(DurableWait, ManyCoroutinesWaitOnOneThreadAndNoneIsWokenEarly) {
  testing::FaultFileSystem disk(1);
  asio::io_context io;  // outlives whoever posts to it
  const auto log = open_log(disk);
  DurableWait durable(*log);
  int done = 0;
  for (int i = 0; i < 20; ++i)
    asio::co_spawn(io, writer(*log, durable, 50, done), [](std::exception_ptr) {});
  io.run();
  EXPECT_EQ(done, 20 * 50);
}

asio::awaitable<void> expect(DurableWait& durable, Address address, ErrorCode code, bool& over) {
  auto waiting = durable.reached(address);
  const Result<> reached = co_await std::move(waiting);
  EXPECT_FALSE(reached.has_value());
  if (!reached) {
    EXPECT_EQ(reached.error().code, code) << reached.error().message;
  }
  over = true;
}

TEST(DurableWait, AFailedDiskEndsEveryWait) {
  testing::FaultFileSystem disk(1);
  // Enqueued before the disk fails, flushed after: the log's own threads meet the faults at once.
  asio::io_context io;  // outlives whoever posts to it
  const auto log = open_log(disk, fasterlog::CommitPolicy::on_request());
  DurableWait durable(*log);
  bool first = false, second = false;
  auto range = log->try_enqueue(RecordKind::kData, as_bytes("lost"));
  ASSERT_TRUE(range.has_value());
  for (uint64_t i = 0; i < 50; ++i)
    disk.fail_at(disk.operations() + i, testing::FaultKind::kError);
  asio::co_spawn(io, expect(durable, range->end, ErrorCode::kIo, first), [](std::exception_ptr) {});
  io.run();
  // And one that begins to wait afterwards.
  io.restart();
  asio::co_spawn(io, expect(durable, range->end, ErrorCode::kIo, second),
                 [](std::exception_ptr) {});
  io.run();
  EXPECT_TRUE(first && second);
}

TEST(DurableWait, EndingItEndsItsWaits) {
  testing::FaultFileSystem disk(1);
  const auto log = open_log(disk);
  asio::io_context io;
  bool over = false;
  {
    DurableWait durable(*log);
    asio::co_spawn(io, expect(durable, Address{1u << 20}, ErrorCode::kClosed, over),
                   [](std::exception_ptr) {});
    io.run_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(over);
  }
  io.run();
  EXPECT_TRUE(over);
}

}  // namespace
}  // namespace tailrace::rpc
