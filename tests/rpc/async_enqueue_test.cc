#include "rpc/awaitables/async_enqueue.h"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <gtest/gtest.h>

#include "rpc/awaitables/durable_wait.h"
#include "tests/rpc/fake_log.h"
#include "tests/rpc/small_log.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::rpc {
namespace {

using fasterlog::Log;
using fasterlog::RecordKind;

asio::awaitable<void> writer(Log& log, DurableWait& durable, char name, int records, int& done) {
  for (int i = 0; i < records; ++i) {
    const std::string text(20000, name);
    auto adding = async_enqueue(log, RecordKind::kData, as_bytes(text));
    const Result<AddressRange> range = co_await std::move(adding);
    EXPECT_TRUE(range.has_value()) << (range ? "" : range.error().message);
    if (!range) co_return;
    auto waiting = durable.reached(range->end);
    const Result<> reached = co_await std::move(waiting);
    EXPECT_TRUE(reached.has_value());
    ++done;
  }
}

// Far more than the buffer holds, from coroutines of one thread: each gets its room in the end.
TEST(AsyncEnqueue, ManyCoroutinesOfOneThreadWaitForRoom) {
  tailrace::testing::FaultFileSystem disk(1);
  asio::io_context io;
  const auto log = testing::open_small_log(disk);
  DurableWait durable(*log);
  int done = 0;
  for (char name = 'a'; name < 'a' + 20; ++name)
    asio::co_spawn(io, writer(*log, durable, name, 10, done), [](std::exception_ptr) {});
  io.run();
  EXPECT_EQ(done, 200);
  const auto scanner = log->scan(log->begin());
  int records = 0;
  while (auto record = scanner->next(Address::max()).value())
    ++records;
  EXPECT_EQ(records, 200);
}

asio::awaitable<void> enqueue_one(Log& log, SteadyTime deadline,
                                  std::optional<Result<AddressRange>>& answer) {
  const std::string text(1000, 'x');
  auto adding = async_enqueue(log, RecordKind::kData, as_bytes(text), deadline);
  answer = co_await std::move(adding);
}

TEST(AsyncEnqueue, AFullLogIsTriedUntilTheDeadline) {
  testing::FakeLog log;
  log.block_next(1 << 30);
  asio::io_context io;
  std::optional<Result<AddressRange>> answer;
  const SteadyTime deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(30);
  asio::co_spawn(io, enqueue_one(log, deadline, answer), [](std::exception_ptr) {});
  io.run();
  ASSERT_TRUE(answer && !*answer);
  EXPECT_EQ(answer->error().code, ErrorCode::kTimedOut);
  EXPECT_GE(std::chrono::steady_clock::now(), deadline);
}

TEST(AsyncEnqueue, RoomThatIsMadeIsTaken) {
  testing::FakeLog log;
  log.block_next(1 << 30);
  asio::io_context io;
  std::optional<Result<AddressRange>> answer;
  asio::co_spawn(io, enqueue_one(log, SteadyTime::max(), answer), [](std::exception_ptr) {});
  io.run_for(std::chrono::milliseconds(10));
  EXPECT_FALSE(answer);
  log.block_next(0);
  io.run();
  ASSERT_TRUE(answer && *answer);
  EXPECT_EQ((*answer)->end, log.tail());
  EXPECT_EQ(log.count(), 1u);
}

TEST(AsyncEnqueue, IsCancelled) {
  testing::FakeLog log;
  log.block_next(1 << 30);
  asio::io_context io;
  asio::cancellation_signal stop;
  std::optional<Result<AddressRange>> answer;
  asio::co_spawn(io, enqueue_one(log, SteadyTime::max(), answer),
                 asio::bind_cancellation_slot(stop.slot(), [](std::exception_ptr) {}));
  io.run_for(std::chrono::milliseconds(10));
  stop.emit(asio::cancellation_type::terminal);
  io.run();
  ASSERT_TRUE(answer && !*answer);
  EXPECT_EQ(answer->error().code, ErrorCode::kCancelled);
  EXPECT_EQ(log.count(), 0u);
}

}  // namespace
}  // namespace tailrace::rpc
