// Recovery by several threads is recovery by one: the same state, and the same error.

#include <atomic>
#include <thread>
#include <tuple>
#include <vector>

#include "core/mutex.h"
#include "core/random.h"
#include "kv/log/parts.h"
#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

/// One, which the others are compared with, and what schedules of several may differ in.
#if defined(__SANITIZE_THREAD__)
constexpr uint32_t kThreads[] = {1, 4};
#else
constexpr uint32_t kThreads[] = {1, 4, 4, 3, 4, 2};
#endif

// Promise: the parts are the range, each once and cut at pages, whatever the number of threads.
TEST(InParts, CoverTheRange) {
  constexpr uint64_t kPageBytes = 1u << 15;
  for (const unsigned threads : {1u, 3u, 8u}) {
    for (const LogAddress until : {LogAddress{100}, LogAddress{5} << 20, LogAddress{90} << 20}) {
      Mutex mutex;
      std::map<LogAddress, LogAddress> parts;
      const auto done = in_parts(threads, kPageBytes, 16, until,
                                 [&](unsigned worker, LogAddress from, LogAddress to) -> Result<> {
                                   EXPECT_LT(worker, threads_for(threads, until - 16));
                                   const MutexLock lock(mutex);
                                   EXPECT_TRUE(parts.emplace(from, to).second);
                                   return {};
                                 });
      ASSERT_TRUE(done.has_value());
      LogAddress at = 16;
      for (const auto& [from, to] : parts) {
        EXPECT_EQ(from, at);
        EXPECT_TRUE(to == until || to % kPageBytes == 0) << to;
        at = to;
      }
      EXPECT_EQ(at, until);
    }
  }
}

