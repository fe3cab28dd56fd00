// When compaction runs by itself: not in the quiet hours, and no faster than its rate.

#include <atomic>
#include <thread>

#include "tests/kv/kv_support.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

/// It is that hour of the day, for the policy; everything else takes the time it takes.
class HourClock final : public Clock {
 public:
  explicit HourClock(uint64_t hour) : hour_(hour) {}
  SteadyTime now() const override { return system_clock().now(); }
  uint64_t unix_time_ns() const override { return hour_.load() * 3600 * 1'000'000'000; }
  void set_hour(uint64_t hour) { hour_.store(hour); }

 private:
  std::atomic<uint64_t> hour_;
};

class CompactionPolicy : public ::testing::Test {
 protected:
  StoreOptions options() const {
    StoreOptions result = tiny_options(directory_.path());
    result.index_buckets = 1u << 9;
    result.compaction.least_log_bytes = 1u << 20;
    result.compaction.target_utilisation = 0.5;
    return result;
  }
  /// 3 MiB of log of which 150 KiB live.
  void fill(Store& store) {
    auto session = session_or_die(store, 1);
    Serial serial = 0;
    const std::string value(500, 'v');
    for (int number = 0; number < 6000; ++number)
      ASSERT_TRUE(session->upsert(as_bytes("key" + std::to_string(number % 300)), as_bytes(value),
                                  ++serial));
  }
  template <typename There>
  static bool wait_until(There there, std::chrono::milliseconds most = std::chrono::seconds(30)) {
    const auto deadline = std::chrono::steady_clock::now() + most;
    while (!there()) {
      if (std::chrono::steady_clock::now() >= deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  testing::TemporaryDirectory directory_;
};

// Promise: in the quiet hours, also those around midnight, the policy lets the disk alone; when
// they are over it goes to work.
TEST_F(CompactionPolicy, RestsInTheQuietHours) {
  StoreOptions configured = options();
  configured.compaction.quiet_from_hour = 22;
  configured.compaction.quiet_to_hour = 6;
  HourClock clock(23);
  auto opened = Store::open(storage::posix_file_system(), configured, clock);
  ASSERT_TRUE(opened) << opened.error().message;
  Store& store = **opened;
  fill(store);
  const LogAddress begin = store.log_extent().begin;
  const auto moved = [&] { return store.log_extent().begin > begin; };
  for (const uint64_t hour : {23u, 0u, 5u}) {
    clock.set_hour(hour);
    EXPECT_FALSE(wait_until(moved, std::chrono::milliseconds(350))) << "at " << hour;
  }
  clock.set_hour(6);
  EXPECT_TRUE(wait_until(moved));
}

TEST_F(CompactionPolicy, KeepsToItsRate) {
  StoreOptions configured = options();
  configured.compaction.bytes_per_s = 1u << 20;
  auto store = open_or_die(storage::posix_file_system(), configured);
  store->pause_compaction(true);
  fill(*store);
  const LogAddress begin = store->log_extent().begin;
  const auto began = std::chrono::steady_clock::now();
  store->pause_compaction(false);
  constexpr uint64_t kBytes = 1u << 20;
  ASSERT_TRUE(wait_until([&] { return store->log_extent().begin > begin + kBytes; }));
  // Read a little ahead of what it is due; without a rate it is there in some milliseconds.
  EXPECT_GT(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(500));
}

}  // namespace
}  // namespace tailrace::kv
