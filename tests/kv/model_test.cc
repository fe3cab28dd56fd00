// The store against std::map, by seeds.

#include <thread>

#include "core/random.h"
#include "kv/store_impl.h"
#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

std::string random_bytes(Random& random, uint64_t most) {
  std::string text(random.below(most + 1), '\0');
  for (char& letter : text)
    letter = static_cast<char>(random.below(256));
  return text;
}

std::string random_key(Random& random) {
  // Also empty and binary keys, and a few long ones.
  if (random.chance(1, 50)) return "";
  if (random.chance(1, 100)) return std::string(2000 + random.below(4), 'k');
  const uint64_t number = random.below(400);
  return std::string("k\0", 2) + std::to_string(number);
}

// Promise: whatever sequence of writes, each read tells the latest value; what a checkpoint holds
// and a later open finds is exactly the state at its point; also while compaction moves records,
// and after a power cut that takes all that was not synced.
class StoreModel : public ::testing::TestWithParam<uint64_t> {};

TEST_P(StoreModel, AgreesWithAMapThroughWritesCheckpointsAndReopening) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  testing::FaultFileSystem disk(GetParam());
  StoreOptions options = small_options("/kv");
  Random random(GetParam());
  // Six pages: the writes below pass through them several times.
  options.memory_bytes = 6u << 16;
  options.page_bytes = 1u << 16;
  options.index_buckets = random.chance(1, 2) ? 2 : 64;
  options.mutable_fraction = random.chance(1, 2) ? 0.9 : 0.3;

  Model model;
  Model at_checkpoint;
  Serial serial = 0;
  auto store = open_or_die(disk, options);
  ASSERT_NE(store, nullptr);
  auto session = std::move(*store->start_session(1));
  std::string value;
  for (int step = 0; step < 12000; ++step) {
    const std::string key = random_key(random);
    const uint64_t dice = random.below(1000);
    if (dice < 600) {
      value = random_bytes(random, random.chance(1, 10) ? 3000 : 60);
      const auto written = session->upsert(as_bytes(key), as_bytes(value), ++serial);
      if (written) {
        model[key] = value;
      } else {
        ASSERT_EQ(written.error().code, ErrorCode::kResourceExhausted);
      }
    } else if (dice < 850) {
      const auto erased = session->erase(as_bytes(key), ++serial);
      if (erased) {
        ASSERT_EQ(*erased, model.erase(key) > 0);
      } else {
        ASSERT_EQ(erased.error().code, ErrorCode::kResourceExhausted);
      }
    } else if (dice < 990) {
      const auto found = session->read(as_bytes(key), value);
      const auto known = model.find(key);
      ASSERT_EQ(found.has_value(), known != model.end());
      if (found) {
        ASSERT_EQ(value, known->second);
      }
    } else if (dice < 998) {
      session->refresh(serial);
      const auto info = checkpoint(*store);
      ASSERT_TRUE(info.has_value()) << info.error().message;
      ASSERT_EQ(point_of(*info, 1), serial);
      ASSERT_EQ(info->live_records, model.size());
      at_checkpoint = model;
    } else {
      session.reset();
      store.reset();
      disk.crash(testing::CrashPolicy::kLoseUnsynced);
      store = open_or_die(disk, options);
      ASSERT_NE(store, nullptr);
      session = std::move(*store->start_session(1));
      serial = std::max(serial, session->last_serial());
      model = at_checkpoint;
      ASSERT_EQ(contents(*store), model);
    }
    ASSERT_EQ(store->live_records(), model.size());
    ASSERT_LE(store->used_bytes(), store->capacity_bytes());
  }
  ASSERT_EQ(contents(*store), model);
}

INSTANTIATE_TEST_SUITE_P(Seeds, StoreModel, ::testing::Range<uint64_t>(0, 8));

// Promise: a store that is only updated does not fill up, however often a checkpoint makes every
// record be copied; its memory stays within what was given.
TEST(StoreMemory, UpdatesAndCheckpointsForeverFitWhereTheLiveRecordsFit) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = small_options(directory.path());
  options.memory_bytes = 8u << 18;
  options.page_bytes = 1u << 18;
  auto store = open_or_die(storage::posix_file_system(), options);
  auto session = std::move(*store->start_session(1));
  Serial serial = 0;
  const std::string value(100, 'v');
  for (int round = 0; round < 30; ++round) {
    auto info = begin_checkpoint(*store);
    for (int key = 0; key < 4000; ++key) {
      const auto written = session->upsert(as_bytes("key" + std::to_string(key)),
                                           as_bytes(value + std::to_string(round)), ++serial);
      ASSERT_TRUE(written.has_value()) << written.error().message << " in round " << round;
    }
    session->refresh(serial);
    const auto done = info.get();
    ASSERT_TRUE(done.has_value()) << done.error().message;
  }
  EXPECT_EQ(store->live_records(), 4000u);
}

