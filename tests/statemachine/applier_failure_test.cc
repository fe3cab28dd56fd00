// A committed record that cannot be applied stops the applier for good. It is never skipped, and
// no checkpoint says that it was applied.

#include <thread>

#include <gtest/gtest.h>

#include "harness.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/gate_file_system.h"

namespace tailrace::statemachine {
namespace {

class ApplierFailure : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.machine.waits_for_disk = false;
    reopen();
  }
  void TearDown() override { gate_.let_go(); }
  void reopen() {
    node_.reset();
    auto opened = Node::open(gate_, options_);
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
  }
  size_t checkpoints() {
    const auto found = node_->replica().store().checkpoints();
    EXPECT_TRUE(found.has_value());
    return found ? found->size() : 0;
  }
  /// Appends without asking for room, until the applier fails. Returns the failure.
  Error overfill(const std::function<OwnedCommand(int)>& next) {
    for (int i = 0; i < 200'000 && !node_->machine().failure(); ++i) {
      const OwnedCommand command = next(i);
      const auto range = append(node_->log(), command);
      if (!range) {
        ADD_FAILURE() << range.error().message;
        break;
      }
      appended_.push_back({range->end, command});
    }
    EXPECT_TRUE(node_->log().wait_durable(node_->log().tail(), soon()));
    const auto waited = node_->machine().wait_applied(node_->log().durable(), SteadyTime::max());
    EXPECT_FALSE(waited.has_value()) << "the store is never full";
    return waited ? Error{} : waited.error();
  }
  /// Stays as it is, whatever comes.
  void expect_stopped(const Error& failure) {
    const Address applied = node_->replica().watermarks.applied();
    for (int i = 0; i < 3; ++i) {
      const auto range = append(node_->log(), put("later", "v"));
      ASSERT_TRUE(range);
      ASSERT_TRUE(node_->log().wait_durable(range->end, soon()));
      const auto waited = node_->machine().wait_applied(range->end, soon());
      ASSERT_FALSE(waited);
      EXPECT_EQ(waited.error(), failure);
      EXPECT_EQ(node_->machine().failure(), failure);
    }
    EXPECT_EQ(node_->replica().watermarks.applied(), applied);
    EXPECT_TRUE(node_->machine().wait_applied(applied, soon())) << "what was applied was applied";
    std::string value;
    EXPECT_FALSE(node_->machine().read(as_bytes("later"), value));
  }
  void expect_no_checkpoint(const Error& failure) {
    const size_t before = checkpoints();
    const auto taken = node_->checkpoint();
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error(), failure);
    EXPECT_EQ(checkpoints(), before);
  }

  testing::FaultFileSystem disk_{1};
  testing::GateFileSystem gate_{disk_};
  ManualClock clock_;
  Node::Options options_;
  std::unique_ptr<Node> node_;
  std::vector<std::pair<Address, OwnedCommand>> appended_;
};

TEST_F(ApplierFailure, AFullDiskStopsAtTheFirstRecordThatDoesNotFit) {
  gate_.limit("/kv/log/", 2u << 20);
  const Error failure =
      overfill([](int i) { return put("k" + std::to_string(i), std::string(3000, 'v')); });
  EXPECT_EQ(failure.code, ErrorCode::kResourceExhausted) << failure.message;
  Model model;
  const Address applied = node_->replica().watermarks.applied();
  for (const auto& [end, command] : appended_)
    if (end <= applied) model.apply(command);
  EXPECT_EQ(node_->replica().pairs(), model.pairs()) << "exactly what counts as applied";
  EXPECT_EQ(node_->replica().heard.end(), applied);
  expect_stopped(failure);
  expect_no_checkpoint(failure);
  // With more disk the node goes on where it stopped.
  gate_.limit("", 0);
  reopen();
  ASSERT_TRUE(node_->settle());
  for (const auto& [end, command] : appended_)
    if (end > applied) model.apply(command);
  model.apply(put("later", "v"));
  EXPECT_EQ(node_->replica().pairs(), model.pairs());
  EXPECT_TRUE(node_->checkpoint());
}

// Promise: a full disk is waited for, and what is committed is then applied, once.
TEST_F(ApplierFailure, AFullDiskIsWaitedForIfThatIsWanted) {
  options_.machine.waits_for_disk = true;
  reopen();
  gate_.limit("/kv/log/", 2u << 20);
  Model model;
  for (int i = 0; i < 2000; ++i) {
    const OwnedCommand command =
        i % 2 == 0 ? add("n", 1) : put("k" + std::to_string(i), std::string(3000, 'v'));
    const auto range = append(node_->log(), command);
    ASSERT_TRUE(range);
    model.apply(command);
  }
  const Address end = node_->log().tail();
  ASSERT_TRUE(node_->log().wait_durable(end, soon()));
  const auto early = node_->machine().wait_applied(
      end, std::chrono::steady_clock::now() + std::chrono::milliseconds(500));
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().code, ErrorCode::kTimedOut) << early.error().message;
  EXPECT_FALSE(node_->machine().failure());
  gate_.limit("", 0);
  ASSERT_TRUE(node_->machine().wait_applied(end, soon()));
  EXPECT_EQ(node_->replica().pairs(), model.pairs());
  EXPECT_TRUE(node_->checkpoint());
}

