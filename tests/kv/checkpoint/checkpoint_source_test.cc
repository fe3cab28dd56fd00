// Copies of checkpoints: taken from a store at work, checked, opened elsewhere.

#include "kv/checkpoint_source.h"

#include <atomic>
#include <optional>
#include <thread>

#include "core/random.h"
#include "kv/checkpoint/files.h"
#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

constexpr SessionId kWriter = 7;
constexpr std::string_view kSourceOwner = "cluster c, node 1";
constexpr std::string_view kCopyOwner = "cluster c, node 2";

StoreOptions source_options(bool larger_than_memory) {
  StoreOptions options = larger_than_memory ? tiny_options("/kv") : small_options("/kv");
  options.compaction.automatic = false;
  options.recovery_threads = 1;
  return options;
}

StoreOptions options_of_copy(StoreOptions options, const storage::Path& directory = "/copy") {
  options.directory = directory;
  options.owner = kCopyOwner;
  return options;
}

/// What serial n writes: the same whenever it is asked for.
struct Step {
  std::string key;
  std::string value;
  bool erase = false;
};
Step step_of(Serial serial) {
  Random random(serial * 7919);
  Step step;
  step.key = "key " + std::to_string(random.below(700));
  step.erase = random.below(9) == 0;
  step.value = std::to_string(serial) + std::string(random.below(900), 'v');
  return step;
}
Model model_of(Serial point) {
  Model model;
  for (Serial serial = 1; serial <= point; ++serial) {
    Step step = step_of(serial);
    if (step.erase) {
      model.erase(step.key);
    } else {
      model[step.key] = std::move(step.value);
    }
  }
  return model;
}
void write_one(Session& session) {
  const Serial serial = session.last_serial() + 1;
  const Step step = step_of(serial);
  const auto written = step.erase
                           ? session.erase(as_bytes(step.key), serial).map([](bool) {})
                           : session.upsert(as_bytes(step.key), as_bytes(step.value), serial);
  ASSERT_TRUE(written.has_value()) << written.error().message;
  session.refresh(serial);
}
void write(Session& session, int count) {
  while (count-- > 0)
    write_one(session);
}

std::unique_ptr<CheckpointSource> source_or_die(Store& store, std::optional<uint64_t> token = {}) {
  auto source = store.open_checkpoint_source(token);
  EXPECT_TRUE(source.has_value()) << source.error().message;
  return source ? std::move(*source) : nullptr;
}

/// In pieces of any length, from any offset.
std::vector<std::byte> all_bytes(const CheckpointSource& source, uint64_t seed,
                                 const std::function<void()>& between = nullptr) {
  Random random(seed);
  std::vector<std::byte> bytes(source.bytes());
  for (uint64_t at = 0; at < bytes.size();) {
    const uint64_t most = random.below(2) == 0 ? 5000 : 100'000;
    const uint64_t piece = std::min<uint64_t>(bytes.size() - at, 1 + random.below(most));
    const auto read = source.read(at, MutableByteSpan(bytes).subspan(at, piece));
    EXPECT_TRUE(read.has_value()) << read.error().message;
    at += piece;
    if (between) between();
  }
  return bytes;
}

void put_files(storage::FileSystem& disk, const storage::Path& directory,
               const std::vector<CheckpointSource::File>& files, ByteSpan bytes) {
  for (const CheckpointSource::File& file : files) {
    const storage::Path path = directory / file.name;
    ASSERT_TRUE(disk.make_directory(path.parent_path()).has_value());
    const auto opened = disk.open(path, {.mode = storage::OpenMode::kCreateReadWrite});
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    ASSERT_TRUE((*opened)->write_at(0, bytes.first(file.bytes)).has_value());
    ASSERT_TRUE((*opened)->sync().has_value());
    ASSERT_TRUE(disk.sync_directory(path.parent_path()).has_value());
    bytes = bytes.subspan(file.bytes);
  }
  ASSERT_TRUE(bytes.empty());
}

/// A whole copy that is checked and belongs to options.owner.
void copy(storage::FileSystem& disk, const CheckpointSource& source, const StoreOptions& options,
          std::string_view from = kSourceOwner) {
  for (const CheckpointSource::File& file : source.files()) {
    // The store that goes on in the middle of a page counts on that page's disk space.
    const bool is_log = file.name.starts_with("log/");
    EXPECT_EQ(is_log ? file.bytes % options.page_bytes : 0, 0) << file.name;
  }
  put_files(disk, options.directory, source.files(), all_bytes(source, 1));
  const auto adopted = adopt_checkpoint_copy(disk, options, from);
  ASSERT_TRUE(adopted.has_value()) << adopted.error().message;
  const auto checked = check_checkpoint_copy(disk, options);
  ASSERT_TRUE(checked.has_value()) << checked.error().message;
  EXPECT_EQ(checked->token, source.info().token);
  EXPECT_EQ(checked->points, source.info().points);
}

