// Compaction beside writers, checkpoints and a disk budget.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "kv/store.h"
#include "observability/metrics.h"
#include "tests/kv/walk_support.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

class CompactionTest : public ::testing::Test {
 protected:
  StoreOptions options() const { return tiny_store(directory_.path()); }
  uint64_t disk_bytes() const {
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.path())) {
      if (!entry.is_regular_file() ||
          entry.path().string().find("checkpoints") != std::string::npos)
        continue;
      bytes += entry.file_size();
    }
    return bytes;
  }

  testing::TemporaryDirectory directory_;
};

// Promise: as long as all records are in memory the count of keys is exact, however often
// compaction goes round the log beside a writer.
TEST_F(CompactionTest, KeysAreCountedExactlyWhileLapsEnd) {
  StoreOptions configured = options();
  configured.memory_bytes = 16u << 20;
  configured.mutable_fraction = 0.02;  // a lap is soon over
  configured.index_buckets = 1u << 14;
  configured.compaction.automatic = false;
  auto store = open(configured);
  auto session = std::move(*store->start_session(1));
  std::set<uint64_t> present;
  Serial serial = 0;
  constexpr int kRounds = 8;
  for (int round = 0; round < kRounds; ++round) {
    std::atomic<bool> stop{false};
    std::thread writer([&] {
      std::mt19937_64 random(static_cast<uint64_t>(round));
      while (!stop) {
        const auto extent = store->log_extent();
        if (extent.tail - extent.begin > configured.memory_bytes / 2) continue;
        const uint64_t key = random() % 20000;
        const std::string name = std::to_string(key);
        const std::string value(random() % 100, 'v');
        if (random() % 4 == 0) {
          EXPECT_EQ(*session->erase(as_bytes(name), ++serial), present.erase(key) > 0);
        } else {
          EXPECT_TRUE(session->upsert(as_bytes(name), as_bytes(value), ++serial));
          present.insert(key);
        }
      }
      session->refresh(serial);
    });
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(250);
    while (std::chrono::steady_clock::now() < end)
      ASSERT_TRUE(store->compact(store->log_extent().read_only).has_value());
    stop = true;
    writer.join();
    ASSERT_EQ(store->live_records(), present.size()) << "round " << round;
  }
  EXPECT_GT(store->log_extent().begin, 1u << 20) << "it went round";
}

// Promise: whatever compaction moves while threads write and checkpoints are taken, every key keeps
// its newest value, erased ones stay away, and so it is again after recovery.
TEST_F(CompactionTest, EveryKeyKeepsItsValueBesideWritersAndCheckpoints) {
  constexpr uint64_t kWriters = 2;
  constexpr uint64_t kKeys = 1500;
  constexpr uint64_t kOperations = 60000;
  StoreOptions configured = options();
  configured.compaction.automatic = true;
  configured.compaction.least_log_bytes = 1;
  configured.compaction.target_utilisation = 0.9;
  Pairs models[kWriters];
  {
    auto store = open(configured);
    std::atomic<uint64_t> writing{kWriters};
    std::vector<std::thread> threads;
    for (uint64_t writer = 0; writer < kWriters; ++writer) {
      threads.emplace_back([&, writer] {
        auto session = std::move(*store->start_session(writer + 1));
        std::mt19937_64 random(writer * 31 + 5);
        Pairs& model = models[writer];
        for (Serial serial = 1; serial <= kOperations; ++serial) {
          // Most writes go to few keys, so that others are old when they are moved.
          const uint64_t key = random() % 4 == 0 ? random() % kKeys : random() % (kKeys / 10);
          write_something(*session, random,
                          "w" + std::to_string(writer) + "-" + std::to_string(key), serial, model);
        }
        session->refresh(kOperations);
        --writing;
      });
    }
    std::thread compacting([&] {
      while (writing > 0) {
        ASSERT_TRUE(store->compact(store->log_extent().read_only).has_value());
      }
    });
    for (int round = 0; writing > 0; ++round) {
      const auto info = take_checkpoint(*store, round % 3 == 0   ? CheckpointKind::kFoldOver
                                                : round % 3 == 1 ? CheckpointKind::kSnapshot
                                                                 : CheckpointKind::kIncremental);
      ASSERT_TRUE(info.has_value()) << info.error().message;
      if (round % 4 == 0) {
        ASSERT_TRUE(store->grow_index().has_value());
      }
    }
    compacting.join();
    for (auto& thread : threads)
      thread.join();
    Pairs expected = models[0];
    expected.insert(models[1].begin(), models[1].end());
    EXPECT_EQ(all_pairs(*store), expected);
    EXPECT_GT(store->log_extent().begin, store->log_extent().tail / 4) << "nothing was compacted";
    ASSERT_TRUE(take_checkpoint(*store, CheckpointKind::kFoldOver).has_value());
  }
  auto store = open(configured);
  Pairs expected = models[0];
  expected.insert(models[1].begin(), models[1].end());
  EXPECT_EQ(all_pairs(*store), expected);
}

