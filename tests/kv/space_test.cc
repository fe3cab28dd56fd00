// The disk budget: what is refused, what is not, and what options make no sense.

#include <thread>

#include "tests/kv/kv_support.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

// Promise: keys that come and go leave nothing behind, in a budget that holds a small part of them.
TEST(StoreSpace, KeysThatComeAndGoLeaveNothing) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = tiny_options(directory.path());
  options.index_buckets = 16;
  options.disk_bytes = 4u << 20;
  options.compaction.least_log_bytes = 1u << 20;
  auto store = open_or_die(storage::posix_file_system(), options);
  auto session = session_or_die(*store, 1);
  Serial serial = 0;
  const std::string value(150, 'v');
  for (int number = 0; number < 60'000; ++number) {
    const std::string key = "visitor" + std::to_string(number);
    const auto written = session->upsert(as_bytes(key), as_bytes(value), ++serial);
    ASSERT_TRUE(written.has_value()) << written.error().message << " at " << number;
    const auto erased = session->erase(as_bytes(key), ++serial);
    ASSERT_TRUE(erased.has_value()) << erased.error().message << " at " << number;
    ASSERT_TRUE(*erased);
  }
  EXPECT_TRUE(contents(*store).empty());
}

// Promise: at the budget a write that finds nothing to clear away changes nothing and says so;
// reads go on and nothing is lost.
TEST(StoreSpace, AFullStoreRefusesAndLosesNothing) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = tiny_options(directory.path());
  options.disk_bytes = 2u << 20;
  options.compaction.least_log_bytes = 1u << 18;
  auto store = open_or_die(storage::posix_file_system(), options);
  auto session = session_or_die(*store, 1);
  Model model;
  Serial serial = 0;
  const std::string value(500, 'x');
  for (;;) {
    const std::string key = "key" + std::to_string(model.size());
    const auto written = session->upsert(as_bytes(key), as_bytes(value), ++serial);
    if (!written) {
      EXPECT_EQ(written.error().code, ErrorCode::kResourceExhausted) << written.error().message;
      break;
    }
    model[key] = value;
    ASSERT_LT(model.size(), 10'000u);
  }
  EXPECT_GT(model.size(), 500u);
  EXPECT_TRUE(contents(*store) == model);
  std::string read;
  for (const auto& [key, known] : model) {
    ASSERT_TRUE(session->read(as_bytes(key), read));
    ASSERT_EQ(read, known);
  }
}

// Promise: what is stored is what is counted, whatever became of the values while they were on
// disk: a budget that has room is not taken to be full. (Each round's large values replace small
// ones in memory, which is counted, and small ones replace the large on disk, which is not.)
TEST(StoreSpace, ValuesThatShrinkOnDiskDoNotFillTheBudgetForEver) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = tiny_options(directory.path());
  options.index_buckets = 1u << 9;
  options.disk_bytes = 8u << 20;
  options.compaction.least_log_bytes = 1u << 20;
  auto store = open_or_die(storage::posix_file_system(), options);
  auto session = session_or_die(*store, 1);
  Serial serial = 0;
  const std::string large(2000, 'l');
  constexpr int kKeys = 1000;
  for (int round = 0; round < 12; ++round) {
    for (const std::string& value : {large, std::string("s")}) {
      for (int number = 0; number < kKeys; ++number) {
        const auto written =
            session->upsert(as_bytes("key" + std::to_string(number)), as_bytes(value), ++serial);
        ASSERT_TRUE(written.has_value())
            << written.error().message << " in round " << round << " at " << number;
      }
    }
    session->refresh(serial);
  }
  const auto before = store->log_extent();
  ASSERT_TRUE(store->compact(before.read_only).has_value());
  ASSERT_TRUE(store->compact(store->log_extent().read_only).has_value());
  EXPECT_LT(store->used_bytes(), store->capacity_bytes() / 4);
  EXPECT_EQ(contents(*store).size(), static_cast<size_t>(kKeys));
}