std::vector<storage::Path> files_below(const testing::FaultFileSystem& disk,
                                       const storage::Path& directory) {
  std::vector<storage::Path> found;
  for (const storage::Path& path : disk.files()) {
    if (path.string().starts_with(directory.string() + "/")) found.push_back(path);
  }
  return found;
}

struct Setting {
  CheckpointKind kind;
  bool larger_than_memory;
};

class Copies : public ::testing::TestWithParam<Setting> {
 protected:
  /// Checkpoints of the kind over a log whose beginning compaction has moved into a segment.
  void make_history(Store& store, Session& session) {
    write(session, 1500);
    ASSERT_TRUE(checkpoint(store, GetParam().kind).has_value());
    write(session, 700);
    ASSERT_TRUE(checkpoint(store, CheckpointKind::kFoldOver, false).has_value());
    const HybridLogExtent extent = store.log_extent();
    const auto begin = store.compact(extent.begin + (extent.read_only - extent.begin) / 3);
    ASSERT_TRUE(begin.has_value()) << begin.error().message;
    for (int times = 0; times < 3; ++times) {
      write(session, 40);
      ASSERT_TRUE(checkpoint(store, GetParam().kind, times == 1).has_value());
    }
  }
  using HybridLogExtent = Store::LogExtent;
};

INSTANTIATE_TEST_SUITE_P(Kinds, Copies,
                         ::testing::Values(Setting{CheckpointKind::kFoldOver, false},
                                           Setting{CheckpointKind::kFoldOver, true},
                                           Setting{CheckpointKind::kSnapshot, false},
                                           Setting{CheckpointKind::kSnapshot, true},
                                           Setting{CheckpointKind::kIncremental, false},
                                           Setting{CheckpointKind::kIncremental, true}),
                         [](const auto& setting) {
                           std::string name(name_of(setting.param.kind));
                           std::erase(name, '-');
                           return name + (setting.param.larger_than_memory ? "OnDisk" : "InMemory");
                         });

// Promise: the store that is opened on a copy holds exactly the checkpoint's state and goes on as
// any other: writers, checkpoints, compaction, another opening, and copies of its own.
TEST_P(Copies, OpenAsTheCheckpointsState) {
  const StoreOptions options = source_options(GetParam().larger_than_memory);
  const StoreOptions theirs = options_of_copy(options);
  testing::FaultFileSystem disk(1);
  Serial point = 0;
  {
    auto store = open_or_die(disk, options);
    auto session = session_or_die(*store, kWriter);
    make_history(*store, *session);
    point = session->last_serial();
    write(*session, 300);
    auto source = source_or_die(*store);
    ASSERT_NE(source, nullptr);
    ASSERT_EQ(point_of(source->info(), kWriter), point);
    copy(disk, *source, theirs);
  }
  auto store = open_or_die(disk, theirs);
  ASSERT_NE(store, nullptr);
  EXPECT_TRUE(store->recovery_notes().empty());
  ASSERT_TRUE(contents(*store) == model_of(point));
  auto session = session_or_die(*store, kWriter);
  ASSERT_EQ(session->last_serial(), point);
  write(*session, 900);
  ASSERT_TRUE(checkpoint(*store, GetParam().kind).has_value());
  const auto compacted = store->compact(store->log_extent().read_only);
  ASSERT_TRUE(compacted.has_value()) << compacted.error().message;
  write(*session, 200);
  ASSERT_TRUE(checkpoint(*store, GetParam().kind).has_value());
  point = session->last_serial();
  session.reset();
  store.reset();
  disk.crash(testing::CrashPolicy::kLoseUnsynced);

  store = open_or_die(disk, theirs);
  ASSERT_NE(store, nullptr);
  EXPECT_TRUE(store->recovery_notes().empty());
  ASSERT_TRUE(contents(*store) == model_of(point));
  const StoreOptions again = options_of_copy(options, "/copy of copy");
  copy(disk, *source_or_die(*store), again);
  store.reset();
  store = open_or_die(disk, again);
  ASSERT_NE(store, nullptr);
  EXPECT_TRUE(contents(*store) == model_of(point));
}

