// Checkpoint, then truncate, in the one safe order.

#include <algorithm>

#include <gtest/gtest.h>

#include "harness.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/gate_file_system.h"

namespace tailrace::statemachine {
namespace {

class CheckpointOrder : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Node::open(gate_, {});
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
  }
  void TearDown() override { gate_.let_go(); }

  /// Some segments of the log.
  void fill() {
    for (int i = 0; i < 30; ++i)
      ASSERT_TRUE(node_->run(put("k" + std::to_string(i), std::string(8000, 'v'))));
    ASSERT_TRUE(node_->settle());
  }
  /// The first place at or after `from` whose line begins with `what` and contains `path`.
  size_t place(std::string_view what, std::string_view path, size_t from) {
    const auto found = std::find_if(
        trace_.begin() + static_cast<ptrdiff_t>(from), trace_.end(), [&](const std::string& line) {
          return line.starts_with(what) && line.find(path) != std::string::npos;
        });
    EXPECT_NE(found, trace_.end()) << what << " … " << path << " is missing after " << from;
    return static_cast<size_t>(found - trace_.begin());
  }

  testing::FaultFileSystem disk_{1};
  testing::GateFileSystem gate_{disk_};
  std::unique_ptr<Node> node_;
  std::vector<std::string> trace_;
};

TEST_F(CheckpointOrder, DataThenManifestThenLogMetadataThenSegments) {
  fill();
  gate_.forget_trace();
  const auto taken = node_->checkpoint();
  ASSERT_TRUE(taken) << taken.error().message;
  trace_ = gate_.trace();
  const size_t data = place("sync ", "/index", 0);
  const size_t manifest = place("rename", "/MANIFEST", data);
  const size_t published = place("sync_directory", "/checkpoints/", manifest);
  const size_t metadata = place("rename", "/log/META", published);
  const size_t forgotten = place("sync_directory", "/log", metadata);
  place("remove", ".seg", forgotten);
  const auto first_removed = std::find_if(trace_.begin(), trace_.end(), [](const auto& line) {
    return line.starts_with("remove") && line.ends_with(".seg");
  });
  EXPECT_GT(static_cast<size_t>(first_removed - trace_.begin()), forgotten);
  EXPECT_EQ(node_->replica().anchors.limit(), (std::pair{*taken, std::string("checkpoint")}));
  EXPECT_LE(node_->log().begin(), *taken);
  EXPECT_GT(node_->log().begin(), Address{64u << 10}) << "nothing was truncated";
  EXPECT_EQ(node_->replica().watermarks.checkpointed(), *taken);
}

// While the manifest is not on the disk, the anchor, the watermark and the log stand still.
TEST_F(CheckpointOrder, NothingMovesBeforeTheManifestIsPublished) {
  fill();
  for (const char* step : {"/kv/log/", "/MANIFEST"}) {
    SCOPED_TRACE(step);
    const WatermarkSnapshot before = node_->replica().watermarks.snapshot();
    const auto anchors = node_->replica().anchors.all();
    gate_.hold(step);
    auto taken = request_checkpoint(node_->machine());
    ASSERT_TRUE(gate_.wait_held());
    ASSERT_TRUE(node_->run(put("meanwhile", "v")));
    EXPECT_NE(node_->machine().checkpoint_status().phase, kv::CheckpointPhase::kRest);
    EXPECT_EQ(node_->replica().watermarks.checkpointed(), before.checkpointed);
    EXPECT_EQ(node_->replica().anchors.all(), anchors);
    EXPECT_EQ(node_->log().begin(), before.begin);
    gate_.let_go();
    const auto result = wait(std::move(taken));
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_GE(*result, before.applied);
    EXPECT_LT(*result, node_->replica().watermarks.applied()) << "the later command is not in it";
    EXPECT_EQ(node_->replica().watermarks.checkpointed(), *result);
    fill();
  }
}

TEST_F(CheckpointOrder, OlderCheckpointsGoAndTheNewestTwoStay) {
  for (int round = 0; round < 4; ++round) {
    fill();
    ASSERT_TRUE(node_->checkpoint());
  }
  const auto kept = node_->replica().store().checkpoints();
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->size(), 2u);
}

}  // namespace
}  // namespace tailrace::statemachine
