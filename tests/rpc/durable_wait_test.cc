#include "rpc/awaitables/durable_wait.h"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <gtest/gtest.h>

#include "core/clock.h"
#include "tests/rpc/fake_log.h"
#include "tests/rpc/small_log.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::rpc {
namespace {

using fasterlog::Log;
using fasterlog::RecordKind;

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
  tailrace::testing::FaultFileSystem disk(1);
  asio::io_context io;  // outlives whoever posts to it
  const auto log = testing::open_small_log(disk);
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
  tailrace::testing::FaultFileSystem disk(1);
  // Enqueued before the disk fails, flushed after: the log's own threads meet the faults at once.
  asio::io_context io;  // outlives whoever posts to it
  const auto log = testing::open_small_log(disk, fasterlog::CommitPolicy::on_request());
  DurableWait durable(*log);
  bool first = false, second = false;
  auto range = log->try_enqueue(RecordKind::kData, as_bytes("lost"));
  ASSERT_TRUE(range.has_value());
  for (uint64_t i = 0; i < 50; ++i)
    disk.fail_at(disk.operations() + i, tailrace::testing::FaultKind::kError);
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
  tailrace::testing::FaultFileSystem disk(1);
  const auto log = testing::open_small_log(disk);
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

/// What one wait came to; nothing while it goes on.
using Answer = std::shared_ptr<std::optional<Result<>>>;

Answer wait_for(asio::io_context& io, DurableWait& durable, Address address,
                SteadyTime deadline = SteadyTime::max()) {
  const auto answer = std::make_shared<std::optional<Result<>>>();
  durable.async_reached(
      address, deadline,
      asio::bind_executor(io.get_executor(), [answer](Result<> result) { *answer = result; }));
  return answer;
}

SteadyTime in(std::chrono::milliseconds time) {
  return system_clock().now() + time;
}

/// Runs until there is an answer; one that never comes is no hanging test.
void run_until_answered(asio::io_context& io, const Answer& answer) {
  const SteadyTime deadline = in(std::chrono::seconds(20));
  io.restart();
  while (!answer->has_value() && system_clock().now() < deadline)
    io.run_one_for(std::chrono::milliseconds(10));
}

ErrorCode code_of(const Answer& answer) {
  EXPECT_TRUE(answer->has_value()) << "it never ended";
  EXPECT_FALSE(answer->has_value() && answer->value().has_value());
  return answer->has_value() && !answer->value() ? answer->value().error().code
                                                 : ErrorCode::kUnknownOutcome;
}

/// Durable moves while the listener is being added, and nobody is told.
class LogThatMovesMeanwhile final : public testing::FakeLog {
 public:
  Address durable() const override { return durable_; }
  ListenerHandle add_durable_listener(DurableListener listener) override {
    durable_ = Address{4096};
    listener_kept_ = std::move(listener);
    return {this, [](void*) {}};
  }

