// A waiter that finds the flusher idle flushes itself. What others are promised stays.

#include <atomic>
#include <thread>

#include "core/mutex.h"
#include "observability/metrics.h"
#include "tests/fasterlog/fault_options.h"
#include "tests/fasterlog/log_fixture.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {
namespace {

class WaiterFlush : public LogFixture {};

/// What listeners were told last.
class Told {
 public:
  explicit Told(Log& log) {
    handle_ = log.add_durable_listener([this](Address durable, const Error* failure) {
      const MutexLock lock(mutex_);
      durable_ = durable;
      failed_ = failed_ || failure != nullptr;
      changed_.notify_all();
    });
  }
  template <typename There>
  bool wait(There there) {
    MutexLock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return there(*this); });
  }
  Address durable() const { return durable_; }
  bool failed() const { return failed_; }

 private:
  Mutex mutex_;
  Condition changed_;
  Address durable_;
  bool failed_ = false;
  Log::ListenerHandle handle_;
};

TEST_F(WaiterFlush, ListenersAreToldOfAWaitersFlush) {
  auto log = open_writer(options());
  Told told(*log);
  for (int i = 0; i < 50; ++i) {
    append(*log, "record");
    const Address durable = log->durable();
    EXPECT_TRUE(told.wait([&](Told& t) { return t.durable() >= durable; })) << "commit " << i;
  }
}

TEST_F(WaiterFlush, ListenersAreToldOfACut) {
  auto log = open_writer(options());
  Told told(*log);
  const AddressRange first = append(*log, "stays");
  const Address cut = log->durable();
  append(*log, "goes");
  ASSERT_TRUE(told.wait([&](Told& t) { return t.durable() > cut; }));
  ASSERT_TRUE(log->truncate_after(cut).has_value());
  EXPECT_TRUE(told.wait([&](Told& t) { return t.durable() == cut; }));
  EXPECT_GE(cut, first.end);
}

TEST_F(WaiterFlush, BytesThatNobodyWaitsForAreFlushedBetweenAndAfterLoneCommits) {
  auto log = open_writer(options());
  for (int i = 0; i < 20; ++i) {
    append(*log, "waited for");
    const auto left = log->enqueue(RecordKind::kData, as_bytes("not waited for"));
    ASSERT_TRUE(left.has_value());
    const auto scanner = log->scan(left->first);
    ASSERT_TRUE(scanner->wait(system_clock().now() + std::chrono::seconds(30)).has_value());
    EXPECT_GE(log->durable(), left->end);
  }
}

TEST(WaiterFlushFault, AFailedWriteOrSyncOfAWaiterIsFinalAndEverybodyHearsOfIt) {
  for (const char* call : {"write", "fdatasync"}) {
    testing::FaultFileSystem disk(1);
    LogOptions with = fault_options();
    with.commit = CommitPolicy::on_request();
    auto log = Log::open(disk, with);
    ASSERT_TRUE(log.has_value());
    ASSERT_TRUE((*log)->become_writer(Epoch{1}).has_value());
    Told told(**log);
    const auto range = (*log)->enqueue(RecordKind::kData, as_bytes("lost"));
    ASSERT_TRUE(range.has_value());
    const Address before = (*log)->durable();
    // By name: by number it may strike the maker of the next segment.
    disk.fail_next(call, with.directory / "0000000000000000.seg", testing::FaultKind::kError);
    EXPECT_EQ((*log)->wait_durable(range->end).error().code, ErrorCode::kIo);
    EXPECT_EQ((*log)->durable(), before);
    EXPECT_TRUE((*log)->failure().has_value());
    EXPECT_FALSE((*log)->wait_durable(range->end).has_value()) << "a second try went through";
    EXPECT_FALSE((*log)->try_enqueue(RecordKind::kData, as_bytes("x")).has_value());
    EXPECT_TRUE(told.wait([](Told& t) { return t.failed(); }));
    observability::MetricRegistry registry;
    (*log)->register_metrics(registry);
    EXPECT_NE(registry.expose().find("tailrace_log_failures_total 1\n"), std::string::npos);
    EXPECT_FALSE((*log)->close().has_value());
  }
}

TEST_F(WaiterFlush, ManyCommitWhileTheLogIsCutAndChangesItsRole) {
  auto log = open_writer(options());
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> commits{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        const auto range = log->enqueue(RecordKind::kData, as_bytes("some"));
        // Refused between two roles. A cut takes what is waited for: it comes with others' bytes.
        if (!range) continue;
        EXPECT_TRUE(log->wait_durable(log->durable()).has_value());
        if (log->wait_durable(range->first, system_clock().now() + std::chrono::seconds(30)))
          commits.fetch_add(1);
      }
    });
  }
  for (uint64_t round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (round % 2 == 0) {
      EXPECT_TRUE(log->become_writer(Epoch{round + 2}).has_value());
    } else {
      EXPECT_TRUE(log->truncate_after(log->durable()).has_value());
    }
  }
  stop.store(true);
  // Whoever still waits for what was cut.
  while (log->tail().value < 200'000)
    (void)log->enqueue(RecordKind::kData, as_bytes(std::string(1000, 'x')));
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_GT(commits.load(), 0u);
  EXPECT_TRUE(log->close().has_value());
}

}  // namespace
}  // namespace tailrace::fasterlog