// Promise: of several errors the lowest address's is told, also when a higher one came first.
TEST(InParts, TheLowestErrorWins) {
  constexpr LogAddress kUntil = LogAddress{64} << 20;
  constexpr LogAddress kBad = LogAddress{5} << 20;
  std::atomic<bool> higher_has_failed{false};
  const auto done =
      in_parts(4, 1u << 15, 0, kUntil, [&](unsigned, LogAddress from, LogAddress to) -> Result<> {
        if (to <= kBad) return {};
        if (from <= kBad) {
          for (int times = 0; times < 10'000 && !higher_has_failed; ++times)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          return make_error(ErrorCode::kCorruption, "low");
        }
        higher_has_failed = true;
        return make_error(ErrorCode::kCorruption, "high");
      });
  ASSERT_FALSE(done.has_value());
  EXPECT_TRUE(higher_has_failed);
  EXPECT_EQ(done.error().message, "low");
}

class RecoveryThreads : public ::testing::TestWithParam<std::tuple<CheckpointKind, bool>> {
 protected:
  static constexpr int kKeys = 14000;

  void put(Session& session, int key, const std::string& text, Serial serial) {
    const std::string name = "key" + std::to_string(key);
    const std::string value = text + std::string(1000, '.') + name;
    const auto written = session.upsert(as_bytes(name), as_bytes(value), serial);
    ASSERT_TRUE(written.has_value()) << written.error().message;
    model[name] = value;
  }
  void erase(Session& session, int key, Serial serial) {
    const std::string name = "key" + std::to_string(key);
    ASSERT_TRUE(session.erase(as_bytes(name), serial).has_value());
    model.erase(name);
  }
  void open() {
    store.reset();
    store = open_or_die(disk, options);
    ASSERT_NE(store, nullptr);
  }

  // Three times the memory: values that were replaced, tombstones, chains of many keys, and a range
  // on disk that was undone and another one at the end that is yet to be.
  void write_store() {
    open();
    for (int life = 0; life < 2; ++life) {
      auto one = session_or_die(*store, 1);
      auto two = session_or_die(*store, 2);
      Serial serial = one->last_serial();
      for (int key = 0; key < kKeys; ++key)
        put(*one, key, "life " + std::to_string(life), ++serial);
      for (int key = life; key < kKeys; key += 7)
        erase(*one, key, ++serial);
      // In the middle of a serial; the other one crosses over and writes the next version.
      put(*one, 1, "held", ++serial);
      auto info =
          begin_checkpoint(*store, nullptr, std::get<0>(GetParam()), std::get<1>(GetParam()));
      while (store->checkpoint_progress().phase != CheckpointPhase::kWaitPending)
        std::this_thread::yield();
      const Model before = model;
      Serial others = two->last_serial();
      for (int key = 0; key < kKeys; key += 2)
        put(*two, key, "undone", ++others);
      erase(*two, 1, ++others);
      model = before;
      put(*one, 2, "beneath", serial);
      one->refresh(serial);
      two->refresh(others);
      const auto taken = info.get();
      ASSERT_TRUE(taken.has_value()) << taken.error().message;
      one.reset();
      two.reset();
      open();
    }
    store.reset();
  }

  testing::FaultFileSystem disk{1};
  StoreOptions options = [] {
    StoreOptions small = small_options("/kv");
    small.memory_bytes = 8u << 20;
    small.page_bytes = 1u << 18;
    small.index_grows = false;
    small.checkpoints_kept = 1;
    small.compaction.automatic = false;
    small.recovery_threads = 1;
    return small;
  }();
  std::unique_ptr<Store> store;
  Model model;
};

// Promise: one thread and four recover the same: pairs, the log's marks, counts. And progress only
// grows, is told on the thread that opens, and ends with all of it.
TEST_P(RecoveryThreads, RecoverTheSame) {
  ASSERT_NO_FATAL_FAILURE(write_store());
  std::optional<Store::LogExtent> extent;
  uint64_t live_records = 0;
  for (const uint32_t threads : kThreads) {
    SCOPED_TRACE(std::to_string(threads) + " threads");
    std::map<std::string, std::pair<uint64_t, uint64_t>> progress;  // done, total
    options.recovery_threads = threads;
    options.on_recovery_progress = [&, self = std::this_thread::get_id()](
                                       std::string_view stage, uint64_t done, uint64_t total) {
      EXPECT_EQ(std::this_thread::get_id(), self);
      auto& last = progress[std::string(stage)];
      EXPECT_GE(done, last.first) << stage;
      EXPECT_LE(done, total) << stage;
      EXPECT_TRUE(last.second == 0 || total == last.second) << stage;
      last = {done, total};
    };
    open();
    for (const auto& [stage, last] : progress)
      EXPECT_EQ(last.first, last.second) << stage;
    EXPECT_EQ(progress.count("log"), 1u);
    EXPECT_EQ(progress.count("records"), 1u);
    if (!extent) {
      extent = store->log_extent();
      live_records = store->live_records();
      ASSERT_GT(extent->head - extent->begin, 16u << 20) << "too little for four threads";
    }
    EXPECT_EQ(store->log_extent().begin, extent->begin);
    EXPECT_EQ(store->log_extent().head, extent->head);
    EXPECT_EQ(store->log_extent().tail, extent->tail);
    EXPECT_EQ(store->live_records(), live_records);
    EXPECT_TRUE(contents(*store) == model);
    for (int key = 0; key < kKeys; key += 101) {
      std::string value;
      const std::string name = "key" + std::to_string(key);
      EXPECT_EQ(store->read(as_bytes(name), value).has_value(), model.count(name) == 1) << name;
    }
  }
}

// Promise: of two damaged pages the lower one is named, however many threads look.
TEST_P(RecoveryThreads, TellTheSameError) {
  ASSERT_NO_FATAL_FAILURE(write_store());
  std::vector<std::string> segments;
  for (const storage::Path& path : disk.files()) {
    if (path.extension() == ".log") segments.push_back(path.string());
  }
  std::sort(segments.begin(), segments.end());
  ASSERT_GT(segments.size(), 5u);
  for (const size_t segment : {segments.size() - 3, size_t{2}})
    disk.flip_bit(segments[segment], options.page_bytes / 2 + 77, 3);
  std::string message;
  for (const uint32_t threads : kThreads) {
    options.recovery_threads = threads;
    const uint64_t operations = disk.operations();
    const auto refused = Store::open(disk, options);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kCorruption);
    if (message.empty()) {
      message = refused.error().message;
      EXPECT_NE(message.find(storage::Path(segments[2]).filename().string()), std::string::npos)
          << message;
    }
    EXPECT_EQ(refused.error().message, message) << threads << " threads";
    EXPECT_EQ(disk.operations(), operations) << "the disk was changed";
  }
}

/// Under the thread sanitizer each kind once, and each way of recovery once.
std::vector<std::tuple<CheckpointKind, bool>> forms() {
#ifdef __SANITIZE_THREAD__
  return {{CheckpointKind::kFoldOver, false}, {CheckpointKind::kSnapshot, true}};
#else
  return {{CheckpointKind::kFoldOver, false},
          {CheckpointKind::kFoldOver, true},
          {CheckpointKind::kSnapshot, false},
          {CheckpointKind::kSnapshot, true}};
#endif
}

INSTANTIATE_TEST_SUITE_P(Kinds, RecoveryThreads, ::testing::ValuesIn(forms()),
                         [](const auto& param) {
                           return std::string(std::get<0>(param.param) == CheckpointKind::kFoldOver
                                                  ? "FoldOver"
                                                  : "Snapshot") +
                                  (std::get<1>(param.param) ? "WithIndex" : "LogOnly");
                         });

// Promise: a number of threads that nobody can mean is refused before anything is touched.
TEST(RecoveryThreadsOption, IsBounded) {
  testing::FaultFileSystem disk(1);
  StoreOptions options = small_options("/kv");
  options.recovery_threads = 65;
  const auto refused = Store::open(disk, options);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(disk.operations(), 0u);
}

}  // namespace
}  // namespace tailrace::kv
