// A host that comes and goes, waiters that flush for themselves and cuts, at the moments at which
// they meet: nobody waits for ever, and a loop with nothing to do is let alone.
#include <atomic>
#include <thread>

#include <poll.h>

#include "fault_options.h"
#include "host_thread.h"
#include "log_fixture.h"
#include "storage/io_choice.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {
namespace {

constexpr std::chrono::seconds kForEver{20};

class HostedFlushRaces : public LogFixture {
 protected:
  void SetUp() override {
    if (storage::io_uring_obstacle()) GTEST_SKIP() << "there is no io_uring here";
  }
};

bool is_readable(int descriptor) {
  pollfd watched{descriptor, POLLIN, 0};
  return ::poll(&watched, 1, 0) == 1;
}

// Else the loop would be called again and again until the next flush.
TEST_F(HostedFlushRaces, AStepLeavesNothingToBeToldOfAgain) {
  auto log = open_writer(options());
  std::atomic<bool> stop{false};
  // Whoever asks for commits wakes him who flushes, also when that has just ended.
  std::thread asks([&] {
    while (!stop.load())
      (void)log->request_commit();
  });
  const auto steps = log->host_flushes([] {});
  ASSERT_TRUE(steps);
  int readable = 0;
  for (int i = 0; i < 300; ++i) {
    append(*log, "flushed by the waiter");
    // Who has begun to wake the waiter may come to it a moment later: the next step takes that.
    bool told = true;
    for (int step = 0; step < 20 && (step < 2 || told); ++step) {
      (void)(*steps)->step();
      told = is_readable((*steps)->descriptor());
    }
    readable += told;
  }
  stop.store(true);
  asks.join();
  EXPECT_EQ(readable, 0);
}

TEST_F(HostedFlushRaces, AClosedLogDoesNotCallItsHost) {
  auto log = open_writer(options());
  const auto steps = log->host_flushes([] {});
  ASSERT_TRUE(steps);
  append(*log, "flushed by the waiter");
  (void)(*steps)->step();
  ASSERT_TRUE(log->close());
  (void)log->request_commit();
  EXPECT_FALSE(is_readable((*steps)->descriptor()));
}

// The thread that flushes from now on tells nobody who waits for his turn to flush.
TEST_F(HostedFlushRaces, WhoWaitsForHisTurnToFlushWhenTheHostGoesIsToldOfTheThread) {
  auto log = open_writer(options());
  for (int i = 0; i < 200; ++i) {
    auto steps = log->host_flushes([] {});
    ASSERT_TRUE(steps);
    std::atomic<int> begun{0}, over{0};
    std::vector<std::thread> waiters;
    for (int waiter = 0; waiter < 4; ++waiter)
      waiters.emplace_back([&] {
        const auto range = log->try_enqueue(RecordKind::kData, as_bytes("waited for"));
        ++begun;
        EXPECT_TRUE(range && log->wait_durable(range->end));
        ++over;
      });
    while (begun.load() < i % 5)
      std::this_thread::yield();
    steps->reset();
    const auto deadline = std::chrono::steady_clock::now() + kForEver;
    while (over.load() < 4 && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    const bool all = over.load() == 4;
    if (!all) steps = log->host_flushes([] {});  // which wakes them
    for (auto& waiter : waiters)
      waiter.join();
    ASSERT_TRUE(all) << "in round " << i;
  }
}

// Who waits for what is cut waits for new bytes, and keeps nobody from flushing and cutting.
TEST_F(HostedFlushRaces, WhoseRecordIsCutBeforeHeFlushesKeepsNobodyFromFlushing) {
  auto log = open_writer(options());
  const Address kept = append(*log, "kept").end;
  const Address cut = *log->mark_end_at(kept);
  const HostThread host(*log);
  std::atomic<bool> stop{false};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 3; ++i)
    waiters.emplace_back([&] {
      while (!stop.load()) {
        const auto range = log->try_enqueue(RecordKind::kData, as_bytes(std::string(300, 'x')));
        if (range) (void)log->wait_durable(range->end);
      }
    });
  std::atomic<int> cuts{0};
  std::thread cutter([&] {
    for (; cuts.load() < 150; ++cuts)
      EXPECT_TRUE(log->truncate_after(cut));
  });
  // However slow the machine is: one of them ends now and then.
  int before = -1;
  while (cuts.load() < 150 && cuts.load() != before) {
    before = cuts.load();
    const auto deadline = std::chrono::steady_clock::now() + kForEver;
    while (cuts.load() == before && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(cuts.load(), 150);
  stop.store(true);
  // Whoever still waits for cut bytes gets new ones.
  std::atomic<bool> joined{false};
  std::thread appends([&] {
    while (!joined.load()) {
      (void)log->try_enqueue(RecordKind::kData, as_bytes(std::string(300, 'y')));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  cutter.join();
  for (auto& waiter : waiters)
    waiter.join();
  joined.store(true);
  appends.join();
}

// The loop has others to serve, however quick the disk is and whoever goes on writing.
TEST(HostedFlushFaults, AStepEndsWhileOthersGoOnWriting) {
  testing::FaultFileSystem disk(1);
  auto log = Log::open(disk, fault_options());
  ASSERT_TRUE(log);
  ASSERT_TRUE((*log)->become_writer(Epoch{1}));
  const auto steps = (*log)->host_flushes([] {});
  ASSERT_TRUE(steps);
  int told = 0;
  const auto listener = (*log)->add_durable_listener([&](Address, const Error*) {
    if (++told < 100) (void)(*log)->try_enqueue(RecordKind::kData, as_bytes("next"));
  });
  ASSERT_TRUE((*log)->try_enqueue(RecordKind::kData, as_bytes("first")));
  for (int calls = 0; told < 100 && calls < 100; ++calls) {
    const int before = told;
    const auto pause = (*steps)->step();
    EXPECT_LE(told - before, 10);
    // It is not waited for where something is left.
    EXPECT_TRUE(told == 100 || pause.count() == 0);
  }
  EXPECT_EQ(told, 100);
}

}  // namespace
}  // namespace tailrace::fasterlog