// Promise: what is not wanted any more gives its disk space back, once no kept checkpoint needs it;
// erased keys leave nothing behind, not even their tombstones, and garbage goes.
TEST_F(CompactionTest, TheDiskShrinks) {
  StoreOptions configured = options();
  configured.checkpoints_kept = 1;
  configured.index_buckets = 1u << 14;  // a chain a key, so that the count of keys is exact
  configured.is_garbage = [](ByteSpan, ByteSpan value) {
    return as_text(value).starts_with("old");
  };
  auto store = open(configured);
  auto session = std::move(*store->start_session(1));
  Serial serial = 0;
  const std::string value(200, 'v');
  for (int key = 0; key < 12000; ++key) {
    const std::string text = key % 100 == 0 ? value : key % 100 == 1 ? "old" + value : value + "x";
    ASSERT_TRUE(session->upsert(as_bytes(std::to_string(key)), as_bytes(text), ++serial));
  }
  for (int key = 0; key < 12000; ++key) {
    if (key % 100 > 1) {
      ASSERT_TRUE(*session->erase(as_bytes(std::to_string(key)), ++serial));
    }
  }
  session->refresh(serial);
  EXPECT_EQ(store->live_records(), 240u);
  ASSERT_TRUE(take_checkpoint(*store, CheckpointKind::kFoldOver));
  const uint64_t before = disk_bytes();
  ASSERT_GT(before, 2u << 20);
  // Twice, for the tombstones of what is garbage are themselves written by the first.
  for (int round = 0; round < 2; ++round) {
    const LogAddress until = store->log_extent().read_only;
    const auto begin = store->compact(until);
    ASSERT_TRUE(begin.has_value()) << begin.error().message;
    EXPECT_GE(*begin, until);
    ASSERT_TRUE(take_checkpoint(*store, CheckpointKind::kFoldOver));
  }
  EXPECT_EQ(store->live_records(), 120u);
  EXPECT_LT(store->log_extent().tail - store->log_extent().begin, 100u << 10);
  EXPECT_LE(disk_bytes(), 3 * configured.segment_bytes);
  const Pairs pairs = all_pairs(*store);
  EXPECT_EQ(pairs.size(), 120u);
  for (const auto& [key, text] : pairs)
    EXPECT_EQ(text, value) << key;
}

// Promise: with a disk budget, overwriting the same keys goes on for ever, for the writers have the
// garbage cleared away; while compaction is paused they are refused, and no longer than that.
TEST_F(CompactionTest, WritersAtTheBudgetGetRoom) {
  StoreOptions configured = options();
  configured.compaction.automatic = true;
  configured.compaction.least_log_bytes = 1u << 30;
  configured.disk_bytes = 4u << 20;
  auto store = open(configured);
  auto session = std::move(*store->start_session(1));
  Serial serial = 0;
  std::mt19937_64 random(3);
  Pairs model;
  // Longer each time, or it would be written in place.
  const auto write = [&]() -> Result<> {
    const std::string key = std::to_string(random() % 2000);
    std::string value(random() % 400, static_cast<char>('a' + random() % 26));
    auto written = session->upsert(as_bytes(key), as_bytes(value), ++serial);
    if (written) model[key] = value;
    return written;
  };
  for (uint64_t number = 0; number < 60000; ++number) {
    const auto written = write();
    ASSERT_TRUE(written.has_value()) << written.error().message;
  }
  EXPECT_GT(store->log_extent().tail, 2 * configured.disk_bytes);
  EXPECT_LE(disk_bytes(), configured.disk_bytes + configured.segment_bytes);
  EXPECT_EQ(all_pairs(*store), model);

  store->pause_compaction(true);
  Result<> written;
  while (written)
    written = write();
  EXPECT_EQ(written.error().code, ErrorCode::kResourceExhausted);
  store->pause_compaction(false);
  for (uint64_t number = 0; number < 20000; ++number) {
    written = write();
    ASSERT_TRUE(written.has_value()) << written.error().message;
  }
  EXPECT_EQ(all_pairs(*store), model);
}