// Promise: while garbage is there no write is refused, wherever the garbage lies: here behind pages
// of live records, which compaction must carry past the last free page without a writer getting
// into its way.
TEST(StoreMemory, LiveRecordsBeforeTheGarbageDoNotBlockCompaction) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    testing::FaultFileSystem disk(seed);
    Random random(seed);
    StoreOptions options = small_options("/kv");
    options.memory_bytes = 16u << 17;
    options.page_bytes = 1u << 17;
    auto store = open_or_die(disk, options);
    auto session = std::move(*store->start_session(1));
    Model model;
    Serial serial = 0;
    const auto put = [&](const std::string& key, size_t bytes) {
      const std::string value(bytes, static_cast<char>('a' + serial % 23));
      const auto written = session->upsert(as_bytes(key), as_bytes(value), ++serial);
      ASSERT_TRUE(written.has_value()) << written.error().message << " at serial " << serial;
      model[key] = value;
    };
    // Between half and nine tenths of the memory is cold; visitors stay for a moment.
    const uint64_t cold = store->capacity_bytes() / 20 * (10 + random.below(8)) / 4000;
    for (uint64_t number = 0; number < cold; ++number) {
      ASSERT_NO_FATAL_FAILURE(put("cold" + std::to_string(number), 3900 + random.below(60)));
    }
    for (int step = 0; step < 600; ++step) {
      ASSERT_NO_FATAL_FAILURE(put("visitor" + std::to_string(step), 1000 + random.below(15000)));
      const std::string gone = "visitor" + std::to_string(step - 4);
      if (step < 4) continue;
      ASSERT_TRUE(session->erase(as_bytes(gone), ++serial).value());
      model.erase(gone);
    }
    EXPECT_EQ(contents(*store), model);
  }
}

