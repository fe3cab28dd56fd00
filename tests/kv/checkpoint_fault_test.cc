// Checkpoints on a disk that fails, loses and flips.

#include "core/crc32c.h"
#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

StoreOptions tiny_options() {
  StoreOptions options = small_options("/kv");
  options.memory_bytes = 4u << 16;
  options.page_bytes = 1u << 16;
  options.index_buckets = 4;
  return options;
}

/// Two generations of five keys; each is checkpointed.
struct Generations {
  std::map<uint64_t, Model> by_point;  // what a checkpoint with that point holds

  /// Returns the point of the newest published checkpoint, as far as the caller was told.
  Serial run(Store& store, Serial from, int checkpoints) {
    auto session = std::move(*store.start_session(1));
    Serial acknowledged = 0;
    Serial serial = std::max(from, session->last_serial());
    Model model = contents(store);
    for (int times = 0; times < checkpoints; ++times) {
      for (int key = 0; key < 5; ++key) {
        ++serial;
        const std::string name = "key" + std::to_string(key);
        model[name] = "value " + std::to_string(serial);
        EXPECT_TRUE(session->upsert(as_bytes(name), as_bytes(model[name]), serial).has_value());
      }
      session->refresh(serial);
      by_point[serial] = model;
      if (checkpoint(store)) acknowledged = serial;
    }
    return acknowledged;
  }
};

// Promise: whichever disk operation of a checkpoint fails or is cut off by a crash, what is found
// again is a whole checkpoint, never older than the last one that was reported published; and the
// store goes on taking checkpoints.
class EveryOperation : public ::testing::TestWithParam<FaultKind> {};

TEST_P(EveryOperation, LeavesAWholeCheckpoint) {
  uint64_t first = 0;
  uint64_t last = 0;
  {
    FaultFileSystem disk(1);
    auto store = open_or_die(disk, tiny_options());
    Generations generations;
    generations.run(*store, 0, 2);
    first = disk.operations();
    generations.run(*store, 0, 2);
    last = disk.operations();
  }
  ASSERT_GT(last, first + 10);
  for (uint64_t operation = first; operation < last; ++operation) {
    for (const CrashPolicy policy :
         {CrashPolicy::kLoseUnsynced, CrashPolicy::kKeepAll, CrashPolicy::kRandom}) {
      SCOPED_TRACE("operation " + std::to_string(operation));
      FaultFileSystem disk(operation * 3 + static_cast<uint64_t>(policy));
      Generations generations;
      Serial acknowledged = 0;
      {
        auto store = open_or_die(disk, tiny_options());
        acknowledged = generations.run(*store, 0, 2);
        disk.fail_at(operation, GetParam());
        acknowledged = std::max(acknowledged, generations.run(*store, 0, 2));
      }
      disk.crash(policy);
      auto store = open_or_die(disk, tiny_options());
      ASSERT_NE(store, nullptr);
      ASSERT_TRUE(store->recovered().has_value());
      EXPECT_TRUE(store->recovery_notes().empty());
      const Serial point = point_of(*store->recovered(), 1);
      ASSERT_GE(point, acknowledged);
      ASSERT_EQ(contents(*store), generations.by_point.at(point));
      // And on.
      const Serial later = generations.run(*store, 1000, 1);
      ASSERT_GT(later, 1000u);
      store.reset();
      store = open_or_die(disk, tiny_options());
      ASSERT_EQ(contents(*store), generations.by_point.at(later));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryOperation,
                         ::testing::Values(FaultKind::kError, FaultKind::kNoSpace,
                                           FaultKind::kPowerCut),
                         [](const auto& kind) {
                           return kind.param == FaultKind::kError     ? "Error"
                                  : kind.param == FaultKind::kNoSpace ? "NoSpace"
                                                                      : "PowerCut";
                         });

// Promise: a flipped bit anywhere in the newest checkpoint is noticed, the one before serves and
// the notes say so; damage nowhere that matters (padding) changes nothing.
TEST(DamagedCheckpoint, AnyFlippedBitFallsBackToTheOneBefore) {
  uint64_t fallbacks = 0;
  // The header, and pairs "key0": "value 6" to "key4": "value 10"; zeros follow.
  const uint64_t used_bytes = 40 + 5 * 8 + 5 * 4 + 4 * 7 + 8;
  for (const std::string file : {"records", "MANIFEST"}) {
    for (uint64_t byte = 0;; ++byte) {
      SCOPED_TRACE(file + ", byte " + std::to_string(byte));
      FaultFileSystem disk(byte);
      Generations generations;
      {
        auto store = open_or_die(disk, tiny_options());
        generations.run(*store, 0, 2);
      }
      const auto tokens = disk.list("/kv/checkpoints");
      ASSERT_EQ(tokens->size(), 2u);
      const storage::Path path = storage::Path("/kv/checkpoints") / tokens->back() / file;
      // The padding of a chunk is long and all alike.
      if (byte >= disk.content(path).size() || byte > 500) break;
      disk.flip_bit(path, byte, static_cast<int>(byte % 8));
      auto opened = Store::open(disk, tiny_options());
      ASSERT_TRUE(opened.has_value()) << opened.error().message;
      const Serial point = point_of(*(*opened)->recovered(), 1);
      EXPECT_EQ(contents(**opened), generations.by_point.at(point));
      if (point == 5) {
        EXPECT_FALSE((*opened)->recovery_notes().empty());
        ++fallbacks;
      } else {
        EXPECT_EQ(file, "records") << "damage was not noticed";
        EXPECT_GE(byte, used_bytes) << "damage was not noticed";
      }
    }
  }
  EXPECT_GT(fallbacks, 200u);
}

// Promise: when every checkpoint is damaged nothing is guessed.
TEST(DamagedCheckpoint, NoneIntactIsAnErrorThatNamesThem) {
  FaultFileSystem disk(1);
  {
    auto store = open_or_die(disk, tiny_options());
    Generations().run(*store, 0, 2);
  }
  const auto tokens = disk.list("/kv/checkpoints");
  for (const std::string& token : *tokens) {
    disk.flip_bit(storage::Path("/kv/checkpoints") / token / "records", 60, 3);
  }
  const auto before = disk.operations();
  const auto opened = Store::open(disk, tiny_options());
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorruption);
  EXPECT_NE(opened.error().message.find("00000000000000000002/records, offset 0"),
            std::string::npos)
      << opened.error().message;
  EXPECT_LE(disk.operations(), before + 2) << "only the lock may be touched";
}

}  // namespace
}  // namespace tailrace::kv