// Promise: a key that compaction moves while sessions cross over to the next version loses nothing
// that a session in the middle of a serial still writes in the version before: neither the store
// nor the checkpoint.
TEST_F(CompactionTest, MovingWhileSessionsCrossOverLosesNoWrite) {
  auto store = open(options());
  {
    auto session = std::move(*store->start_session(1));
    const std::string filler(300, 'f');
    for (int key = 0; key < 100; ++key) {
      ASSERT_TRUE(session->upsert(as_bytes("key" + std::to_string(key)), as_bytes(filler), 1));
    }
    session->refresh(1);
    // Read-only from here on, so that it can be moved.
    ASSERT_TRUE(take_checkpoint(*store, CheckpointKind::kFoldOver));

    ASSERT_TRUE(session->upsert(as_bytes("first"), as_bytes("half of serial 2"), 2));
    auto checkpoint = start_checkpoint(*store, CheckpointKind::kFoldOver);
    while (store->checkpoint_progress().phase != CheckpointPhase::kWaitPending) {
      std::this_thread::yield();
    }
    const auto extent = store->log_extent();
    auto compaction =
        std::async(std::launch::async, [&] { return store->compact(extent.read_only); });
    // All that lives is copied; the begin waits for the session.
    while (store->log_extent().tail < extent.tail + 100 * 300) {
      std::this_thread::yield();
    }
    EXPECT_EQ(store->log_extent().begin, extent.begin);
    ASSERT_TRUE(session->upsert(as_bytes("key5"), as_bytes("other half"), 2));
    const auto modify = [](const ByteSpan* present, std::string& next) {
      next = std::string(as_text(*present).substr(0, 3)) + "!";
      return Modification::kWrite;
    };
    ASSERT_TRUE(session->rmw(as_bytes("key6"), modify, 2));
    session->refresh(2);
    ASSERT_TRUE(checkpoint.get().has_value());
    ASSERT_TRUE(compaction.get().has_value());
    EXPECT_GT(store->log_extent().begin, extent.begin);
  }
  for (const bool recovered : {false, true}) {
    if (recovered) {
      store.reset();
      store = open(options());
    }
    const Pairs pairs = all_pairs(*store);
    EXPECT_EQ(pairs.size(), 101u);
    EXPECT_EQ(pairs.at("key5"), "other half");
    EXPECT_EQ(pairs.at("key6"), "fff!");
  }
}

// Promise: a checkpoint that was taken before compaction can still be recovered after a crash, with
// all that it holds, although the log has been compacted since.
TEST_F(CompactionTest, ACheckpointSurvivesLaterCompaction) {
  Pairs model;
  {
    auto store = open(options());
    auto session = std::move(*store->start_session(1));
    std::mt19937_64 random(9);
    Serial serial = 0;
    for (int number = 0; number < 8000; ++number) {
      write_something(*session, random, std::to_string(random() % 900), ++serial, model);
    }
    session->refresh(serial);
    ASSERT_TRUE(take_checkpoint(*store, CheckpointKind::kSnapshot));
    Pairs later = model;
    for (int number = 0; number < 8000; ++number) {
      write_something(*session, random, std::to_string(random() % 900), ++serial, later);
    }
    ASSERT_TRUE(store->compact(store->log_extent().read_only));
    EXPECT_EQ(all_pairs(*store), later);
    // Without another checkpoint: as after a crash.
  }
  auto store = open(options());
  EXPECT_EQ(all_pairs(*store), model);
}

// Promise: where nothing lives any more and the tail is at a page's end, the log begins no later
// than it ends, and checkpoints of all kinds go on.
TEST_F(CompactionTest, TheLogBeginsNotBehindItsTail) {
  StoreOptions options = tiny_store(directory_.path());
  const uint64_t records = (options.page_bytes - 4096) / 64;  // fill the first page exactly
  auto store = open(options);
  auto session = std::move(*store->start_session(1));
  Serial serial = 0;
  const auto key_of = [](uint64_t number) { return "k" + std::to_string(1'000'000 + number); };
  for (uint64_t number = 0; number < records; ++number)
    ASSERT_TRUE(
        session->upsert(as_bytes(key_of(number)), as_bytes(std::string(40, 'v')), ++serial));
  for (uint64_t number = 0; number < records; ++number)
    ASSERT_TRUE(session->erase(as_bytes(key_of(number)), ++serial).value_or(false));
  session->refresh(serial);
  ASSERT_EQ(store->log_extent().tail, options.page_bytes);
  ASSERT_TRUE(take_checkpoint(*store, CheckpointKind::kFoldOver).has_value());
  const auto begin = store->compact(store->log_extent().tail);
  ASSERT_TRUE(begin.has_value()) << begin.error().message;
  EXPECT_EQ(*begin, store->log_extent().tail);
  for (const CheckpointKind kind : {CheckpointKind::kFoldOver, CheckpointKind::kSnapshot}) {
    const auto info = take_checkpoint(*store, kind);
    ASSERT_TRUE(info.has_value()) << info.error().message;
  }
  session.reset();
  store.reset();
  store = open(options);
  EXPECT_TRUE(all_pairs(*store).empty());
  session = std::move(*store->start_session(1));
  serial = session->last_serial();
  ASSERT_TRUE(session->upsert(as_bytes("on"), as_bytes("and on"), ++serial));
  session->refresh(serial);
  ASSERT_TRUE(take_checkpoint(*store, CheckpointKind::kFoldOver).has_value());
  EXPECT_EQ(all_pairs(*store), (Pairs{{"on", "and on"}}));
}

}  // namespace
}  // namespace tailrace::kv
