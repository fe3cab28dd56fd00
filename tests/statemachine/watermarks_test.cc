#include "statemachine/watermarks.h"

#include <vector>

#include <gtest/gtest.h>

#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

/// A real log with some durable bytes.
class WatermarksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    fasterlog::LogOptions options;
    options.directory = "/log";
    options.owner = "test";
    options.page_bytes = 64 << 10;
    options.buffer_pages = 4;
    options.segment_bytes = 64 << 10;
    auto opened = fasterlog::Log::open(disk_, options);
    ASSERT_TRUE(opened) << opened.error().message;
    log_ = std::move(*opened);
    ASSERT_TRUE(log_->become_writer(Epoch{1}));
    const auto range = log_->enqueue(fasterlog::RecordKind::kData, as_bytes("payload"));
    ASSERT_TRUE(range) << range.error().message;
    ASSERT_TRUE(log_->wait_durable(range->end));
  }

  testing::FaultFileSystem disk_{1};
  std::unique_ptr<fasterlog::Log> log_;
};

// Others may have formed the quorum: committed may pass this node's disk, applied may not.
TEST_F(WatermarksTest, CommittedMayPassDurableAndAppliedStopsAtTheLesser) {
  Watermarks watermarks(*log_);
  const Address durable = log_->durable();
  watermarks.advance_committed(durable + 1000);
  EXPECT_EQ(watermarks.committed(), durable + 1000);
  EXPECT_EQ(watermarks.applicable(), durable);
  watermarks.advance_applied(durable, Epoch{1});
  watermarks.advance_checkpointed(durable);
  const WatermarkSnapshot snapshot = watermarks.snapshot();
  EXPECT_LE(snapshot.begin, snapshot.checkpointed);
  EXPECT_LE(snapshot.checkpointed, snapshot.applied);
  EXPECT_LE(snapshot.applied, snapshot.committed);
  EXPECT_LE(snapshot.durable, snapshot.tail);
}

TEST_F(WatermarksTest, AnOlderCommittedAddressIsIgnored) {
  Watermarks watermarks(*log_);
  watermarks.advance_committed(Address{500});
  watermarks.advance_committed(Address{400});
  EXPECT_EQ(watermarks.committed(), Address{500});
}

// Applying what is not committed, or not on this disk, stops the process: the store cannot undo.
TEST_F(WatermarksTest, ABrokenOrderStopsTheProcess) {
  Watermarks watermarks(*log_);
  const Address durable = log_->durable();
  EXPECT_DEATH(watermarks.advance_applied(durable, Epoch{1}), "new applied");
  watermarks.advance_committed(durable + 1000);
  EXPECT_DEATH(watermarks.advance_applied(durable + 1, Epoch{1}), "new applied");
  EXPECT_DEATH(watermarks.advance_checkpointed(durable), "new checkpointed");
  watermarks.advance_applied(durable, Epoch{2});
  EXPECT_DEATH(watermarks.advance_applied(durable - 1, Epoch{2}), "new applied");
  EXPECT_DEATH(watermarks.advance_applied(durable, Epoch{1}), "new applied epoch");
}

// Who is told an address is told the epoch of the record that ends there, and no other.
TEST_F(WatermarksTest, TheAppliedPointNamesTheEpochOfItsRecord) {
  Watermarks watermarks(*log_);
  EXPECT_EQ(watermarks.applied_point().epoch, Epoch{});
  std::vector<LogPoint> points;
  for (uint64_t epoch = 1; epoch <= 3; ++epoch) {
    ASSERT_TRUE(log_->become_writer(Epoch{epoch}));
    for (int i = 0; i < 2; ++i) {
      const auto range = log_->enqueue(fasterlog::RecordKind::kData, as_bytes("payload"));
      ASSERT_TRUE(range && log_->wait_durable(range->end));
      points.push_back({Epoch{epoch}, range->end});
    }
  }
  watermarks.advance_committed(points.back().address);
  for (const LogPoint& point : points) {
    watermarks.advance_applied(point.address, point.epoch);
    EXPECT_EQ(watermarks.applied_point(), point);
  }
}

}  // namespace
}  // namespace tailrace::statemachine