// Promise: a checkpoint keeps memory from nobody. A session in the middle of a serial holds one up
// while another one writes more than fits beside the old records: the checkpoint is given up with
// a word, no write is refused, and the next checkpoint is whole.
TEST(StoreMemory, AWriteThatNeedsTheMemoryEndsTheCheckpoint) {
  testing::FaultFileSystem disk(1);
  StoreOptions options = small_options("/kv");
  options.memory_bytes = 16u << 14;
  options.page_bytes = 1u << 14;
  auto store = open_or_die(disk, options);
  auto session = std::move(*store->start_session(1));
  auto other = std::move(*store->start_session(2));
  Model model;
  Serial serial = 0;
  const auto put_all = [&](size_t bytes) {
    for (int number = 0; number < 150; ++number) {
      const std::string key = "key" + std::to_string(number);
      const std::string value(bytes, static_cast<char>('a' + serial % 23));
      const auto written = session->upsert(as_bytes(key), as_bytes(value), ++serial);
      ASSERT_TRUE(written.has_value()) << written.error().message;
      model[key] = value;
    }
  };
  ASSERT_NO_FATAL_FAILURE(put_all(1000));
  ASSERT_TRUE(other->upsert(as_bytes("other"), as_bytes("1"), 1));
  model["other"] = "1";
  auto info = begin_checkpoint(*store);
  while (store->checkpoint_progress().phase != CheckpointPhase::kWaitPending) {
    std::this_thread::yield();
  }
  for (const size_t bytes : {1000, 1016, 900, 1010})
    ASSERT_NO_FATAL_FAILURE(put_all(bytes));
  other->refresh(1);
  const auto given_up = info.get();
  ASSERT_FALSE(given_up.has_value());
  EXPECT_EQ(given_up.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(contents(*store), model);
  EXPECT_TRUE(store->checkpoints()->empty());

  session->refresh(serial);
  const auto done = checkpoint(*store);
  ASSERT_TRUE(done.has_value()) << done.error().message;
  session.reset();
  other.reset();
  store.reset();
  store = open_or_die(disk, options);
  EXPECT_EQ(contents(*store), model);
}

// Promise: in a full store deletions go on, also of records that compaction has begun to move and
// left, since there was nothing to win any more.
TEST(StoreMemory, AKeyOfAPageHalfCompactedCanBeDeletedWhenMemoryIsFull) {
  testing::FaultFileSystem disk(1);
  StoreOptions options = small_options("/kv");
  options.memory_bytes = 6u << 20;
  auto store = open_or_die(disk, options);
  auto session = std::move(*store->start_session(1));
  Serial serial = 0;
  Model model;
  const auto put = [&](const std::string& key, size_t bytes) {
    const std::string value(bytes, 'v');
    const auto written = session->upsert(as_bytes(key), as_bytes(value), ++serial);
    if (written) model[key] = value;
    return written.has_value();
  };
  const auto erase = [&](const std::string& key) {
    const auto erased = session->erase(as_bytes(key), ++serial);
    ASSERT_TRUE(erased.has_value()) << erased.error().message;
    EXPECT_EQ(*erased, model.erase(key) > 0);
  };
  for (int number = 0; number < 900; ++number)
    ASSERT_TRUE(put("key" + std::to_string(number), 4000));
  for (const std::string large : {"large0", "large1", "large2", "large3"}) {
    ASSERT_TRUE(put(large, 90'000));
  }
  for (const std::string large : {"large0", "large1", "large2", "large3"}) {
    ASSERT_NO_FATAL_FAILURE(erase(large));
  }
  // The garbage sets compaction off; then it is revived in place, and compaction stops.
  const auto& probe = static_cast<StoreImpl&>(*store).engine().probe();
  for (int number = 0; probe.compacted_records.value() == 0; ++number) {
    ASSERT_TRUE(put("new" + std::to_string(number), 4000));
    ASSERT_LT(number, 100);
  }
  for (const std::string large : {"large0", "large1", "large2", "large3"}) {
    ASSERT_TRUE(put(large, 90'000));
  }
  ASSERT_EQ(probe.released_pages.value(), 0u) << "the page is not half compacted";
  for (const size_t bytes : {4000, 100, 0}) {
    for (int number = 0; put("last" + std::to_string(bytes + number), bytes); ++number) {
    }
  }
  ASSERT_NO_FATAL_FAILURE(erase("key250"));  // of that page
  EXPECT_EQ(contents(*store), model);
}

// Promise: keys that come and go leave nothing behind.
TEST(StoreMemory, KeysThatComeAndGoLeaveNothing) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = small_options(directory.path());
  options.memory_bytes = 8u << 16;
  options.page_bytes = 1u << 16;
  options.index_buckets = 16;
  auto store = open_or_die(storage::posix_file_system(), options);
  auto session = std::move(*store->start_session(1));
  Serial serial = 0;
  for (int number = 0; number < 100'000; ++number) {
    const std::string key = "visitor" + std::to_string(number);
    ASSERT_TRUE(session->upsert(as_bytes(key), as_bytes("here"), ++serial).has_value());
    ASSERT_TRUE(session->erase(as_bytes(key), ++serial).value());
  }
  EXPECT_EQ(store->live_records(), 0u);
  EXPECT_TRUE(contents(*store).empty());
}

// Promise: a write that finds the memory full changes nothing and says so; reads, updates that fit
// in place and deletions go on, and deletions make room again.
TEST(StoreMemory, AFullStoreRefusesAndLosesNothing) {
  const testing::TemporaryDirectory directory;
  StoreOptions options = small_options(directory.path());
  options.memory_bytes = 4u << 16;
  options.page_bytes = 1u << 16;
  auto store = open_or_die(storage::posix_file_system(), options);
  auto session = std::move(*store->start_session(1));
  Model model;
  Serial serial = 0;
  const std::string value(500, 'x');
  for (;;) {
    const std::string key = "key" + std::to_string(model.size());
    const auto written = session->upsert(as_bytes(key), as_bytes(value), ++serial);
    if (!written) {
      EXPECT_EQ(written.error().code, ErrorCode::kResourceExhausted);
      EXPECT_NE(written.error().message.find("memory_bytes"), std::string::npos);
      break;
    }
    model[key] = value;
    ASSERT_LT(model.size(), 1000u);
  }
  EXPECT_GT(model.size(), 300u);
  EXPECT_EQ(contents(*store), model);
  const std::string other(500, 'y');
  for (auto& [key, known] : model) {
    ASSERT_TRUE(session->upsert(as_bytes(key), as_bytes(other), ++serial).has_value());
    known = other;
  }
  EXPECT_EQ(contents(*store), model);
  while (model.size() > 100) {
    ASSERT_TRUE(session->erase(as_bytes(model.begin()->first), ++serial).value());
    model.erase(model.begin());
  }
  for (int number = 0; number < 100; ++number) {
    const std::string key = "new" + std::to_string(number);
    const auto written = session->upsert(as_bytes(key), as_bytes(value), ++serial);
    ASSERT_TRUE(written.has_value()) << written.error().message;
    model[key] = value;
  }
  EXPECT_EQ(contents(*store), model);
}

// Promise: the largest record fits, one byte more is refused by name, and sizes are no secret.
TEST(StoreMemory, TheLargestRecordFitsAndALargerIsRefused) {
  const testing::TemporaryDirectory directory;
  auto store = open_or_die(storage::posix_file_system(), small_options(directory.path()));
  auto session = std::move(*store->start_session(1));
  const std::string value(store->max_record_bytes() - 3, 'x');
  ASSERT_TRUE(session->upsert(as_bytes("key"), as_bytes(value), 1).has_value());
  std::string read;
  ASSERT_TRUE(store->read(as_bytes("key"), read).has_value());
  EXPECT_EQ(read, value);
  const auto refused = session->upsert(as_bytes("key4"), as_bytes(value), 2);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
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
  refused([](StoreOptions& o) { o.index_buckets = 3; }, "index_buckets");
  refused([](StoreOptions& o) { o.mutable_fraction = 0; }, "mutable_fraction");
  refused([](StoreOptions& o) { o.checkpoints_kept = 0; }, "checkpoints_kept");
  refused([](StoreOptions& o) { o.directory.clear(); }, "directory");
}

}  // namespace
}  // namespace tailrace::kv