// Promise: a copy may go on where it stopped. For one token the bytes are the same, and so is the
// fingerprint: while the log grows into the checkpoint's last page, after later checkpoints, after
// compaction, and after the store was opened again.
TEST_P(Copies, AreTheSameEachTime) {
  StoreOptions options = source_options(GetParam().larger_than_memory);
  options.checkpoints_kept = 20;
  testing::FaultFileSystem disk(2);
  auto store = open_or_die(disk, options);
  auto session = session_or_die(*store, kWriter);
  make_history(*store, *session);
  std::map<uint64_t, std::pair<uint64_t, std::vector<std::byte>>> first;
  const auto checkpoints = store->checkpoints();
  ASSERT_TRUE(checkpoints.has_value());
  for (const CheckpointInfo& info : *checkpoints) {
    const auto source = source_or_die(*store, info.token);
    first[info.token] = {source->fingerprint(), all_bytes(*source, info.token)};
  }
  for (int round = 0; round < 4; ++round) {
    write(*session, 200);
    ASSERT_TRUE(checkpoint(*store, round % 2 == 0 ? CheckpointKind::kFoldOver : GetParam().kind)
                    .has_value());
    ASSERT_TRUE(store->compact(store->log_extent().read_only).has_value());
    for (const auto& [token, was] : first) {
      const auto source = source_or_die(*store, token);
      EXPECT_EQ(source->fingerprint(), was.first) << "round " << round << ", token " << token;
      EXPECT_TRUE(all_bytes(*source, static_cast<uint64_t>(round)) == was.second)
          << "round " << round << ", token " << token;
    }
    session.reset();
    store.reset();
    store = open_or_die(disk, options);
    session = session_or_die(*store, kWriter);
  }
}

