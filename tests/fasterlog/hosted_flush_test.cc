// An event loop flushes in place of the log's own thread: nothing else changes for whoever writes,
// waits or cuts, and the loop's own thread may do all of that, too.
#include <mutex>
#include <set>
#include <thread>

#include "fault_options.h"
#include "host_thread.h"
#include "log_fixture.h"
#include "storage/io_choice.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {
namespace {

SteadyTime in_a_minute() {
  return std::chrono::steady_clock::now() + std::chrono::minutes(1);
}

class HostedFlush : public LogFixture {
 protected:
  void SetUp() override {
    if (storage::io_uring_obstacle()) GTEST_SKIP() << "there is no io_uring here";
  }
};

TEST_F(HostedFlush, IsToldOnTheHostsThread) {
  auto log = open_writer(options());
  std::mutex mutex;
  std::set<std::thread::id> tellers;
  HostThread host(*log);
  const auto listener = log->add_durable_listener([&](Address, const Error*) {
    const std::lock_guard lock(mutex);
    tellers.insert(std::this_thread::get_id());
  });
  for (int i = 0; i < 20; ++i) {
    const auto range = log->enqueue(RecordKind::kData, as_bytes(std::string(100 * i, 'x')));
    ASSERT_TRUE(range);
    ASSERT_TRUE(log->wait_durable(range->end, in_a_minute()));
  }
  const std::lock_guard lock(mutex);
  EXPECT_EQ(tellers, std::set<std::thread::id>{host.id()});
}

// Much more than the buffer has room for, so that segments and room are made meanwhile.
TEST_F(HostedFlush, TakesManyWritersAndGoesBackToTheThreadAtAnyMoment) {
  auto log = open_writer(options());
  std::atomic<bool> stop{false};
  std::thread changes([&] {
    while (!stop.load()) {
      const HostThread host(*log);
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
  });
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 3; ++writer)
    writers.emplace_back([&, writer] {
      for (int i = 0; i < 300; ++i) {
        const auto range = log->enqueue(RecordKind::kData,
                                        as_bytes(std::string(5000, 'a' + writer)), in_a_minute());
        ASSERT_TRUE(range) << range.error().message;
        if (i % 3 == 0) {
          ASSERT_TRUE(log->wait_durable(range->end, in_a_minute()));
        }
        if (i % 7 == 0) {
          ASSERT_TRUE(log->wait_durable(range->end));
        }
      }
    });
  for (auto& writer : writers)
    writer.join();
  stop.store(true);
  changes.join();
  ASSERT_TRUE(log->close());
  log = open();
  EXPECT_EQ(payloads(*log).size(), 900u);
}

TEST_F(HostedFlush, TheHostsThreadMayWaitAndChangeRoles) {
  auto log = open_writer(options());
  HostThread host(*log);
  const AddressRange kept = append(*log, "kept");
  host.run_there([&] {
    const auto range = log->enqueue(RecordKind::kData, as_bytes("waited for"));
    ASSERT_TRUE(range);
    ASSERT_TRUE(log->wait_durable(range->end));
    ASSERT_TRUE(log->try_enqueue(RecordKind::kData, as_bytes("flushed by the change of roles")));
    ASSERT_TRUE(log->become_copy());
    ASSERT_TRUE(log->become_writer(Epoch{2}));
    const auto end = log->mark_end_at(log->durable());
    ASSERT_TRUE(end);
    ASSERT_TRUE(log->try_enqueue(RecordKind::kData, as_bytes("cut")));
    ASSERT_TRUE(log->truncate_after(*end));
  });
  append(*log, "after");
  EXPECT_EQ(payloads(*log), (std::vector<std::string>{"kept", "waited for",
                                                      "flushed by the change of roles", "after"}));
  EXPECT_LT(kept.end, log->durable());
  host.run_there([&] { ASSERT_TRUE(log->close()); });
}

TEST_F(HostedFlush, WhoWaitsWithoutADeadlineNeedsNoHost) {
  auto log = open_writer(options());
  HostThread host(*log);
  host.hold(true);
  append(*log, "one");
  std::vector<std::thread> waiters;
  for (int i = 0; i < 3; ++i)
    waiters.emplace_back([&] { append(*log, "two"); });
  for (auto& waiter : waiters)
    waiter.join();
  EXPECT_EQ(payloads(*log).size(), 4u);
  // Who has a deadline waits for the host, and gets what it does.
  const auto range = log->enqueue(RecordKind::kData, as_bytes("three"));
  ASSERT_TRUE(range);
  const auto soon = std::chrono::steady_clock::now() + std::chrono::milliseconds(30);
  const auto late = log->wait_durable(range->end, soon);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kTimedOut);
  host.hold(false);
  EXPECT_TRUE(log->wait_durable(range->end, in_a_minute()));
}

TEST_F(HostedFlush, ThereIsOneHostAndAClosedLogHasNone) {
  auto log = open_writer(options());
  {
    const HostThread host(*log);
    const auto second = log->host_flushes([] {});
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::kFailedPrecondition);
    ASSERT_TRUE(log->close());
  }
  EXPECT_FALSE(log->host_flushes([] {}));
}

TEST_F(HostedFlush, PolicesWithAnIntervalAreKept) {
  LogOptions with = options();
  with.commit = CommitPolicy::each(0, std::chrono::milliseconds(20));
  auto log = open_writer(with);
  const HostThread host(*log);
  const auto range = log->enqueue(RecordKind::kData, as_bytes("soon"));
  ASSERT_TRUE(range);
  const auto deadline = in_a_minute();
  while (log->durable() < range->end && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_GE(log->durable(), range->end);
}

TEST(HostedFlushFaults, AFailureIsToldAndEndsWaits) {
  testing::FaultFileSystem disk(1);
  auto log = Log::open(disk, fault_options());
  ASSERT_TRUE(log);
  ASSERT_TRUE((*log)->become_writer(Epoch{1}));
  const HostThread host(**log);
  std::atomic<int> failures{0};
  const auto listener = (*log)->add_durable_listener(
      [&](Address, const Error* failure) { failures += failure != nullptr; });
  const auto before = (*log)->enqueue(RecordKind::kData, as_bytes("durable"));
  ASSERT_TRUE(before);
  ASSERT_TRUE((*log)->wait_durable(before->end, in_a_minute()));
  disk.fail_at(disk.operations(), testing::FaultKind::kError);
  const auto range = (*log)->enqueue(RecordKind::kData, as_bytes("lost"));
  ASSERT_TRUE(range);
  EXPECT_FALSE((*log)->wait_durable(range->end, in_a_minute()));
  EXPECT_FALSE((*log)->wait_durable(range->end));
  const auto deadline = in_a_minute();
  while (failures.load() == 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(failures.load(), 1);
  EXPECT_FALSE((*log)->close());
}

TEST(HostedFlushFaults, OrdinarySystemCallsHaveNoDescriptor) {
  const testing::TemporaryDirectory directory;
  LogOptions options;
  options.directory = directory.path() / "log";
  auto log = Log::open(storage::posix_file_system(storage::IoChoice::kPosix), options);
  ASSERT_TRUE(log) << log.error().message;
  const auto steps = (*log)->host_flushes([] {});
  ASSERT_FALSE(steps);
  EXPECT_EQ(steps.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace tailrace::fasterlog