// Promise: nor is one that is full taken to have room: once round the log sets the count right.
TEST(StoreSpace, ValuesThatGrowOnDiskAreCountedOnceRoundTheLog) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = tiny_options(directory.path());
  options.index_buckets = 1u << 9;
  options.compaction.automatic = false;
  auto store = open_or_die(storage::posix_file_system(), options);
  auto session = session_or_die(*store, 1);
  Serial serial = 0;
  constexpr uint64_t kKeys = 4000, kBytes = 1000;
  for (const std::string& value : {std::string("s"), std::string(kBytes, 'l')}) {
    for (uint64_t number = 0; number < kKeys; ++number)
      ASSERT_TRUE(
          session->upsert(as_bytes("key" + std::to_string(number)), as_bytes(value), ++serial));
  }
  session->refresh(serial);
  for (int lap = 0; lap < 3; ++lap) {
    ASSERT_TRUE(store->compact(store->log_extent().read_only).has_value());
  }
  EXPECT_GT(store->live_bytes(), kKeys * kBytes * 9 / 10);
  EXPECT_LT(store->live_bytes(), kKeys * (kBytes + 64) * 11 / 10);
  EXPECT_GT(store->live_records(), kKeys * 9 / 10);
  EXPECT_LT(store->live_records(), kKeys * 11 / 10);
}

// Promise: a session that must not fail goes on beyond the budget, says so in used_bytes(), and
// compaction makes up for it once there is garbage.
TEST(StoreSpace, ASessionThatMustNotFailGoesBeyondTheBudget) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = tiny_options(directory.path());
  options.disk_bytes = 2u << 20;
  options.compaction.least_log_bytes = 1u << 18;
  auto store = open_or_die(storage::posix_file_system(), options);
  auto started = store->start_session(1, {.beyond_disk_budget = true});
  ASSERT_TRUE(started) << started.error().message;
  const auto session = std::move(*started);
  Model model;
  Serial serial = 0;
  const std::string value(500, 'x');
  while (model.size() * value.size() < 2 * options.disk_bytes) {
    const std::string key = "key" + std::to_string(model.size());
    ASSERT_TRUE(session->upsert(as_bytes(key), as_bytes(value), ++serial));
    model[key] = value;
  }
  EXPECT_GT(store->used_bytes(), 2 * options.disk_bytes);
  while (model.size() > 500) {
    ASSERT_TRUE(session->erase(as_bytes(model.begin()->first), ++serial));
    model.erase(model.begin());
  }
  // By itself, whoever writes or does not.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (store->used_bytes() > options.disk_bytes && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_LE(store->used_bytes(), options.disk_bytes);
  EXPECT_TRUE(contents(*store) == model);
}

// Promise: impossible options are refused by name before anything is touched.
TEST(StoreOptionsCheck, ImpossibleOnesAreNamed) {
  const testing::TemporaryDirectory directory;
  const auto refused = [&](auto change, const std::string& name) {
    StoreOptions options = small_options(directory.path() / "never");
    change(options);
    const auto store = Store::open(storage::posix_file_system(), options);
    ASSERT_FALSE(store.has_value()) << name;
    EXPECT_EQ(store.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(store.error().message.find(name), std::string::npos) << store.error().message;
    EXPECT_FALSE(std::filesystem::exists(directory.path() / "never"));
  };
  refused([](StoreOptions& o) { o.page_bytes = 100'000; }, "page_bytes");
  refused([](StoreOptions& o) { o.memory_bytes = o.page_bytes; }, "memory_bytes");
  refused([](StoreOptions& o) { o.segment_bytes = o.page_bytes / 2; }, "segment_bytes");
  refused([](StoreOptions& o) { o.disk_bytes = 3 * o.segment_bytes; }, "disk_bytes");
  refused([](StoreOptions& o) { o.index_buckets = 3; }, "index_buckets");
  refused([](StoreOptions& o) { o.mutable_fraction = 0; }, "mutable_fraction");
  refused([](StoreOptions& o) { o.checkpoints_kept = 0; }, "checkpoints_kept");
  refused([](StoreOptions& o) { o.directory.clear(); }, "directory");
}

}  // namespace
}  // namespace tailrace::kv
