// Who needs the log keeps it: truncation goes to the least anchor, and after a restart too.

#include <thread>

#include <gtest/gtest.h>

#include "harness.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

class Truncation : public ::testing::Test {
 protected:
  void reopen() {
    node_.reset();
    auto opened = Node::open(disk_, options_);
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
  }
  /// About 120 KiB of log.
  void fill() {
    for (int i = 0; i < 15; ++i)
      ASSERT_TRUE(node_->run(put("k" + std::to_string(i), std::string(8000, 'v'))));
    ASSERT_TRUE(node_->settle());
  }
  Address checkpoint() {
    const auto taken = node_->checkpoint();
    EXPECT_TRUE(taken.has_value()) << (taken ? "" : taken.error().message);
    return taken ? *taken : Address{};
  }
  Address begin() const { return node_->log().begin(); }
  Address applied() const { return node_->replica().watermarks.applied(); }
  AnchorRegistry& anchors() { return node_->replica().anchors; }
  /// The truncation of a start is done in the checkpointer's thread.
  void wait_for_begin_above(Address address) {
    for (const SteadyTime end = soon(); begin() <= address;) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "nothing is truncated";
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  testing::FaultFileSystem disk_{1};
  Node::Options options_;
  std::unique_ptr<Node> node_;
};

TEST_F(Truncation, NothingGoesWithoutACheckpoint) {
  reopen();
  anchors().set("follower:2", Address{1u << 20});
  fill();
  EXPECT_EQ(begin(), fasterlog::kFirstAddress);
}

// Promise: the metric of the limit is an address of this log, also before anything may be
// truncated.
TEST_F(Truncation, TheLimitThatIsToldIsTheBeginBeforeTheFirstCheckpoint) {
  reopen();
  const auto told = [this] {
    observability::MetricRegistry registry;
    node_->machine().register_metrics(registry);
    const std::string text = registry.expose(), name = "\ntailrace_truncation_limit_address_bytes ";
    const size_t at = text.find(name);
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size()));
  };
  anchors().set("follower:2", fasterlog::kFirstAddress);
  EXPECT_EQ(told(), static_cast<double>(fasterlog::kFirstAddress.value));
  fill();
  anchors().set("follower:2", Address{1u << 30});
  EXPECT_EQ(told(), static_cast<double>(fasterlog::kFirstAddress.value));
  const Address point = checkpoint();
  EXPECT_EQ(told(), static_cast<double>(point.value));
}

TEST_F(Truncation, GoesToTheCheckpointAndNotBeyond) {
  reopen();
  fill();
  anchors().set("follower:2", Address{1u << 30});  // far ahead
  const Address point = checkpoint();
  EXPECT_LE(begin(), point);
  EXPECT_GT(begin(), point - 20000) << "far less than possible was truncated";
}

TEST_F(Truncation, AFollowerKeepsWhatItNeedsUntilItMovesOn) {
  reopen();
  fill();
  const Address needed = applied();
  anchors().set("follower:2", needed);
  fill();
  Address point = checkpoint();
  EXPECT_EQ(begin(), needed) << "it stands at the end of a batch";
  EXPECT_EQ(anchors().limit(), (std::pair{needed, std::string("follower:2")}));
  std::vector<std::byte> bytes;
  EXPECT_TRUE(node_->log().read_raw(needed, 1, bytes)) << "what the follower asks for next";

  // Nobody writes, so no other checkpoint would come: what it has held goes by itself.
  anchors().remove("follower:2");
  wait_for_begin_above(needed);
  EXPECT_LE(begin(), point);
  fill();
  point = checkpoint();
  EXPECT_GT(begin(), needed);
  EXPECT_LE(begin(), point);
}

TEST_F(Truncation, RetentionKeepsAtLeastSoManyBytesBelowApplied) {
  options_.machine.retention_bytes = 100'000;
  reopen();
  for (int round = 0; round < 5; ++round) {
    fill();
    checkpoint();
    const uint64_t kept = applied() - begin();
    EXPECT_GE(kept, std::min<uint64_t>(100'000, applied().value - 64));
    EXPECT_LT(kept, 120'000u) << "far more than wanted is kept";
  }
  EXPECT_EQ(anchors().limit().second, "retention");
}

TEST_F(Truncation, MoreRetentionThanThereIsLogKeepsAllOfIt) {
  options_.machine.retention_bytes = 1u << 30;
  reopen();
  fill();
  checkpoint();
  EXPECT_EQ(begin(), fasterlog::kFirstAddress);
}

// A crash may have come between a checkpoint's publication and the truncation, or an anchor may be
// gone: the start makes up for it, by itself.
TEST_F(Truncation, AStartTruncatesToTheCheckpoint) {
  reopen();
  anchors().set("follower:2", Address{64});
  fill();
  const Address point = checkpoint();
  EXPECT_EQ(begin(), fasterlog::kFirstAddress);
  reopen();
  wait_for_begin_above(fasterlog::kFirstAddress);
  EXPECT_LE(begin(), point);
  ASSERT_TRUE(node_->settle());
}

// But only as far as the anchors allow that were set before the start.
TEST_F(Truncation, AStartRespectsTheAnchorsSetBeforeIt) {
  reopen();
  fill();
  const Address needed = applied();
  anchors().set("follower:2", Address{64});
  fill();
  checkpoint();
  ASSERT_EQ(begin(), fasterlog::kFirstAddress);

  options_.anchors = {{"follower:2", needed}};
  reopen();
  wait_for_begin_above(fasterlog::kFirstAddress);
  EXPECT_EQ(begin(), needed);
  fill();
  EXPECT_EQ(begin(), needed);
  checkpoint();
  EXPECT_EQ(begin(), needed);
}

// Creating the state machine changes nothing on the disk: the anchors come between it and the
// start.
TEST_F(Truncation, NothingIsTruncatedBeforeTheStart) {
  reopen();
  anchors().set("follower:2", Address{64});
  fill();
  checkpoint();
  node_.reset();
  auto log = fasterlog::Log::open(disk_, small_log("/node/log"));
  ASSERT_TRUE(log);
  auto replica = Replica::open(disk_, **log, small_store("/node/kv"), quiet());
  ASSERT_TRUE(replica);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ((*log)->begin(), fasterlog::kFirstAddress);
  replica->reset();
  EXPECT_EQ((*log)->begin(), fasterlog::kFirstAddress);
}

}  // namespace
}  // namespace tailrace::statemachine
