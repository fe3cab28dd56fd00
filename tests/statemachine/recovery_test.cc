// Which checkpoint a node starts from, and when it must refuse to start.

#include <gtest/gtest.h>

#include "harness.h"
#include "statemachine/applier.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::statemachine {
namespace {

using testing::CrashPolicy;

class Recovery : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Node>> open() { return Node::open(disk_, options_); }
  /// Commands enough for several segments.
  void fill(Node& node, int round) {
    for (int i = 0; i < 25; ++i) {
      const OwnedCommand command =
          put("k" + std::to_string(i), std::string(8000, static_cast<char>('a' + round)));
      ASSERT_TRUE(node.run(command));
      model_.apply(command);
      const OwnedCommand counted = in_session(7, ++serial_, add("count", 1));
      ASSERT_EQ(node.answer(counted), model_.apply(counted));
    }
  }
  /// Two checkpoints and something after them.
  void two_checkpoints() {
    auto node = open();
    ASSERT_TRUE(node) << node.error().message;
    for (Address& point : points_) {
      fill(**node, point == points_[0] ? 0 : 1);
      const auto taken = (*node)->checkpoint();
      ASSERT_TRUE(taken) << taken.error().message;
      point = *taken;
    }
    fill(**node, 2);
    node->reset();
    disk_.crash(CrashPolicy::kLoseUnsynced);
  }
  /// Paths of that file of each checkpoint, oldest first.
  std::vector<storage::Path> checkpoint_files(const char* name) {
    std::vector<storage::Path> found;
    for (const storage::Path& path : disk_.files())
      if (path.filename() == name) found.push_back(path);
    return found;
  }
  void damage(const storage::Path& path) {
    disk_.flip_bit(path, disk_.content(path).size() / 2, 3);
  }

  testing::FaultFileSystem disk_{1};
  Node::Options options_;
  Model model_;
  uint64_t serial_ = 0;
  Address points_[2];
};

TEST_F(Recovery, StartsAtTheNewestCheckpoint) {
  two_checkpoints();
  auto node = open();
  ASSERT_TRUE(node) << node.error().message;
  EXPECT_EQ((*node)->machine().checkpoint_status().last_address, points_[1]);
  ASSERT_TRUE((*node)->settle());
  EXPECT_EQ((*node)->replica().pairs(), model_.pairs());
}

class DamagedNewest : public Recovery, public ::testing::WithParamInterface<const char*> {};

TEST_P(DamagedNewest, FallsBackToTheOneBeforeWhereTheLogReachesBack) {
  options_.machine.retention_bytes = 1u << 30;
  two_checkpoints();
  damage(checkpoint_files(GetParam()).at(1));
  auto node = open();
  ASSERT_TRUE(node) << node.error().message;
  EXPECT_EQ((*node)->machine().checkpoint_status().last_address, points_[0]);
  ASSERT_TRUE((*node)->settle());
  EXPECT_EQ((*node)->replica().pairs(), model_.pairs());
  // Exactly once too, across what was applied a second time.
  EXPECT_EQ((*node)->answer(in_session(7, 1, add("count", 1))).value, "1");
  fill(**node, 3);
  // And the next checkpoint makes the damage a thing of the past.
  const auto taken = (*node)->checkpoint();
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_GT(*taken, points_[1]);
  node->reset();
  node = open();
  ASSERT_TRUE(node) << node.error().message;
  EXPECT_EQ((*node)->machine().checkpoint_status().last_address, *taken);
  ASSERT_TRUE((*node)->settle());
  EXPECT_EQ((*node)->replica().pairs(), model_.pairs());
}

TEST_P(DamagedNewest, IsAClearErrorWhereTheLogBeginsLater) {
  two_checkpoints();
  const storage::Path damaged = checkpoint_files(GetParam()).at(1);
  damage(damaged);
  for (int attempt = 0; attempt < 2; ++attempt) {  // refusing changes nothing
    const auto node = open();
    ASSERT_FALSE(node);
    EXPECT_EQ(node.error().code, ErrorCode::kCorruption);
    EXPECT_NE(node.error().message.find("the log begins at"), std::string::npos);
    EXPECT_NE(node.error().message.find(std::to_string(points_[0].value)), std::string::npos);
    // Its file at first; then it has been set aside, and its directory is named.
    const std::string place = attempt == 0 ? damaged.string() : damaged.parent_path().string();
    EXPECT_NE(node.error().message.find(place), std::string::npos)
        << "it does not say why the newest is not used: " << node.error().message;
  }
}

TEST_P(DamagedNewest, WithoutAnIntactOneTheNodeDoesNotStartEmpty) {
  options_.machine.retention_bytes = 1u << 30;
  two_checkpoints();
  for (const storage::Path& path : checkpoint_files(GetParam()))
    damage(path);
  const auto node = open();
  ASSERT_FALSE(node);
  EXPECT_EQ(node.error().code, ErrorCode::kCorruption);
}

