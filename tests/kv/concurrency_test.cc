// Threads: readers beside writers, writers beside writers, checkpoints beside all. Run under the
// thread sanitizer as well.

#include <atomic>
#include <thread>

#include "core/random.h"
#include "kv/store_impl.h"
#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

/// A value that says whether it is whole: one letter, repeated as often as the letter says.
std::string whole_value(uint64_t number) {
  return std::string(1 + number % 23 * 5, static_cast<char>('a' + number % 23));
}
bool is_whole(const std::string& value) {
  return !value.empty() && value == whole_value(static_cast<uint64_t>(value[0] - 'a'));
}

// Promise: a reader beside a writer that updates in place and copies never sees a mixture of
// values, and never misses a key that is always there, also while compaction moves it.
TEST(StoreThreads, ReadersSeeWholeValuesBesideAWriter) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = small_options(directory.path());
  options.memory_bytes = 8u << 16;
  options.page_bytes = 1u << 16;
  options.index_buckets = 4;
  auto store = open_or_die(storage::posix_file_system(), options);
  auto session = std::move(*store->start_session(1));
  constexpr uint64_t kKeys = 50;
  const auto key_of = [](uint64_t number) { return "key" + std::to_string(number); };
  Serial serial = 0;
  for (uint64_t key = 0; key < kKeys; ++key) {
    ASSERT_TRUE(session->upsert(as_bytes(key_of(key)), as_bytes(whole_value(0)), ++serial));
  }
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> reads{0};
  std::vector<std::thread> readers;
  for (uint64_t reader = 0; reader < 3; ++reader) {
    readers.emplace_back([&, reader] {
      Random random(reader);
      std::string value;
      while (!stop) {
        const auto found = store->read(as_bytes(key_of(random.below(kKeys))), value);
        ASSERT_TRUE(found.has_value());
        ASSERT_TRUE(is_whole(value)) << value;
        reads.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  Random random(99);
  for (int step = 0; step < 60'000 || reads < 1000; ++step) {
    const std::string key = key_of(random.below(kKeys));
    ASSERT_TRUE(session->upsert(as_bytes(key), as_bytes(whole_value(random.below(23))), ++serial));
    if (step % 20'000 == 10'000) {
      session->refresh(serial);
      ASSERT_TRUE(checkpoint(*store).has_value());
    }
  }
  stop = true;
  for (auto& reader : readers)
    reader.join();
}

// Promise: several writers on the same keys leave each key with a value one of them wrote last, and
// the counts of live records come out right.
TEST(StoreThreads, SeveralWritersOnTheSameKeys) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = small_options(directory.path());
  options.memory_bytes = 8u << 17;
  options.page_bytes = 1u << 17;
  options.index_buckets = 4;
  auto store = open_or_die(storage::posix_file_system(), options);
  constexpr uint64_t kWriters = 4;
  constexpr uint64_t kKeys = 40;
  std::vector<std::thread> writers;
  for (uint64_t writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      auto session = std::move(*store->start_session(writer + 1));
      Random random(writer);
      Serial serial = 0;
      for (int step = 0; step < 8000; ++step) {
        const std::string key = "key" + std::to_string(random.below(kKeys));
        if (random.chance(1, 4)) {
          ASSERT_TRUE(session->erase(as_bytes(key), ++serial).has_value());
        } else {
          const std::string value = whole_value(random.below(23));
          ASSERT_TRUE(session->upsert(as_bytes(key), as_bytes(value), ++serial).has_value());
        }
      }
    });
  }
  for (auto& writer : writers)
    writer.join();
  const Model model = contents(*store);
  for (const auto& [key, value] : model)
    EXPECT_TRUE(is_whole(value));
  EXPECT_EQ(store->live_records(), model.size());
}

