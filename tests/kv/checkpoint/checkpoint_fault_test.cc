// Checkpoints on a disk that fails, loses and flips.

#include "core/random.h"
#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

StoreOptions fault_options() {
  StoreOptions options = tiny_options("/kv");
  options.compaction.automatic = false;
  return options;
}

using Kinds = std::vector<CheckpointKind>;
const Kinds kAllKinds = {CheckpointKind::kSnapshot, CheckpointKind::kIncremental,
                         CheckpointKind::kFoldOver};

/// Five keys, checkpointed with ever new values, by all kinds in turn.
struct Generations {
  Kinds kinds = kAllKinds;
  std::map<uint64_t, Model> by_point;  // what a checkpoint with that point holds
  uint64_t taken = 0;
  bool failed_writes = false;  // after a failed disk the store takes no more

  /// Returns the point of the newest published checkpoint, as far as the caller was told.
  Serial run(Store& store, Serial from, int checkpoints) {
    auto session = session_or_die(store, 1);
    Serial acknowledged = 0;
    Serial serial = std::max(from, session->last_serial());
    Model model = contents(store);
    for (int times = 0; times < checkpoints; ++times) {
      for (int key = 0; key < 5; ++key) {
        const std::string name = "key" + std::to_string(key);
        const std::string value =
            "value " + std::to_string(serial + 1) + std::string(key == 4 ? 3000 : 10, '.');
        const auto written = session->upsert(as_bytes(name), as_bytes(value), serial + 1);
        failed_writes |= !written;
        if (!written) return acknowledged;
        ++serial;
        model[name] = value;
      }
      session->refresh(serial);
      by_point[serial] = model;
      const CheckpointKind kind = kinds[taken % kinds.size()];
      if (checkpoint(store, kind, taken++ % 2 == 0)) acknowledged = serial;
    }
    return acknowledged;
  }
};

// Promise: whichever disk operation of a checkpoint fails or is cut off by a crash, what is found
// again is a whole checkpoint, never older than the last one that was reported published; and the
// store opened anew goes on taking checkpoints.
class EveryOperation : public ::testing::TestWithParam<FaultKind> {};

void strike_each_operation(FaultKind fault, const Kinds& kinds) {
  constexpr int kBefore = 3;
  constexpr int kStruck = 4;
  uint64_t first = 0;
  uint64_t last = 0;
  {
    FaultFileSystem disk(1);
    auto store = open_or_die(disk, fault_options());
    Generations generations;
    generations.kinds = kinds;
    generations.run(*store, 0, kBefore);
    first = disk.operations();
    generations.run(*store, 0, kStruck);
    last = disk.operations();
  }
  ASSERT_GT(last, first + 30);
  for (uint64_t operation = first; operation < last; ++operation) {
    for (const CrashPolicy policy : {CrashPolicy::kLoseUnsynced, CrashPolicy::kKeepAll,
                                     CrashPolicy::kRandom, CrashPolicy::kProcessEnds}) {
      SCOPED_TRACE("operation " + std::to_string(operation) + ", crash " +
                   std::to_string(static_cast<int>(policy)));
      FaultFileSystem disk(operation * 3 + static_cast<uint64_t>(policy));
      Generations generations;
      generations.kinds = kinds;
      Serial acknowledged = 0;
      {
        auto store = open_or_die(disk, fault_options());
        acknowledged = generations.run(*store, 0, kBefore);
        disk.fail_at(operation, fault);
        acknowledged = std::max(acknowledged, generations.run(*store, 0, kStruck));
      }
      disk.crash(policy);
      auto store = open_or_die(disk, fault_options());
      ASSERT_NE(store, nullptr);
      ASSERT_TRUE(store->recovered().has_value());
      EXPECT_TRUE(store->recovery_notes().empty()) << store->recovery_notes().front();
      const Serial point = point_of(*store->recovered(), 1);
      ASSERT_GE(point, acknowledged);
      ASSERT_EQ(contents(*store), generations.by_point.at(point));
      // And on: the next one damages nothing that is kept.
      ASSERT_GT(generations.run(*store, 1000, 1), 1000u);
      const auto kept = store->checkpoints();
      ASSERT_TRUE(kept.has_value());
      for (const CheckpointInfo& info : *kept) {
        const auto valid = store->validate_checkpoint(info.token);
        EXPECT_TRUE(valid.has_value()) << valid.error().message;
      }
      const Serial later = generations.run(*store, 1000, 1);
      ASSERT_GT(later, 1000u);
      store.reset();
      store = open_or_die(disk, fault_options());
      ASSERT_NE(store, nullptr);
      ASSERT_EQ(contents(*store), generations.by_point.at(later));
      EXPECT_LE(store->checkpoints()->size(), 2u);
    }
  }
}

