// A store of format version 2 as it once was written (tests/golden/fasterkv-v2): it has to open for
// as long as this version is read. Never made anew; a newer version gets its own folder.
//
// Checkpoint 1 is a fold-over with an index image, 2 a snapshot taken while one session was ahead
// and the other in the middle of a serial, 3 an incremental one on top of 2, with the image of 1.

#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/kv/kv_support.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(TAILRACE_GOLDEN_DIR) / "fasterkv-v2";

class GoldenStore : public ::testing::Test {
 protected:
  GoldenStore() {
    options.directory = root.path() / "store";
    options.owner = "golden";
    options.page_bytes = 32u << 10;
    options.segment_bytes = 64u << 10;
    options.memory_bytes = 4u * (32u << 10);
    options.index_buckets = 4;
    options.checkpoints_kept = 3;
    options.huge_pages = false;
    options.compaction.automatic = false;
    std::filesystem::copy(kGolden, options.directory, std::filesystem::copy_options::recursive);
  }
  std::map<std::string, std::string> bytes() const {
    std::map<std::string, std::string> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(options.directory)) {
      if (!entry.is_regular_file() || entry.path().filename() == "LOCK") continue;
      std::ifstream file(entry.path(), std::ios::binary);
      all[entry.path().string()] = {std::istreambuf_iterator<char>(file), {}};
    }
    return all;
  }
  static Model first() {
    Model model;
    for (int key = 1; key <= 40; ++key)
      model["key " + std::to_string(key)] = "value " + std::to_string(key);
    model.erase("key 7");
    model[std::string(300, 'k')] = std::string("binary\0\xff", 8);
    model[""] = "";
    return model;
  }
  static Model second() {
    Model model = first();
    model["key 1"] = "second";
    model["key 2"] = "second";
    model["key 3"] = "beneath";
    return model;
  }
  static Model third() {
    Model model = second();
    model["key 3"] = "again";
    model["key 4"] = "next version";
    return model;
  }
  void expect(std::optional<uint64_t> token, const Model& model, CheckpointKind kind,
              uint64_t version, const std::vector<SessionPoint>& points) {
    options.recover_token = token;
    const auto store = open_or_die(storage::posix_file_system(), options);
    ASSERT_NE(store, nullptr);
    EXPECT_TRUE(store->recovery_notes().empty());
    EXPECT_EQ(contents(*store), model);
    EXPECT_EQ(store->live_records(), model.size());
    const CheckpointInfo& info = *store->recovered();
    EXPECT_EQ(info.kind, kind);
    EXPECT_EQ(info.version, version);
    EXPECT_EQ(info.points, points);
    EXPECT_EQ(info.unix_time_ns, 1'700'000'000'000'000'000u);
    EXPECT_EQ(info.user_metadata, "metadata " + std::to_string(version));
    EXPECT_EQ(info.live_records, model.size());
    const auto valid = store->validate_checkpoint(info.token);
    EXPECT_TRUE(valid.has_value()) << valid.error().message;
  }

  testing::TemporaryDirectory root;
  StoreOptions options;
};

TEST_F(GoldenStore, EveryCheckpointOfVersion2Opens) {
  expect(std::nullopt, third(), CheckpointKind::kIncremental, 3, {{1, 54}, {2, 5}});
  expect(3, third(), CheckpointKind::kIncremental, 3, {{1, 54}, {2, 5}});
  expect(2, second(), CheckpointKind::kSnapshot, 2, {{1, 51}, {2, 5}});
  expect(1, first(), CheckpointKind::kFoldOver, 1, {{1, 50}, {2, 0}});
}

// How the files were made; into TAILRACE_GOLDEN_OUT.
TEST_F(GoldenStore, DISABLED_Write) {
  ASSERT_NE(std::getenv("TAILRACE_GOLDEN_OUT"), nullptr);
  options.directory = std::getenv("TAILRACE_GOLDEN_OUT");
  struct FixedClock : Clock {
    SteadyTime now() const override { return system_clock().now(); }
    uint64_t unix_time_ns() const override { return 1'700'000'000'000'000'000u; }
  };
  const FixedClock clock;
  auto opened = Store::open(storage::posix_file_system(), options, clock);
  ASSERT_TRUE(opened) << opened.error().message;
  auto store = std::move(*opened);
  auto one = session_or_die(*store, 1);
  auto two = session_or_die(*store, 2);
  const auto metadata = [](const CheckpointInfo& info) -> Result<std::string> {
    return "metadata " + std::to_string(info.version);
  };
  const auto put = [](Session& session, const char* key, const char* value, Serial serial) {
    ASSERT_TRUE(session.upsert(as_bytes(key), as_bytes(value), serial));
  };
  put(*one, "key 7", "to be erased", 1);
  Serial serial = 1;
  for (const auto& [key, value] : first())
    ASSERT_TRUE(one->upsert(as_bytes(key), as_bytes(value), ++serial));
  ASSERT_TRUE(one->erase(as_bytes("key 7"), ++serial).value());
  one->refresh(50);
  two->refresh(0);
  ASSERT_TRUE(begin_checkpoint(*store, metadata).get());

  put(*one, "key 1", "second", 51);
  one->refresh(51);
  put(*two, "key 2", "second", 5);  // and is in the middle of the serial
  auto snapshot = begin_checkpoint(*store, metadata, CheckpointKind::kSnapshot, false);
  while (store->checkpoint_progress().phase != CheckpointPhase::kWaitPending)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  put(*one, "key 4", "next version", 52);
  put(*one, "key 3", "ahead", 53);
  put(*two, "key 3", "beneath", 5);
  two->refresh(5);
  ASSERT_TRUE(snapshot.get());

  put(*one, "key 3", "again", 54);
  one->refresh(54);
  ASSERT_TRUE(begin_checkpoint(*store, metadata, CheckpointKind::kIncremental, false).get());
}

// Promise: opening alone changes no byte of what was there.
TEST_F(GoldenStore, OpeningChangesNothing) {
  const auto before = bytes();
  open_or_die(storage::posix_file_system(), options);
  const auto after = bytes();
  for (const auto& [name, content] : before) {
    ASSERT_TRUE(after.contains(name)) << name;
    // The log may have been given more disk space.
    EXPECT_EQ(after.at(name).substr(0, content.size()), content) << name;
  }
}

// Promise: and it goes on from there.
TEST_F(GoldenStore, GoesOn) {
  Model model = third();
  for (const CheckpointKind kind : {CheckpointKind::kIncremental, CheckpointKind::kFoldOver}) {
    auto store = open_or_die(storage::posix_file_system(), options);
    ASSERT_EQ(contents(*store), model);
    auto session = session_or_die(*store, 1);
    const Serial serial = session->last_serial() + 1;
    for (const char* key : {"key 3", "key 5", "new"}) {
      model[key] = "value " + std::to_string(serial);
      ASSERT_TRUE(session->upsert(as_bytes(key), as_bytes(model[key]), serial).has_value());
    }
    session->refresh(serial);
    ASSERT_TRUE(checkpoint(*store, kind).has_value());
  }
  auto store = open_or_die(storage::posix_file_system(), options);
  EXPECT_EQ(contents(*store), model);
}

}  // namespace
}  // namespace tailrace::kv