INSTANTIATE_TEST_SUITE_P(Files, DamagedNewest, ::testing::Values("index", "MANIFEST"));

// The same once more where fsync, rename and O_DIRECT are the operating system's.
TEST_F(Recovery, WorksOnTheRealDisk) {
  testing::TemporaryDirectory directory;
  options_.root = directory.path();
  Address point;
  for (int round = 0; round < 4; ++round) {
    auto node = Node::open(storage::posix_file_system(), options_);
    ASSERT_TRUE(node) << node.error().message;
    EXPECT_EQ((*node)->replica().watermarks.checkpointed(),
              std::max(point, fasterlog::kFirstAddress));
    ASSERT_TRUE((*node)->settle());
    ASSERT_EQ((*node)->replica().pairs(), model_.pairs()) << "round " << round;
    fill(**node, round);
    const auto taken = (*node)->checkpoint();
    ASSERT_TRUE(taken) << taken.error().message;
    point = *taken;
    EXPECT_GT((*node)->log().begin(), Address{64u << 10});
    fill(**node, round + 1);
  }
}

TEST_F(Recovery, ALostCheckpointDirectoryIsAClearError) {
  two_checkpoints();
  auto log = fasterlog::Log::open(disk_, small_log("/node/log"));
  ASSERT_TRUE(log);
  const auto replica = Replica::open(disk_, **log, small_store("/elsewhere"), quiet());
  ASSERT_FALSE(replica);
  EXPECT_EQ(replica.error().code, ErrorCode::kCorruption);
  EXPECT_NE(replica.error().message.find("there is no checkpoint"), std::string::npos);
}

TEST_F(Recovery, ALogThatEndsBelowTheCheckpointIsAClearError) {
  two_checkpoints();
  auto log = fasterlog::Log::open(disk_, small_log("/new-log"));
  ASSERT_TRUE(log);
  const auto replica = Replica::open(disk_, **log, small_store("/node/kv"), quiet());
  ASSERT_FALSE(replica);
  EXPECT_EQ(replica.error().code, ErrorCode::kCorruption);
  EXPECT_NE(replica.error().message.find("the log ends at"), std::string::npos);
}

/// A checkpoint that no state machine has written.
void write_foreign_checkpoint(storage::FileSystem& disk, kv::SessionId id, const std::string& key,
                              const std::string& value) {
  auto store = kv::Store::open(disk, small_store("/kv"));
  ASSERT_TRUE(store);
  auto session = (*store)->start_session(id);
  ASSERT_TRUE(session);
  ASSERT_TRUE((*session)->upsert(as_bytes(key), as_bytes(value), 64));
  (*session)->refresh(64);
  std::promise<bool> published;
  kv::CheckpointHooks hooks;
  hooks.done = [&](const Result<kv::CheckpointInfo>& info) { published.set_value(!!info); };
  ASSERT_TRUE((*store)->start_checkpoint({.hooks = std::move(hooks)}));
  ASSERT_TRUE(published.get_future().get());
}

TEST_F(Recovery, ACheckpointWithoutTheAppliersPointIsRefused) {
  write_foreign_checkpoint(disk_, kApplierSession + 1, "uk", "v");
  auto log = fasterlog::Log::open(disk_, small_log("/log"));
  ASSERT_TRUE(log);
  const auto replica = Replica::open(disk_, **log, small_store("/kv"), quiet());
  ASSERT_FALSE(replica);
  EXPECT_EQ(replica.error().code, ErrorCode::kCorruption);
}

// Each length of a session's entry but the right ones is refused, and none is read beyond its end.
TEST_F(Recovery, ASessionThatDoesNotParseIsRefused) {
  const std::string key = "s" + std::string(16, 'c');
  std::string entry(28, '\0');
  entry[0] = 1;                                                           // last serial
  entry[24] = 1;                                                          // one answer
  entry += std::string(10, '\0') + "\x02" + std::string(3, '\0') + "ab";  // of two bytes
  for (size_t bytes = 0; bytes <= entry.size() + 1; ++bytes) {
    SCOPED_TRACE(bytes);
    testing::FaultFileSystem disk(bytes);
    std::string cut = entry;
    cut.resize(bytes);
    write_foreign_checkpoint(disk, kApplierSession, key, cut);
    auto log = fasterlog::Log::open(disk, small_log("/log"));
    ASSERT_TRUE(log);
    const auto replica = Replica::open(disk, **log, small_store("/kv"), quiet());
    ASSERT_EQ(replica.has_value(), bytes == entry.size());
    if (!replica) {
      EXPECT_EQ(replica.error().code, ErrorCode::kCorruption);
    }
  }
}

}  // namespace
}  // namespace tailrace::statemachine