// Whoever stops does not wait for an operator, also while a checkpoint is being taken.
TEST_F(ApplierFailure, WhatWaitsForADiskCanBeStopped) {
  options_.machine.waits_for_disk = true;
  reopen();
  gate_.limit("/kv/log/", 2u << 20);
  for (int i = 0; i < 2000; ++i)
    ASSERT_TRUE(append(node_->log(), put("k" + std::to_string(i), std::string(3000, 'v'))));
  ASSERT_TRUE(node_->log().wait_durable(node_->log().tail(), soon()));
  auto taken = request_checkpoint(node_->machine());
  const auto early = node_->machine().wait_applied(
      node_->log().durable(), std::chrono::steady_clock::now() + std::chrono::milliseconds(300));
  EXPECT_FALSE(early);
  node_.reset();
  EXPECT_EQ(taken.wait_until(soon()), std::future_status::ready);
}

// Half of a command is in the store: the user's key is written, the session is not.
TEST_F(ApplierFailure, AHalfAppliedCommandGetsIntoNoCheckpoint) {
  gate_.limit("/kv/log/", 2u << 20);
  const std::string large(30'000, 'x');
  ASSERT_TRUE(node_->run(put("k", large)));
  ASSERT_TRUE(node_->checkpoint());
  const Error failure = overfill([](int i) {
    return in_session(static_cast<uint64_t>(i), 1, cas("k", "no", "yes"));  // the answer is large
  });
  EXPECT_EQ(failure.code, ErrorCode::kResourceExhausted) << failure.message;
  expect_stopped(failure);
  expect_no_checkpoint(failure);
}

TEST_F(ApplierFailure, ACheckpointThatRunsWhenTheApplierFailsIsNotPublished) {
  ASSERT_TRUE(node_->run(put("k", "v")));
  ASSERT_TRUE(node_->settle());
  gate_.hold("/index");
  auto taken = request_checkpoint(node_->machine());
  ASSERT_TRUE(gate_.wait_held());
  ASSERT_TRUE(node_->log().enqueue(kCommandRecord, as_bytes("no command")));
  const auto waited = node_->machine().wait_applied(node_->log().tail(), soon());
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, ErrorCode::kCorruption);
  gate_.let_go();
  const auto result = wait(std::move(taken));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error(), waited.error());
  EXPECT_EQ(checkpoints(), 0u);
  EXPECT_EQ(node_->log().begin(), fasterlog::kFirstAddress);
}

class BadRecord : public ApplierFailure,
                  public ::testing::WithParamInterface<std::pair<const char*, ErrorCode>> {};

TEST_P(BadRecord, StopsTheApplierAndIsNamed) {
  std::vector<std::byte> bytes;
  encode(put("k", "v").view(), bytes);
  if (std::string_view(GetParam().first) == "newer") bytes[0] = std::byte{99};
  if (std::string_view(GetParam().first) == "short") bytes.pop_back();
  ASSERT_TRUE(node_->run(put("before", "1")));
  const auto bad = node_->log().enqueue(kCommandRecord, bytes);
  ASSERT_TRUE(bad);
  ASSERT_TRUE(append(node_->log(), put("after", "1")));
  const auto waited = node_->machine().wait_applied(bad->end, soon());
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, GetParam().second);
  EXPECT_NE(waited.error().message.find(std::to_string(bad->first.value)), std::string::npos);
  EXPECT_LE(node_->replica().watermarks.applied(), bad->first);
  EXPECT_EQ(node_->replica().pairs(), (Pairs{{"before", "1"}}));
  expect_stopped(waited.error());
  expect_no_checkpoint(waited.error());
  // A restart does not get around it either.
  reopen();
  const auto again = node_->machine().wait_applied(bad->end, soon());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error(), waited.error());
}

INSTANTIATE_TEST_SUITE_P(Kinds, BadRecord,
                         ::testing::Values(std::pair{"newer", ErrorCode::kUnsupported},
                                           std::pair{"short", ErrorCode::kCorruption}));

// Neither by time nor by size is a checkpoint tried again and again.
TEST_F(ApplierFailure, NoCheckpointBecomesDueAfterwards) {
  options_.clock = &clock_;
  options_.machine.checkpoint_interval = std::chrono::seconds(10);
  options_.machine.checkpoint_log_bytes = 1;
  reopen();
  ASSERT_TRUE(node_->log().enqueue(kCommandRecord, as_bytes("no command")));
  ASSERT_FALSE(node_->machine().wait_applied(node_->log().tail(), soon()));
  const size_t before = checkpoints();
  clock_.advance(std::chrono::hours(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(120));
  EXPECT_EQ(checkpoints(), before);
}

}  // namespace
}  // namespace tailrace::statemachine