// Promise (CPR): whatever the sessions do meanwhile, a checkpoint holds every operation of a
// session up to its point and none after. Each session's operation number n writes n to its own key
// n % 8 and, with the same serial, to a key it shares with the others; what is recovered must be
// what the first `point` operations leave.
TEST(StoreThreads, ACheckpointUnderLoadIsAnExactPrefixOfEverySession) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = small_options(directory.path());
  options.index_buckets = 2;
  options.checkpoints_kept = 1;
  constexpr uint64_t kSessions = 3;
  const auto own_key = [](uint64_t session, uint64_t number) {
    return "s" + std::to_string(session) + "/" + std::to_string(number % 8);
  };
  std::vector<Serial> reached(kSessions + 1, 0);
  for (int round = 0; round < 8; ++round) {
    auto store = open_or_die(storage::posix_file_system(), options);
    ASSERT_NE(store, nullptr);
    if (store->recovered()) {
      for (uint64_t session = 1; session <= kSessions; ++session) {
        const Serial point = point_of(*store->recovered(), session);
        ASSERT_LE(point, reached[session]);
        std::string value;
        for (Serial serial = point < 8 ? 1 : point - 7; serial <= point; ++serial) {
          ASSERT_TRUE(store->read(as_bytes(own_key(session, serial)), value).has_value());
          ASSERT_EQ(value, std::to_string(serial)) << "not the prefix up to " << point;
        }
      }
      std::string shared;
      ASSERT_TRUE(store->read(as_bytes("shared"), shared).has_value());
      // "session:serial" of some session's operation within its point.
      const auto colon = shared.find(':');
      const uint64_t session = std::stoull(shared.substr(0, colon));
      ASSERT_LE(std::stoull(shared.substr(colon + 1)), point_of(*store->recovered(), session));
    }
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> under_way{0};  // sessions whose keys are all there
    std::vector<std::thread> writers;
    for (uint64_t id = 1; id <= kSessions; ++id) {
      writers.emplace_back([&, id] {
        auto session = std::move(*store->start_session(id));
        const Serial begun = session->last_serial();
        Serial serial = begun;
        while (!stop) {
          ++serial;
          const std::string value = std::to_string(serial);
          ASSERT_TRUE(session->upsert(as_bytes(own_key(id, serial)), as_bytes(value), serial));
          const std::string shared = std::to_string(id) + ":" + value;
          ASSERT_TRUE(session->upsert(as_bytes("shared"), as_bytes(shared), serial));
          if (serial - begun == 8) ++under_way;
        }
        reached[id] = serial;
      });
    }
    while (under_way < kSessions)
      std::this_thread::yield();
    Result<CheckpointInfo> info = make_error(ErrorCode::kNotFound, "none yet");
    for (int times = 0; times < 3; ++times) {
      info = checkpoint(*store);
      ASSERT_TRUE(info.has_value()) << info.error().message;
    }
    stop = true;
    for (auto& writer : writers)
      writer.join();
    EXPECT_EQ(info->live_records, kSessions * 8 + 1);
  }
}

/// What a session's operation `serial` does: one to three writes, the same whenever it is asked.
void replay(uint64_t session, Serial serial,
            const std::function<void(const std::string& key, const std::string* value)>& write) {
  Random random(session * 1'000'003 + serial);
  for (uint64_t writes = 1 + random.below(3); writes > 0; --writes) {
    const std::string key = std::to_string(session) + "/" + std::to_string(random.below(120));
    if (random.chance(1, 5)) {
      write(key, nullptr);
      continue;
    }
    std::string value = std::to_string(serial) + "." + std::to_string(writes) + " ";
    value.resize(value.size() + random.below(1000), 'v');
    write(key, &value);
  }
}