 private:
  Address durable_ = fasterlog::kFirstAddress;
  DurableListener listener_kept_;
};

TEST(DurableWait, AMoveBeforeTheListenerWasThereIsNotMissed) {
  asio::io_context io;
  LogThatMovesMeanwhile log;
  DurableWait durable(log);
  const Answer answer = wait_for(io, durable, Address{4096});
  io.run_for(std::chrono::milliseconds(100));
  ASSERT_TRUE(answer->has_value()) << "waits for what is durable already";
  EXPECT_TRUE(answer->value().has_value());
}

TEST(DurableWait, WhatIsEnqueuedLaterIsCommittedForWhoWaitsWhateverThePolicy) {
  tailrace::testing::FaultFileSystem disk(1);
  asio::io_context io;
  const auto log = testing::open_small_log(disk, fasterlog::CommitPolicy::on_request());
  DurableWait durable(*log);
  const Address before = log->durable();
  const Address near = log->tail() + 1000, far = log->tail() + 5000;
  const Answer first = wait_for(io, durable, near), second = wait_for(io, durable, far);
  ASSERT_TRUE(log->try_enqueue(RecordKind::kData, as_bytes(std::string(500, 'x'))));
  io.run_for(std::chrono::milliseconds(60));
  EXPECT_EQ(log->durable(), before) << "committed before all that is waited for is there";
  while (log->tail() < near)
    ASSERT_TRUE(log->try_enqueue(RecordKind::kData, as_bytes(std::string(500, 'x'))));
  run_until_answered(io, first);
  ASSERT_TRUE(first->has_value()) << "nothing is committed for who waited before the bytes came";
  EXPECT_TRUE(first->value().has_value());
  EXPECT_FALSE(second->has_value());
  while (log->tail() < far)
    ASSERT_TRUE(log->try_enqueue(RecordKind::kData, as_bytes(std::string(500, 'x'))));
  run_until_answered(io, second);
  ASSERT_TRUE(second->has_value());
  EXPECT_TRUE(second->value().has_value());
}

TEST(DurableWait, ATruncationForgetsNobodyWhoWaits) {
  tailrace::testing::FaultFileSystem disk(1);
  asio::io_context io;
  const auto log = testing::open_small_log(disk, fasterlog::CommitPolicy::on_request());
  auto range = log->enqueue(RecordKind::kData, as_bytes(std::string(3000, 'a')));
  ASSERT_TRUE(range && log->wait_durable(range->end));
  DurableWait durable(*log);
  const Answer answer = wait_for(io, durable, log->tail() + 100);
  ASSERT_TRUE(log->truncate_after(fasterlog::kFirstAddress));
  io.run_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(answer->has_value());
  // Durable again, and not as far as before the cut: what is waited for is a new byte.
  auto again = log->enqueue(RecordKind::kData, as_bytes(std::string(1000, 'b')));
  ASSERT_TRUE(again && log->wait_durable(again->end));
  const Answer near = wait_for(io, durable, again->end);
  run_until_answered(io, near);
  EXPECT_TRUE(near->has_value());
  EXPECT_FALSE(answer->has_value()) << "an old durable counts";
  ASSERT_TRUE(log->enqueue(RecordKind::kData, as_bytes(std::string(4000, 'b'))));
  run_until_answered(io, answer);
  ASSERT_TRUE(answer->has_value());
  EXPECT_TRUE(answer->value().has_value());
}

TEST(DurableWait, ClosingTheLogEndsEveryWait) {
  tailrace::testing::FaultFileSystem disk(1);
  asio::io_context io;
  const auto log = testing::open_small_log(disk);
  DurableWait durable(*log);
  const Answer before = wait_for(io, durable, Address{1u << 20});
  ASSERT_TRUE(log->close());
  run_until_answered(io, before);
  EXPECT_EQ(code_of(before), ErrorCode::kClosed);
  const Answer after = wait_for(io, durable, Address{1u << 20});
  run_until_answered(io, after);
  EXPECT_EQ(code_of(after), ErrorCode::kClosed);
  const Answer there = wait_for(io, durable, log->durable());
  run_until_answered(io, there);
  EXPECT_TRUE(there->has_value() && there->value().has_value());
  DurableWait late(*log);
  const Answer of_late = wait_for(io, late, Address{1u << 20});
  run_until_answered(io, of_late);
  EXPECT_EQ(code_of(of_late), ErrorCode::kClosed);
}

TEST(DurableWait, TheDeadlineEndsAWaitAndNoOther) {
  tailrace::testing::FaultFileSystem disk(1);
  asio::io_context io;
  const auto log = testing::open_small_log(disk);
  DurableWait durable(*log);
  const Address far{1u << 20};
  const Answer shorter = wait_for(io, durable, far, in(std::chrono::milliseconds(10)));
  const Answer longer = wait_for(io, durable, far, in(std::chrono::hours(1)));
  run_until_answered(io, shorter);
  EXPECT_EQ(code_of(shorter), ErrorCode::kTimedOut);
  EXPECT_FALSE(longer->has_value());
  // What came in time leaves no timer behind that would keep the executor busy.
  while (log->tail() < far)
    ASSERT_TRUE(log->enqueue(RecordKind::kData, as_bytes(std::string(60'000, 'x'))));
  io.restart();
  io.run_for(std::chrono::seconds(20));
  EXPECT_TRUE(longer->has_value() && longer->value().has_value());
  EXPECT_TRUE(io.stopped());
}

TEST(DurableWait, TheCancellationSlotEndsAWaitAndNoOther) {
  tailrace::testing::FaultFileSystem disk(1);
  asio::io_context io;
  const auto log = testing::open_small_log(disk);
  DurableWait durable(*log);
  asio::cancellation_signal signal;
  bool over = false;
  const Answer other = wait_for(io, durable, Address{1u << 20});
  asio::co_spawn(io, expect(durable, Address{1u << 20}, ErrorCode::kCancelled, over),
                 asio::bind_cancellation_slot(signal.slot(), [](std::exception_ptr) {}));
  io.run_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(over);
  signal.emit(asio::cancellation_type::terminal);
  io.restart();
  io.run_for(std::chrono::milliseconds(100));
  EXPECT_TRUE(over);
  EXPECT_FALSE(other->has_value());
}

// All ends of a wait at once, with several threads: each wait ends once, with one of them.
TEST(DurableWait, OfManyReasonsToEndOneCounts) {
  tailrace::testing::FaultFileSystem disk(1);
  asio::io_context io;
  const auto log = testing::open_small_log(disk);
  std::atomic<int> answers{0};
  constexpr int kWaits = 400;
  {
    DurableWait durable(*log);
    for (int i = 0; i < kWaits; ++i) {
      durable.async_reached(
          log->tail() + static_cast<uint64_t>(i) * 50, in(std::chrono::milliseconds(i % 20)),
          asio::bind_executor(io.get_executor(), [&](const Result<>&) { answers.fetch_add(1); }));
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i)
      threads.emplace_back([&] { io.run_for(std::chrono::milliseconds(15)); });
    for (int i = 0; i < 100; ++i)
      ASSERT_TRUE(log->enqueue(RecordKind::kData, as_bytes(std::string(100, 'x'))));
    for (std::thread& thread : threads)
      thread.join();
  }
  io.restart();
  io.run_for(std::chrono::seconds(20));
  EXPECT_EQ(answers.load(), kWaits);
  EXPECT_TRUE(io.stopped()) << "something of a wait is left";
}

}  // namespace
}  // namespace tailrace::rpc
