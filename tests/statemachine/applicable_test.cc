// Only what is committed and on this disk is applied: the store cannot undo.

#include <thread>

#include <gtest/gtest.h>

#include "harness.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/gate_file_system.h"

namespace tailrace::statemachine {
namespace {

class Applicable : public ::testing::Test {
 protected:
  void SetUp() override {
    auto log = fasterlog::Log::open(gate_, small_log("/log"));
    ASSERT_TRUE(log) << log.error().message;
    log_ = std::move(*log);
    ASSERT_TRUE(log_->become_writer(Epoch{1}));
    auto replica = Replica::open(gate_, *log_, small_store("/kv"), quiet());
    ASSERT_TRUE(replica) << replica.error().message;
    replica_ = std::move(*replica);
    replica_->machine().start();
  }
  void TearDown() override { gate_.let_go(); }

  Address append_durable(const OwnedCommand& command) {
    const auto range = append(*log_, command);
    EXPECT_TRUE(range.has_value());
    EXPECT_TRUE(log_->wait_durable(range->end, soon()).has_value());
    return range->end;
  }
  /// Gives the applier every occasion to go too far.
  void let_it_run() {
    for (int round = 0; round < 20; ++round) {
      replica_->machine().notify();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  testing::FaultFileSystem disk_{1};
  testing::GateFileSystem gate_{disk_};
  std::unique_ptr<fasterlog::Log> log_;
  std::unique_ptr<Replica> replica_;
};

TEST_F(Applicable, DurableAheadOfCommittedWaitsForCommitted) {
  const Address first = append_durable(put("a", "1"));
  const Address second = append_durable(put("b", "2"));
  let_it_run();
  EXPECT_EQ(replica_->watermarks.applied(), fasterlog::kFirstAddress);
  EXPECT_EQ(replica_->pairs(), Pairs{});
  ASSERT_TRUE(replica_->apply_to(first));
  let_it_run();
  EXPECT_EQ(replica_->watermarks.applied(), first);
  EXPECT_EQ(replica_->pairs(), (Pairs{{"a", "1"}}));
  ASSERT_TRUE(replica_->apply_to(second));
  EXPECT_EQ(replica_->pairs(), (Pairs{{"a", "1"}, {"b", "2"}}));
}

// The server matches its answers by epoch and address: no stretch may belong to two epochs.
TEST_F(Applicable, AStretchIsOfOneEpoch) {
  std::vector<AppliedBatch> heard;
  replica_.reset();
  auto replica = Replica::open(gate_, *log_, small_store("/kv2"), quiet());
  ASSERT_TRUE(replica) << replica.error().message;
  replica_ = std::move(*replica);
  replica_->machine().set_applied_listener([&](auto batch) { heard.push_back(*batch); });
  std::vector<std::pair<Epoch, AddressRange>> written;
  for (const uint64_t epoch : {1, 2, 5}) {
    ASSERT_TRUE(log_->become_writer(Epoch{epoch}));
    for (int i = 0; i < 3; ++i) {
      const auto range = append(*log_, add("n", 1));
      ASSERT_TRUE(range && log_->wait_durable(range->end));
      written.emplace_back(Epoch{epoch}, *range);
    }
  }
  replica_->commit(log_->durable());  // all of it is one stretch, but for the epochs
  replica_->machine().start();
  ASSERT_TRUE(replica_->apply_to(log_->durable()));
  replica_->machine().stop();
  ASSERT_EQ(heard.size(), 3u);
  Address end = log_->begin();
  size_t answers = 0;
  for (const AppliedBatch& batch : heard) {
    EXPECT_EQ(batch.range.first, end);
    end = batch.range.end;
    for (const auto& [address, answer] : batch.answers) {
      const auto [epoch, range] = written[answers++];
      EXPECT_EQ(batch.epoch, epoch);
      EXPECT_EQ(address, range.first);
      EXPECT_EQ(answer.value, std::to_string(answers));
    }
  }
  EXPECT_EQ(answers, written.size());
  EXPECT_EQ(replica_->watermarks.applied_point(), (LogPoint{Epoch{5}, log_->durable()}));
}

// Others formed the quorum; this node's own fsync is not done.
TEST_F(Applicable, CommittedAheadOfDurableWaitsForDurable) {
  const Address first = append_durable(put("a", "1"));
  gate_.hold(".seg");
  const auto range = append(*log_, put("b", "2"));
  ASSERT_TRUE(range);
  ASSERT_TRUE(gate_.wait_held());
  ASSERT_TRUE(replica_->apply_to(first));
  replica_->commit(range->end + 100000);
  let_it_run();
  EXPECT_LT(replica_->watermarks.applied(), range->end);
  EXPECT_EQ(replica_->pairs(), (Pairs{{"a", "1"}}));
  const auto waited = replica_->machine().wait_applied(
      range->end, std::chrono::steady_clock::now() + std::chrono::milliseconds(5));
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, ErrorCode::kTimedOut);
  gate_.let_go();
  ASSERT_TRUE(log_->wait_durable(range->end, soon()));
  replica_->machine().notify();
  ASSERT_TRUE(replica_->machine().wait_applied(range->end, soon()));
  EXPECT_EQ(replica_->pairs(), (Pairs{{"a", "1"}, {"b", "2"}}));
}

// A committed address inside of a batch's bytes: the record that it cuts is not applied, and not
// lost either when committed moves on.
TEST_F(Applicable, ARecordThatCommittedCutsWaitsAndIsNotSkipped) {
  const auto first = append(*log_, put("a", "1"));
  const auto second = append(*log_, put("b", "2"));
  const Address end = append_durable(put("c", "3"));
  for (Address to = first->end; to <= end; to = to + 8) {
    replica_->commit(to);
    if (to >= first->end) {
      ASSERT_TRUE(replica_->machine().wait_applied(first->end, soon()));
    }
    if (to >= second->end) {
      ASSERT_TRUE(replica_->machine().wait_applied(second->end, soon()));
    }
    ASSERT_LE(replica_->watermarks.applied(), to);
  }
  ASSERT_TRUE(replica_->machine().wait_applied(end, soon()));
  EXPECT_EQ(replica_->pairs(), (Pairs{{"a", "1"}, {"b", "2"}, {"c", "3"}}));
}

TEST_F(Applicable, WaitersHearThatTheStateMachineStops) {
  std::thread waiter([&] {
    const auto waited = replica_->machine().wait_applied(Address{1 << 20}, SteadyTime::max());
    ASSERT_FALSE(waited);
    EXPECT_EQ(waited.error().code, ErrorCode::kClosed);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  replica_->machine().stop();
  waiter.join();
}

}  // namespace
}  // namespace tailrace::statemachine
