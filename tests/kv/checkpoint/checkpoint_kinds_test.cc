// Every kind of checkpoint, in memory and larger than memory: what is recovered is exactly what
// each session had done up to its point. And what checkpoints leave on disk.

#include <atomic>
#include <thread>

#include "core/random.h"
#include "kv/checkpoint/files.h"
#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

struct Setting {
  CheckpointKind kind;
  bool larger_than_memory;
  bool with_index;
};

std::string name_of_setting(const ::testing::TestParamInfo<Setting>& info) {
  std::string name = info.param.kind == CheckpointKind::kFoldOver   ? "FoldOver"
                     : info.param.kind == CheckpointKind::kSnapshot ? "Snapshot"
                                                                    : "Incremental";
  name += info.param.larger_than_memory ? "OnDisk" : "InMemory";
  return name + (info.param.with_index ? "WithIndex" : "LogOnly");
}

std::vector<Setting> all_settings() {
  std::vector<Setting> all;
  for (const CheckpointKind kind :
       {CheckpointKind::kFoldOver, CheckpointKind::kSnapshot, CheckpointKind::kIncremental}) {
    for (const bool larger : {false, true}) {
      for (const bool with_index : {true, false})
        all.push_back({kind, larger, with_index});
    }
  }
  return all;
}

class Prefix : public ::testing::TestWithParam<Setting> {
 protected:
  static constexpr int kSessions = 4;
  static constexpr uint64_t kKeys = 300;  // of a session