// Promise: beside a writer, compaction, growing logs and checkpoints of which only one is to be
// kept, what a source gives is whole, and its files go only after its end.
TEST_P(Copies, AreWholeBesideAWorkingStore) {
  StoreOptions options = source_options(GetParam().larger_than_memory);
  options.checkpoints_kept = 1;
  const StoreOptions theirs = options_of_copy(options);
  testing::FaultFileSystem disk(3);
  auto store = open_or_die(disk, options);
  {
    auto session = session_or_die(*store, kWriter);
    make_history(*store, *session);
  }
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    auto session = session_or_die(*store, kWriter);
    while (!stop) {
      write_one(*session);
      if (session->last_serial() % 8 == 0)
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  std::atomic<int> rounds{0};
  std::thread keeper([&] {
    while (!stop) {
      const auto info = checkpoint(*store, GetParam().kind);
      EXPECT_TRUE(info.has_value()) << info.error().message;
      const auto begin = store->compact(store->log_extent().read_only);
      EXPECT_TRUE(begin.has_value()) << begin.error().message;
      ++rounds;
    }
  });
  const auto wait_rounds = [&](int count) {
    for (const int until = rounds + count; rounds < until;)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  wait_rounds(2);
  auto source = source_or_die(*store);
  const CheckpointInfo info = source->info();
  const std::vector<CheckpointSource::File> files = source->files();
  wait_rounds(3);
  uint64_t pieces = 0;
  const std::vector<std::byte> bytes = all_bytes(*source, 5, [&] {
    if (++pieces % 40 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  wait_rounds(2);
  for (const CheckpointSource::File& file : files) {
    const auto there = disk.exists(options.directory / file.name);
    EXPECT_TRUE(there && *there) << file.name;
  }
  stop = true;
  writer.join();
  keeper.join();
  EXPECT_TRUE(all_bytes(*source, 6) == bytes);
  source.reset();
  ASSERT_TRUE(checkpoint(*store).has_value());  // fold-over: it needs no older snapshot
  const auto manifest = disk.exists(options.directory / files.back().name);
  EXPECT_TRUE(manifest && !*manifest) << "what nobody reads any more is removed";
  const auto gone = store->open_checkpoint_source(info.token);
  ASSERT_FALSE(gone.has_value());
  EXPECT_EQ(gone.error().code, ErrorCode::kNotFound);
  store.reset();

  put_files(disk, theirs.directory, files, bytes);
  ASSERT_TRUE(adopt_checkpoint_copy(disk, theirs, kSourceOwner).has_value());
  const auto checked = check_checkpoint_copy(disk, theirs);
  ASSERT_TRUE(checked.has_value()) << checked.error().message;
  store = open_or_die(disk, theirs);
  ASSERT_NE(store, nullptr);
  EXPECT_TRUE(contents(*store) == model_of(point_of(info, kWriter)));
}

// Promise: one bit that is not as it was at the source is found, in every file and wherever it is;
// also where the log has nothing of the checkpoint. So is a file that is missing, or too short.
TEST_P(Copies, DamageIsFound) {
  const StoreOptions options = source_options(GetParam().larger_than_memory);
  const StoreOptions theirs = options_of_copy(options);
  for_seeds(2, [&](uint64_t seed) {
    testing::FaultFileSystem disk(seed);
    auto store = open_or_die(disk, options);
    {
      auto session = session_or_die(*store, kWriter);
      make_history(*store, *session);
    }
    copy(disk, *source_or_die(*store), theirs);
    store.reset();
    Random random(seed);
    for (const storage::Path& path : files_below(disk, theirs.directory)) {
      const std::vector<std::byte> was = disk.content(path);
      for (int times = 0; times < 12; ++times) {
        // Half of them among the first blocks, where headers are.
        const uint64_t byte =
            random.below(times % 2 == 0 ? was.size() : std::min<uint64_t>(was.size(), 8192));
        const int bit = static_cast<int>(random.below(8));
        disk.flip_bit(path, byte, bit);
        EXPECT_FALSE(check_checkpoint_copy(disk, theirs).has_value())
            << path << ", byte " << byte << ", bit " << bit;
        disk.flip_bit(path, byte, bit);
      }
      auto file = disk.open(path, {.mode = storage::OpenMode::kReadWrite});
      ASSERT_TRUE((*file)->truncate(was.size() - 1).has_value());
      EXPECT_FALSE(check_checkpoint_copy(disk, theirs).has_value()) << path << " is short";
      ASSERT_TRUE((*file)->write_at(0, was).has_value());
      const storage::Path away = "/away";
      ASSERT_TRUE(disk.rename(path, away).has_value());
      const auto missing = check_checkpoint_copy(disk, theirs);
      ASSERT_FALSE(missing.has_value()) << path << " is missing";
      EXPECT_EQ(missing.error().code,
                path.filename() == "MANIFEST" ? ErrorCode::kNotFound : ErrorCode::kCorruption);
      ASSERT_TRUE(disk.rename(away, path).has_value());
    }
    EXPECT_TRUE(check_checkpoint_copy(disk, theirs).has_value());
  });
}

// Promise: the check changes nothing, and refuses with its reason what opening would refuse: other
// sizes, another owner, more than a copy. A copy of somebody else's is not adopted.
TEST(CopyCheck, RefusesWhatIsNoCopyForThisStore) {
  const StoreOptions options = source_options(true);
  const StoreOptions theirs = options_of_copy(options);
  testing::FaultFileSystem disk(4);
  const auto nothing = check_checkpoint_copy(disk, theirs);
  ASSERT_FALSE(nothing.has_value());
  EXPECT_EQ(nothing.error().code, ErrorCode::kNotFound);
  auto store = open_or_die(disk, options);
  {
    auto session = session_or_die(*store, kWriter);
    write(*session, 1000);
  }
  ASSERT_TRUE(checkpoint(*store).has_value());
  const auto source = source_or_die(*store);
  put_files(disk, theirs.directory, source->files(), all_bytes(*source, 1));
  const uint64_t operations = disk.operations();
  const auto refused = [&](const StoreOptions& with, std::string_view reason) {
    const auto checked = check_checkpoint_copy(disk, with);
    ASSERT_FALSE(checked.has_value()) << reason;
    EXPECT_EQ(checked.error().code, ErrorCode::kFailedPrecondition);
    EXPECT_NE(checked.error().message.find(reason), std::string::npos) << checked.error().message;
  };
  refused(theirs, "belongs to 'cluster c, node 1', not to 'cluster c, node 2'");
  const auto stranger = adopt_checkpoint_copy(disk, theirs, "cluster d, node 1");
  ASSERT_FALSE(stranger.has_value());
  EXPECT_EQ(stranger.error().code, ErrorCode::kFailedPrecondition);
  StoreOptions other = theirs;
  other.owner = kSourceOwner;
  EXPECT_TRUE(check_checkpoint_copy(disk, other).has_value());
  other.page_bytes *= 2;
  refused(other, "was written with page_bytes = 32768");
  other.page_bytes = theirs.page_bytes;
  other.segment_bytes *= 2;
  refused(other, "segment_bytes = 131072, not 32768 and 262144");
  EXPECT_EQ(disk.operations(), operations) << "nothing was written";

  ASSERT_TRUE(adopt_checkpoint_copy(disk, theirs, kSourceOwner).has_value());
  ASSERT_TRUE(adopt_checkpoint_copy(disk, theirs, kSourceOwner).has_value()) << "said twice";
  ASSERT_TRUE(check_checkpoint_copy(disk, theirs).has_value());
  ASSERT_TRUE(disk.make_directory("/copy/checkpoints/00000000000000000099").has_value());
  refused(theirs, "00000000000000000099 does not belong to it");
}

// Promise: a source is of a published state that is still there, and gives no byte beyond its end.
TEST(CopySource, IsOfAStateThatIsThere) {
  testing::FaultFileSystem disk(5);
  auto store = open_or_die(disk, source_options(true));
  const auto not_found = [&](std::optional<uint64_t> token) {
    const auto source = store->open_checkpoint_source(token);
    ASSERT_FALSE(source.has_value());
    EXPECT_EQ(source.error().code, ErrorCode::kNotFound) << source.error().message;
  };
  not_found({});
  const auto image = checkpoint(*store, CheckpointKind::kIndexOnly);
  ASSERT_TRUE(image.has_value());
  not_found({});
  not_found(image->token);
  const auto state = checkpoint(*store);
  ASSERT_TRUE(state.has_value());
  not_found(state->token + 1);
  ASSERT_TRUE(checkpoint(*store, CheckpointKind::kIndexOnly).has_value());
  const auto source = source_or_die(*store);
  EXPECT_EQ(source->info().token, state->token) << "an index image is no state";
  EXPECT_TRUE(source->files().back().name.ends_with("/MANIFEST"));
  std::byte byte{};
  EXPECT_TRUE(source->read(source->bytes() - 1, {&byte, 1}).has_value());
  EXPECT_TRUE(source->read(source->bytes(), {}).has_value());
  const auto beyond = source->read(source->bytes(), {&byte, 1});
  ASSERT_FALSE(beyond.has_value());
  EXPECT_EQ(beyond.error().code, ErrorCode::kInvalidArgument);
}

// Promise: a checkpoint whose log begins in the middle of a page, all of it in the snapshot, can be
// copied; the copy writes that page.
TEST(CopySource, HasNothingOfTheLogOnDisk) {
  const StoreOptions options = source_options(false);
  const StoreOptions theirs = options_of_copy(options);
  testing::FaultFileSystem disk(6);
  auto store = open_or_die(disk, options);
  auto session = session_or_die(*store, kWriter);
  write(*session, 300);
  ASSERT_TRUE(checkpoint(*store).has_value());
  const auto begin = store->compact(store->log_extent().read_only);
  ASSERT_TRUE(begin.has_value()) << begin.error().message;
  const auto info = checkpoint(*store, CheckpointKind::kSnapshot);
  ASSERT_TRUE(info.has_value());
  const auto manifest = CheckpointDirectory(disk, options.directory).manifest(info->token);
  ASSERT_TRUE(manifest.has_value());
  ASSERT_EQ(manifest->flushed, info->begin) << "what this test is about";
  ASSERT_NE(info->begin % options.page_bytes, 0);
  Serial point = session->last_serial();
  copy(disk, *source_or_die(*store), theirs);
  session.reset();
  store.reset();

  for (int life = 0; life < 2; ++life) {
    store = open_or_die(disk, theirs);
    ASSERT_NE(store, nullptr);
    ASSERT_TRUE(contents(*store) == model_of(point));
    session = session_or_die(*store, kWriter);
    write(*session, 300);
    point = session->last_serial();
    ASSERT_TRUE(checkpoint(*store).has_value());
    session.reset();
    store.reset();
  }
}

// Promise: the same with the operating system's files, which are read past the page cache.
TEST_P(Copies, OfRealFiles) {
  const testing::TemporaryDirectory directory;
  storage::FileSystem& disk = storage::posix_file_system();
  StoreOptions options = source_options(GetParam().larger_than_memory);
  options.directory = directory.path() / "source";
  const StoreOptions theirs = options_of_copy(options, directory.path() / "copy");
  auto store = open_or_die(disk, options);
  auto session = session_or_die(*store, kWriter);
  make_history(*store, *session);
  const Serial point = session->last_serial();
  copy(disk, *source_or_die(*store), theirs);
  const auto copied = open_or_die(disk, theirs);
  ASSERT_NE(copied, nullptr);
  EXPECT_TRUE(contents(*copied) == model_of(point));
}

}  // namespace
}  // namespace tailrace::kv