// Promise (CPR, in little memory): the same while compaction runs, records grow and shrink and keys
// come and go: what a power cut leaves is, for every session, what its operations up to the point
// make of an empty store. No write is refused, for the live records take little of the memory.
TEST(StoreThreads, ACheckpointBesideCompactionIsAnExactPrefixToo) {
  testing::FaultFileSystem disk(1);
  StoreOptions options = small_options("/kv");
  options.memory_bytes = 24u << 16;
  options.page_bytes = 1u << 16;
  options.index_buckets = 8;
  constexpr uint64_t kSessions = 2;
  uint64_t published = 0;
  for (int round = 0; round < 4; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    auto store = open_or_die(disk, options);
    ASSERT_NE(store, nullptr);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> under_way{0};
    std::vector<std::thread> writers;
    for (uint64_t id = 1; id <= kSessions; ++id) {
      writers.emplace_back([&, id] {
        auto session = std::move(*store->start_session(id));
        const Serial begun = session->last_serial();
        for (Serial serial = begun + 1; !stop || serial < begun + 2000; ++serial) {
          replay(id, serial, [&](const std::string& key, const std::string* value) {
            const Result<> done = value != nullptr
                                      ? session->upsert(as_bytes(key), as_bytes(*value), serial)
                                      : session->erase(as_bytes(key), serial).map([](bool) {});
            ASSERT_TRUE(done.has_value()) << done.error().message;
          });
          if (serial % 3 == 0) session->refresh(serial);
          if (serial == begun + 1000) ++under_way;
        }
      });
    }
    while (under_way < kSessions)
      std::this_thread::yield();
    // Each makes every record be copied: in the end compaction has to run.
    const auto& compacted = static_cast<StoreImpl&>(*store).engine().probe().compacted_records;
    for (int times = 0; times < 4 || compacted.value() < 20; ++times) {
      const auto info = checkpoint(*store);
      if (info) {
        ++published;
      } else {
        EXPECT_EQ(info.error().code, ErrorCode::kResourceExhausted) << "given up for a write only";
      }
    }
    stop = true;
    for (auto& writer : writers)
      writer.join();
    EXPECT_EQ(store->live_records(), contents(*store).size());
    store.reset();
    disk.crash(testing::CrashPolicy::kLoseUnsynced);
    store = open_or_die(disk, options);
    Model model;
    if (store->recovered()) {
      for (const SessionPoint& point : store->recovered()->points) {
        for (Serial serial = 1; serial <= point.point; ++serial) {
          replay(point.session, serial, [&](const std::string& key, const std::string* value) {
            if (value == nullptr) {
              model.erase(key);
            } else {
              model[key] = *value;
            }
          });
        }
      }
    }
    ASSERT_EQ(contents(*store), model);
  }
  EXPECT_GT(published, 0u);
}

// Promise: sessions may come and go while a checkpoint is taken; their points are in it.
TEST(StoreThreads, SessionsComeAndGoDuringCheckpoints) {
  const testing::TemporaryDirectory directory;
  auto store = open_or_die(storage::posix_file_system(), small_options(directory.path()));
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (uint64_t id = 1; id <= 2; ++id) {
    writers.emplace_back([&, id] {
      Serial serial = 0;
      while (!stop) {
        auto session = std::move(*store->start_session(id));
        ASSERT_EQ(session->last_serial(), serial);
        for (int step = 0; step < 20; ++step) {
          ++serial;
          ASSERT_TRUE(session->upsert(as_bytes("key" + std::to_string(id)),
                                      as_bytes(std::to_string(serial)), serial));
        }
      }
    });
  }
  Result<CheckpointInfo> info = make_error(ErrorCode::kNotFound, "none yet");
  for (int times = 0; times < 30; ++times) {
    info = checkpoint(*store);
    ASSERT_TRUE(info.has_value()) << info.error().message;
  }
  stop = true;
  for (auto& writer : writers)
    writer.join();
  store.reset();
  store = open_or_die(storage::posix_file_system(), small_options(directory.path()));
  std::string value;
  for (const SessionPoint& point : store->recovered()->points) {
    ASSERT_TRUE(store->read(as_bytes("key" + std::to_string(point.session)), value).has_value());
    EXPECT_EQ(value, std::to_string(point.point));
  }
}

}  // namespace
}  // namespace tailrace::kv