  static std::string key_of(int session, uint64_t number) {
    return "session " + std::to_string(session) + " key " + std::to_string(number);
  }
  /// What a session does with an odd serial: two writes of keys of its own. With an even one it
  /// counts for all.
  struct Step {
    std::string key;
    bool erase;
    std::string value;
  };
  static Step step_of(int session, Serial serial) {
    Random random(static_cast<uint64_t>(session) * 1'000'003 + serial);
    Step step;
    step.key = key_of(session, random.below(kKeys));
    step.erase = random.below(7) == 0;
    step.value = std::to_string(serial) + std::string(random.below(200), '.');
    return step;
  }
  static Model model_of(const std::vector<Serial>& points) {
    Model model;
    uint64_t counted = 0;
    for (int session = 0; session < kSessions; ++session) {
      for (Serial serial = 1; serial <= points[session]; ++serial) {
        if (serial % 2 == 0) {
          ++counted;
          continue;
        }
        model["twice " + std::to_string(session)] = std::to_string(serial);
        const Step step = step_of(session, serial);
        if (step.erase) {
          model.erase(step.key);
        } else {
          model[step.key] = step.value;
        }
      }
    }
    if (counted > 0) model["counted"] = std::to_string(counted);
    return model;
  }
  static void work(Session& session, int number, const std::atomic<bool>& stop) {
    auto count = [](const ByteSpan* present, std::string& next) {
      next = std::to_string((present == nullptr ? 0 : std::stoull(to_string(*present))) + 1);
      return Modification::kWrite;
    };
    Serial serial = session.last_serial();
    while (!stop) {
      ++serial;
      if (serial % 2 == 0) {
        ASSERT_TRUE(session.rmw(as_bytes("counted"), count, serial).has_value());
      } else {
        const std::string twice = "twice " + std::to_string(number);
        const std::string text = std::to_string(serial);
        ASSERT_TRUE(session.upsert(as_bytes(twice), as_bytes(text), serial).has_value());
        const Step step = step_of(number, serial);
        const auto written = step.erase
                                 ? session.erase(as_bytes(step.key), serial).map([](bool) {})
                                 : session.upsert(as_bytes(step.key), as_bytes(step.value), serial);
        ASSERT_TRUE(written.has_value()) << written.error().message;
      }
      if (serial % 5 == 0) session.refresh(serial);
      // The model has to be made anew of all serials: not too many.
      if (serial % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    session.refresh(serial);
  }
};

#ifdef __SANITIZE_THREAD__
constexpr int kLives = 2;  // ten times slower
#else
constexpr int kLives = 4;
#endif

// Promise: all operations with serials up to the point, and none after, for each of four sessions
// that write while checkpoints are taken; life after life.
TEST_P(Prefix, IsExact) {
  StoreOptions options = GetParam().larger_than_memory ? tiny_options("/kv") : small_options("/kv");
  options.compaction.automatic = false;
  testing::FaultFileSystem disk(1);
  std::vector<Serial> points(kSessions, 0);
  for (int life = 0; life < kLives; ++life) {
    auto store = open_or_die(disk, options);
    ASSERT_NE(store, nullptr);
    EXPECT_TRUE(store->recovery_notes().empty());
    ASSERT_TRUE(contents(*store) == model_of(points)) << "life " << life;
    std::atomic<bool> stop{false};
    std::vector<std::unique_ptr<Session>> sessions;
    for (int number = 0; number < kSessions; ++number) {
      sessions.push_back(session_or_die(*store, static_cast<SessionId>(number)));
      ASSERT_EQ(sessions.back()->last_serial(), points[number]);
    }
    std::vector<std::thread> threads;
    for (int number = 0; number < kSessions; ++number)
      threads.emplace_back([&, number] { work(*sessions[number], number, stop); });
    for (int times = 0; times < 5; ++times) {
      const auto info = checkpoint(*store, GetParam().kind, GetParam().with_index && times != 3);
      ASSERT_TRUE(info.has_value()) << info.error().message;
      for (int number = 0; number < kSessions; ++number)
        points[number] = point_of(*info, static_cast<SessionId>(number));
      const auto valid = store->validate_checkpoint(info->token);
      EXPECT_TRUE(valid.has_value()) << valid.error().message;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stop = true;
    for (std::thread& thread : threads)
      thread.join();
    sessions.clear();
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Prefix, ::testing::ValuesIn(all_settings()), name_of_setting);

class KindsTest : public ::testing::Test {
 protected:
  void open() {
    session.reset();
    store.reset();
    progress.clear();
    store = open_or_die(disk, options);
    ASSERT_NE(store, nullptr);
    session = session_or_die(*store, 1);
    serial = session->last_serial();
  }
  void put(const std::string& key, const std::string& value) {
    ++serial;
    const auto written = session->upsert(as_bytes(key), as_bytes(value), serial);
    ASSERT_TRUE(written.has_value()) << written.error().message;
    model[key] = value;
  }
  void fill(int keys, const std::string& text) {
    for (int key = 0; key < keys; ++key)
      put("key" + std::to_string(key), text + std::to_string(key));
    session->refresh(serial);
  }
  Result<CheckpointInfo> take(CheckpointKind kind, bool with_index) {
    session->refresh(serial);
    return checkpoint(*store, kind, with_index);
  }
  storage::Path path_of(uint64_t token) {
    return CheckpointDirectory(disk, options.directory).path_of(token);
  }

  testing::FaultFileSystem disk{1};
  std::map<std::string, uint64_t> progress;  // by stage, the last total
  StoreOptions options = [this] {
    StoreOptions small = small_options("/kv");
    small.compaction.automatic = false;
    small.on_recovery_progress = [this](std::string_view stage, uint64_t done, uint64_t total) {
      EXPECT_LE(done, total);
      progress[std::string(stage)] = total;
    };
    return small;
  }();
  std::unique_ptr<Store> store;
  std::unique_ptr<Session> session;
  Serial serial = 0;
  Model model;
};

// Promise: an index of its own makes later recoveries read less of the log, is no state, and goes
// when a newer one has taken its place.
TEST_F(KindsTest, AnIndexAloneMakesRecoveryFaster) {
  open();
  fill(2000, "first ");
  const auto log_only = take(CheckpointKind::kFoldOver, false);
  ASSERT_TRUE(log_only.has_value());
  EXPECT_FALSE(log_only->with_index);
  open();
  EXPECT_EQ(contents(*store), model);
  const uint64_t without = progress["records"];
  EXPECT_EQ(progress.count("index"), 0u);
  EXPECT_GT(without, 0u);

  const auto index = take(CheckpointKind::kIndexOnly, false);
  ASSERT_TRUE(index.has_value());
  EXPECT_TRUE(index->with_index);
  EXPECT_EQ(index->version, log_only->version + 1) << "the version does not advance";
  fill(10, "second ");
  const auto later = take(CheckpointKind::kFoldOver, false);
  ASSERT_TRUE(later.has_value());
  EXPECT_EQ(later->version, index->version);
  open();
  EXPECT_EQ(contents(*store), model);
  EXPECT_LT(progress["records"], without / 4);
  EXPECT_GT(progress["index"], 0u);
  EXPECT_TRUE(disk.exists(path_of(index->token)).value());

  ASSERT_TRUE(take(CheckpointKind::kFoldOver, true).has_value());
  ASSERT_TRUE(take(CheckpointKind::kFoldOver, true).has_value());
  EXPECT_FALSE(disk.exists(path_of(index->token)).value());
  open();
  EXPECT_EQ(contents(*store), model);
}

// Promise: an index that was written after the newest state is not used for it.
TEST_F(KindsTest, AnIndexNewerThanTheStateIsLeftAlone) {
  open();
  fill(100, "first ");
  ASSERT_TRUE(take(CheckpointKind::kSnapshot, true).has_value());
  const Model kept = model;
  fill(300, "lost ");
  const auto index = take(CheckpointKind::kIndexOnly, true);
  ASSERT_TRUE(index.has_value());
  model = kept;
  open();
  EXPECT_EQ(contents(*store), model);
  EXPECT_FALSE(disk.exists(path_of(index->token)).value());
  fill(50, "second ");
  ASSERT_TRUE(take(CheckpointKind::kFoldOver, false).has_value());
  open();
  EXPECT_EQ(contents(*store), model);
}

// Promise: the index may grow between its image and the checkpoint's end: records written in
// between are chained by the larger table, and all are found again.
TEST_F(KindsTest, GrowthDuringACheckpointLosesNothing) {
  options.index_buckets = 4;
  options.index_grows = false;
  open();
  fill(500, "first ");
  put("held", "open");
  auto info = begin_checkpoint(*store);
  while (store->checkpoint_progress().phase != CheckpointPhase::kWaitPending)
    std::this_thread::yield();
  for (int times = 0; times < 3; ++times)
    ASSERT_TRUE(store->grow_index().has_value());
  for (int key = 0; key < 700; ++key) {  // all of the serial that is open
    const std::string name = "key" + std::to_string(key);
    ASSERT_TRUE(session->upsert(as_bytes(name), as_bytes("grown"), serial).has_value());
    model[name] = "grown";
  }
  session->refresh(serial);
  ASSERT_TRUE(info.get().has_value());
  EXPECT_EQ(store->index_buckets(), 32u);
  open();
  EXPECT_EQ(contents(*store), model);
  EXPECT_EQ(store->index_buckets(), 32u);
}

// Promise: an incremental checkpoint writes what has changed, recovers together with what it builds
// on, which stays as long as it is needed, and a chain does not become longer and longer.
TEST_F(KindsTest, IncrementalWritesWhatChanged) {
  options.memory_bytes = 64u << 20;
  options.checkpoints_kept = 1;
  open();
  fill(20'000, std::string(100, 'x'));
  const auto full = take(CheckpointKind::kIncremental, false);
  ASSERT_TRUE(full.has_value());
  EXPECT_GT(full->bytes, 2'000'000u);
  uint64_t small = 0;
  for (int times = 0; times < 20; ++times) {
    for (int key = 0; key < 20; ++key)
      put("key" + std::to_string(key),
          std::string(100, static_cast<char>('a' + times)) + std::to_string(key));
    put("new" + std::to_string(times), "value");
    const auto info = take(CheckpointKind::kIncremental, false);
    ASSERT_TRUE(info.has_value()) << info.error().message;
    if (info->bytes < full->bytes / 20) ++small;
    ASSERT_TRUE(store->validate_checkpoint(info->token).has_value());
    EXPECT_EQ(store->checkpoints()->size(), 1u);
    ASSERT_LE(disk.list("/kv/checkpoints")->size(), 9u);
  }
  EXPECT_GE(small, 15u);
  EXPECT_LT(small, 20u) << "now and then a full one";
  open();
  EXPECT_EQ(contents(*store), model);
  // Not built on what another life wrote.
  put("key1", "again");
  const auto after = take(CheckpointKind::kIncremental, false);
  ASSERT_TRUE(after.has_value());
  EXPECT_GT(after->bytes, 2'000'000u);
  EXPECT_EQ(disk.list("/kv/checkpoints")->size(), 1u);
  open();
  EXPECT_EQ(contents(*store), model);
}

// Promise: a removed snapshot's file becomes the next one's, which is cut to its own length; what
// is kept is never written over, and who takes other kinds keeps no such file.
TEST_F(KindsTest, ASnapshotIsWrittenOverARemovedOne) {
  const storage::Path spare = "/kv/snapshot.spare";
  open();
  uint64_t longest = 0;
  for (int times = 0; times < 9; ++times) {
    fill(times == 5 ? 4000 : 1000, "time " + std::to_string(times) + " " + std::string(500, 'x'));
    const auto info = take(CheckpointKind::kSnapshot, false);
    ASSERT_TRUE(info.has_value()) << info.error().message;
    // Three have been written when the first of two that are kept is removed; the seventh took the
    // spare, and what the eighth removes is a fold-over.
    EXPECT_EQ(disk.exists(spare).value(), times >= 2 && times != 7) << times;
    EXPECT_EQ(disk.content(path_of(info->token) / "snapshot").size(), info->bytes);
    longest = std::max(longest, info->bytes);
    const auto all = store->checkpoints();
    ASSERT_TRUE(all.has_value());
    for (const CheckpointInfo& kept : *all) {
      const auto valid = store->validate_checkpoint(kept.token);
      EXPECT_TRUE(valid.has_value()) << valid.error().message;
    }
    if (times == 5) {
      // From here on the log is flushed, and a snapshot is shorter than the file it is written
      // over.
      ASSERT_TRUE(take(CheckpointKind::kFoldOver, false).has_value());
      EXPECT_FALSE(disk.exists(spare).value());
    }
    if (times == 4) open();
    ASSERT_EQ(contents(*store), model);
  }
  EXPECT_LT(disk.content(spare).size(), longest);
  open();
  EXPECT_EQ(contents(*store), model);
  EXPECT_TRUE(disk.exists(spare).value()) << "it is used, or goes, with the next publication";
  ASSERT_TRUE(take(CheckpointKind::kIncremental, false).has_value());
  EXPECT_FALSE(disk.exists(spare).value());
}

// Promise: one asked for by its token is recovered, and what came after it is gone for good.
TEST_F(KindsTest, RecoversByToken) {
  options.checkpoints_kept = 4;
  open();
  std::vector<CheckpointInfo> infos;
  std::vector<Model> models;
  for (const CheckpointKind kind : {CheckpointKind::kFoldOver, CheckpointKind::kSnapshot,
                                    CheckpointKind::kIncremental, CheckpointKind::kFoldOver}) {
    fill(100, std::string(name_of(kind)));
    put("only in " + std::to_string(infos.size()), "yes");
    const auto info = take(kind, true);
    ASSERT_TRUE(info.has_value());
    infos.push_back(*info);
    models.push_back(model);
  }
  session.reset();
  store.reset();
  options.recover_token = 99;
  const auto absent = Store::open(disk, options);
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(disk.list("/kv/checkpoints")->size(), 4u);
  for (int index : {2, 1, 0}) {
    options.recover_token = infos[index].token;
    open();
    EXPECT_EQ(store->recovered()->token, infos[index].token);
    model = models[index];
    EXPECT_EQ(contents(*store), model);
    EXPECT_EQ(store->checkpoints()->size(), static_cast<size_t>(index) + 1);
    put("lost", "soon");
  }
  options.recover_token.reset();
  model = models[0];
  open();
  EXPECT_EQ(contents(*store), model);
  put("goes", "on");
  const auto info = take(CheckpointKind::kFoldOver, false);
  ASSERT_TRUE(info.has_value());
  EXPECT_GT(info->token, infos[0].token);
  open();
  EXPECT_EQ(contents(*store), model);
}

// Promise: more than 8,192 versions, and more than a record's version bits can tell apart (2^15).
TEST_F(KindsTest, VersionsComeRound) {
  for (const CheckpointKind kind :
       {CheckpointKind::kFoldOver, CheckpointKind::kSnapshot, CheckpointKind::kIncremental}) {
    for (const uint64_t version : {8'190u, 32'764u, 65'533u}) {
      SCOPED_TRACE(std::string(name_of(kind)) + " " + std::to_string(version));
      open();
      fill(50, "before ");
      auto info = take(kind, false);
      ASSERT_TRUE(info.has_value());
      session.reset();
      store.reset();
      // As if it were the so-manieth.
      CheckpointDirectory directory(disk, options.directory);
      auto manifest = directory.manifest(info->token);
      ASSERT_TRUE(manifest.has_value());
      manifest->info.version = version;
      ASSERT_TRUE(directory.publish(*manifest).has_value());
      open();
      ASSERT_EQ(contents(*store), model);
      auto other = session_or_die(*store, 2);
      Serial others = other->last_serial();
      for (int times = 0; times < 8; ++times) {
        put("held", std::to_string(times));  // and in the middle of the serial
        auto running = begin_checkpoint(*store, nullptr, kind, times % 2 == 0);
        while (store->checkpoint_progress().phase != CheckpointPhase::kWaitPending)
          std::this_thread::yield();
        ++others;
        for (const char* key : {"key1", "key2", "shared"})
          ASSERT_TRUE(
              other->upsert(as_bytes(key), as_bytes("next " + std::to_string(times)), others));
        ASSERT_TRUE(session->upsert(as_bytes("key2"), as_bytes("beneath"), serial).has_value());
        model["key2"] = "beneath";
        const Model in_checkpoint = model;
        session->refresh(serial);
        other->refresh(others);
        const auto done = running.get();
        ASSERT_TRUE(done.has_value()) << done.error().message;
        ASSERT_EQ(done->version, version + 1 + times);
        // The write beneath came last: it is in the checkpoint, and what is read now.
        model["key1"] = model["shared"] = "next " + std::to_string(times);
        ASSERT_EQ(contents(*store), model);
        if (times % 3 == 2) {
          other.reset();
          model = in_checkpoint;
          open();
          ASSERT_EQ(contents(*store), model);
          other = session_or_die(*store, 2);
          others = other->last_serial();
          // The version is used again after those records of it that were undone.
          put("key1", "after");
          // Keeps the counting of versions: one more than the last.
          const auto once_more = take(kind, true);
          ASSERT_TRUE(once_more.has_value());
          ASSERT_EQ(once_more->version, version + 2 + times);
          break;
        }
      }
      other.reset();
      open();
      ASSERT_EQ(contents(*store), model);
    }
  }
}

}  // namespace
}  // namespace tailrace::kv
