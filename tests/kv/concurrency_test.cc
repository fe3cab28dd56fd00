// Threads: readers beside writers, writers beside writers, checkpoints beside all. Run under the
// thread sanitizer as well.

#include <atomic>
#include <thread>

#include "core/random.h"
#include "tests/kv/kv_support.h"
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
// values, and never misses a key that is always there, also while compaction moves it and while it
// goes to disk.
void read_beside_a_writer(StoreOptions options) {
  options.compaction.least_log_bytes = 1u << 19;
  auto store = open_or_die(storage::posix_file_system(), options);
  auto session = session_or_die(*store, 1);
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

TEST(StoreThreads, ReadersSeeWholeValuesBesideAWriter) {
  const testing::TemporaryDirectory directory;
  read_beside_a_writer(small_options(directory.path()));
}

TEST(StoreThreads, ReadersSeeWholeValuesBesideAWriterInLittleMemory) {
  const testing::TemporaryDirectory directory;
  read_beside_a_writer(tiny_options(directory.path()));
}

// Promise: several writers on the same keys leave each key with a value one of them wrote last, and
// the counts of live records come out right.
TEST(StoreThreads, SeveralWritersOnTheSameKeys) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = small_options(directory.path());
  options.index_buckets = 4;
  auto store = open_or_die(storage::posix_file_system(), options);
  constexpr uint64_t kWriters = 4;
  constexpr uint64_t kKeys = 40;
  std::vector<std::thread> writers;
  for (uint64_t writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      auto session = session_or_die(*store, writer + 1);
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
        auto session = session_or_die(*store, id);
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