TEST_P(EveryOperation, LeavesAWholeCheckpoint) {
  strike_each_operation(GetParam(), kAllKinds);
}

// The same where each snapshot is written over the file of one that was removed.
TEST_P(EveryOperation, LeavesAWholeSnapshot) {
  strike_each_operation(GetParam(), {CheckpointKind::kSnapshot});
}

// Promise: whichever disk operation of an opening fails, it is refused or done; a crash then, or
// trying again, finds the same state.
TEST_P(EveryOperation, OfAnOpeningLosesNothing) {
  // One that falls back from a damaged newest checkpoint, so that something is to be changed.
  const auto prepare = [](FaultFileSystem& disk, Generations& generations) {
    {
      auto store = open_or_die(disk, fault_options());
      generations.run(*store, 0, 4);
    }
    const auto tokens = disk.list("/kv/checkpoints");
    disk.flip_bit(storage::Path("/kv/checkpoints") / tokens->back() / "MANIFEST", 40, 1);
  };
  uint64_t first = 0;
  uint64_t last = 0;
  {
    FaultFileSystem disk(1);
    Generations generations;
    prepare(disk, generations);
    first = disk.operations();
    open_or_die(disk, fault_options());
    last = disk.operations();
  }
  ASSERT_GT(last, first);
  for (uint64_t operation = first; operation < last; ++operation) {
    for (const CrashPolicy policy : {CrashPolicy::kLoseUnsynced, CrashPolicy::kRandom}) {
      SCOPED_TRACE("operation " + std::to_string(operation));
      FaultFileSystem disk(operation + 7);
      Generations generations;
      prepare(disk, generations);
      disk.fail_at(operation, GetParam());
      (void)Store::open(disk, fault_options());
      disk.crash(policy);
      auto store = open_or_die(disk, fault_options());
      ASSERT_NE(store, nullptr);
      const Serial point = point_of(*store->recovered(), 1);
      EXPECT_EQ(point, 15u);
      ASSERT_EQ(contents(*store), generations.by_point.at(point));
      const Serial later = generations.run(*store, 1000, 1);
      store.reset();
      store = open_or_die(disk, fault_options());
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

/// A store with two checkpoints of a kind, each with an index, made anew for each damage, for an
/// opening that falls back changes what is there.
struct TwoCheckpoints {
  explicit TwoCheckpoints(CheckpointKind kind) {
    auto store = open_or_die(disk, options);
    auto session = session_or_die(*store, 1);
    Serial serial = 0;
    for (int generation = 0; generation < 2; ++generation) {
      for (int key = 0; key < 40; ++key) {
        if (generation == 1 && key % 2 == 0) continue;
        const std::string name = "key" + std::to_string(key);
        model[name] = std::to_string(++serial) + std::string(300, 'v');
        EXPECT_TRUE(session->upsert(as_bytes(name), as_bytes(model[name]), serial).has_value());
      }
      session->refresh(serial);
      auto info = checkpoint(*store, kind, true);
      EXPECT_TRUE(info.has_value());
      infos.push_back(*info);
      models.push_back(model);
    }
  }
  storage::Path path_of(size_t generation) const {
    const std::string digits = std::to_string(infos[generation].token);
    return storage::Path("/kv/checkpoints") / (std::string(20 - digits.size(), '0') + digits);
  }
  /// The log's file that holds the address, and where.
  std::pair<storage::Path, uint64_t> place_of(LogAddress address) const {
    const uint64_t first = address / options.segment_bytes * options.segment_bytes;
    for (const storage::Path& path : disk.files()) {
      if (path.extension() == ".log" && std::stoull(path.stem().string(), nullptr, 16) == first) {
        return {path, address - first};
      }
    }
    ADD_FAILURE() << "no file of the log has " << address;
    return {};
  }
  void expect_fallback(const std::string& named) {
    auto opened = Store::open(disk, options);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    ASSERT_EQ((*opened)->recovered()->token, infos[0].token) << "damage was not noticed";
    EXPECT_EQ(contents(**opened), models[0]);
    ASSERT_EQ((*opened)->recovery_notes().size(), 1u);
    const std::string note = (*opened)->recovery_notes()[0];
    EXPECT_NE(note.find(named), std::string::npos) << note;
    // What the note says of the MANIFEST is so.
    const std::string kept = (path_of(1) / "MANIFEST.damaged").string();
    EXPECT_NE(note.find("its MANIFEST is kept as " + kept), std::string::npos) << note;
    EXPECT_EQ(note.find("left as it is"), std::string::npos) << note;
    EXPECT_TRUE(disk.exists(kept).value());
    EXPECT_FALSE(disk.exists(path_of(1) / "MANIFEST").value());
    // And on: the next checkpoint is newer than the damaged one, which is never taken for good.
    {
      auto session = session_or_die(**opened, 1);
      const Serial serial = session->last_serial() + 1;
      ASSERT_TRUE(session->upsert(as_bytes("on"), as_bytes("and on"), serial).has_value());
      session->refresh(serial);
      const auto info = checkpoint(**opened);
      ASSERT_TRUE(info.has_value());
      EXPECT_GT(info->token, infos[1].token);
    }
    opened->reset();
    auto again = open_or_die(disk, options);
    Model expected = models[0];
    expected["on"] = "and on";
    EXPECT_EQ(contents(*again), expected);
    EXPECT_TRUE(again->recovery_notes().empty());
  }
  void expect_error(const std::string& named) {
    const auto before = disk.operations();
    auto opened = Store::open(disk, options);
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().code, ErrorCode::kCorruption);
    EXPECT_NE(opened.error().message.find(named), std::string::npos) << opened.error().message;
    EXPECT_NE(opened.error().message.find("offset"), std::string::npos) << opened.error().message;
    EXPECT_EQ(disk.operations(), before) << "nothing may be changed";
  }

  FaultFileSystem disk{1};
  StoreOptions options = fault_options();
  Model model;
  std::vector<CheckpointInfo> infos;
  std::vector<Model> models;
};

class Damaged : public ::testing::TestWithParam<CheckpointKind> {};

INSTANTIATE_TEST_SUITE_P(Kinds, Damaged,
                         ::testing::Values(CheckpointKind::kFoldOver, CheckpointKind::kSnapshot,
                                           CheckpointKind::kIncremental),
                         [](const auto& kind) {
                           return kind.param == CheckpointKind::kFoldOver   ? "FoldOver"
                                  : kind.param == CheckpointKind::kSnapshot ? "Snapshot"
                                                                            : "Incremental";
                         });

// Promise: a flipped bit anywhere in the newest checkpoint's own files is noticed, the one before
// serves and the notes name the file.
TEST_P(Damaged, AByteOfItsFilesFallsBack) {
  std::vector<std::pair<std::string, uint64_t>> files;
  {
    TwoCheckpoints two(GetParam());
    for (const std::string file : {"MANIFEST", "index", "snapshot"}) {
      if (!two.disk.exists(two.path_of(1) / file).value()) continue;
      files.emplace_back(file, two.disk.content(two.path_of(1) / file).size());
    }
  }
  ASSERT_EQ(files.size(), GetParam() == CheckpointKind::kFoldOver ? 2u : 3u);
  Random random(1);
  for (const auto& [file, bytes] : files) {
    std::vector<uint64_t> places;
    for (uint64_t byte = 0; byte < std::min<uint64_t>(bytes, 70); ++byte)
      places.push_back(byte);
    for (int times = 0; times < 40; ++times)
      places.push_back(random.below(bytes));
    places.push_back(bytes - 1);
    for (const uint64_t byte : places) {
      SCOPED_TRACE(file + ", byte " + std::to_string(byte));
      TwoCheckpoints two(GetParam());
      two.disk.flip_bit(two.path_of(1) / file, byte, static_cast<int>(random.below(8)));
      two.expect_fallback((two.path_of(1) / file).string());
      if (HasFailure()) return;
    }
  }
}

// Promise: so is a file that is missing or cut off.
TEST_P(Damaged, AMissingFileFallsBack) {
  for (const std::string file : {"index", "snapshot"}) {
    for (const bool missing : {true, false}) {
      TwoCheckpoints two(GetParam());
      const storage::Path path = two.path_of(1) / file;
      if (!two.disk.exists(path).value()) continue;
      SCOPED_TRACE(path.string());
      if (missing) {
        ASSERT_TRUE(two.disk.remove(path).has_value());
      } else {
        auto opened = std::move(*two.disk.open(path, {storage::OpenMode::kReadWrite, false}));
        ASSERT_TRUE(opened->truncate(4096).has_value());
      }
      two.expect_fallback(path.string());
    }
  }
}

// Promise: damage in the part of the log that only the newest checkpoint has falls back; in the
// part that both need it is an error that names file and offset, and nothing is changed.
TEST_P(Damaged, AByteOfTheLog) {
  Random random(2);
  for (int times = 0; times < 60; ++times) {
    TwoCheckpoints two(GetParam());
    const bool only_newest = times % 2 == 0;
    if (GetParam() != CheckpointKind::kFoldOver) return;  // all is in the snapshots
    const LogAddress from = only_newest ? two.infos[0].end : two.infos[0].begin;
    const LogAddress to = only_newest ? two.infos[1].end : two.infos[0].end;
    const LogAddress address = from + random.below(to - from);
    SCOPED_TRACE("address " + std::to_string(address));
    const auto [path, offset] = two.place_of(address);
    two.disk.flip_bit(path, offset, static_cast<int>(random.below(8)));
    const std::string named = path.string() + ", offset " + std::to_string(offset / 4096 * 4096);
    if (only_newest) {
      two.expect_fallback(named);
    } else {
      two.expect_error(named);
    }
    if (HasFailure()) return;
  }
}

// Promise: when every checkpoint is damaged nothing is guessed and nothing changed.
TEST_P(Damaged, NoneIntactIsAnErrorThatNamesThem) {
  TwoCheckpoints two(GetParam());
  for (const size_t generation : {0u, 1u})
    two.disk.flip_bit(two.path_of(generation) / "index", 5000, 3);
  two.expect_error("00000000000000000001/index, offset 0");
  two.expect_error("00000000000000000002/index, offset 0");
}

// Promise: an error of the disk is no damage: it may pass, so nothing older takes the place.
TEST_P(Damaged, ADiskThatCannotReadIsAnError) {
  TwoCheckpoints two(GetParam());
  two.disk.fail_at(two.disk.operations(), FaultKind::kPowerCut);
  (void)two.disk.remove("/kv/nothing");
  auto opened = Store::open(two.disk, two.options);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kIo);
  two.disk.crash(CrashPolicy::kLoseUnsynced);
  auto store = open_or_die(two.disk, two.options);
  EXPECT_EQ(contents(*store), two.models[1]);
}

// Promise: validate_checkpoint() finds what opening would, without opening.
TEST_P(Damaged, ValidationFindsIt) {
  for (const std::string file : {"MANIFEST", "index", "snapshot", "log"}) {
    TwoCheckpoints two(GetParam());
    auto store = open_or_die(two.disk, two.options);
    const uint64_t token = two.infos[1].token;
    ASSERT_TRUE(store->validate_checkpoint(token).has_value());
    storage::Path path = two.path_of(1) / file;
    uint64_t byte = 100;
    if (file == "log") {
      if (GetParam() != CheckpointKind::kFoldOver) continue;
      std::tie(path, byte) = two.place_of(two.infos[0].begin + 100);
    }
    if (!two.disk.exists(path).value()) continue;
    two.disk.flip_bit(path, byte, 3);
    const auto validated = store->validate_checkpoint(token);
    ASSERT_FALSE(validated.has_value()) << file;
    EXPECT_EQ(validated.error().code, ErrorCode::kCorruption);
    EXPECT_NE(validated.error().message.find(path.string()), std::string::npos)
        << validated.error().message;
  }
  TwoCheckpoints two(GetParam());
  auto store = open_or_die(two.disk, two.options);
  EXPECT_EQ(store->validate_checkpoint(77).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace tailrace::kv
