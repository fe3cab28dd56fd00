// When checkpoints are taken, who hears of them, and how they end.

#include <thread>

#include <gtest/gtest.h>

#include "harness.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/gate_file_system.h"

namespace tailrace::statemachine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class CheckpointerTest : public ::testing::Test {
 protected:
  void SetUp() override { options_.clock = &clock_; }
  void TearDown() override { gate_.let_go(); }
  void open() {
    node_.reset();
    auto opened = Node::open(gate_, options_);
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
    ASSERT_TRUE(node_->settle());
  }
  void run(const OwnedCommand& command) {
    ASSERT_TRUE(node_->run(command));
    ASSERT_TRUE(node_->settle());
  }
  Address checkpointed() { return node_->replica().watermarks.checkpointed(); }
  Address applied() { return node_->replica().watermarks.applied(); }
  void wait_for_checkpoint_above(Address address) {
    for (const SteadyTime end = soon(); checkpointed() <= address;) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "no checkpoint comes";
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
  /// Longer than the checkpointer sleeps between two looks.
  static void let_it_look() { std::this_thread::sleep_for(milliseconds(120)); }

  testing::FaultFileSystem disk_{1};
  testing::GateFileSystem gate_{disk_};
  ManualClock clock_;
  Node::Options options_;
  std::unique_ptr<Node> node_;
};

TEST_F(CheckpointerTest, IsDueAfterSoManyBytesOfLog) {
  options_.machine.checkpoint_log_bytes = 50'000;
  open();
  run(put("k", std::string(20'000, 'v')));
  run(put("k", std::string(20'000, 'v')));
  let_it_look();
  EXPECT_EQ(checkpointed(), fasterlog::kFirstAddress) << "too early";
  run(put("k", std::string(20'000, 'v')));
  wait_for_checkpoint_above(fasterlog::kFirstAddress);
  EXPECT_GE(checkpointed(), Address{50'000});
  // Counted from there on.
  const Address first = checkpointed();
  run(put("k", std::string(20'000, 'v')));
  let_it_look();
  EXPECT_EQ(checkpointed(), first);
}

TEST_F(CheckpointerTest, IsDueAfterTheIntervalIfSomethingIsNew) {
  options_.machine.checkpoint_interval = seconds(60);
  open();
  run(put("k", "v"));
  clock_.advance(seconds(59));
  let_it_look();
  EXPECT_EQ(checkpointed(), fasterlog::kFirstAddress) << "too early";
  clock_.advance(seconds(1));
  wait_for_checkpoint_above(fasterlog::kFirstAddress);
  const Address first = checkpointed();
  EXPECT_EQ(first, applied());

  clock_.advance(seconds(1000));
  let_it_look();
  EXPECT_EQ(node_->replica().store().checkpoints()->size(), 1u) << "nothing was new";
  run(put("k", "w"));
  clock_.advance(seconds(60));  // the one before may have ended after the clock was moved
  wait_for_checkpoint_above(first);
}

TEST_F(CheckpointerTest, OfNothingNewIsTakenWhenItIsAskedFor) {
  open();
  auto first = node_->checkpoint();
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(*first, fasterlog::kFirstAddress) << "of an empty log";
  run(put("k", "v"));
  first = node_->checkpoint();
  const auto second = node_->checkpoint();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*second, *first);
  EXPECT_EQ(*second, applied());
  open();
  EXPECT_EQ(checkpointed(), *second);
  const auto after_restart = node_->checkpoint();
  ASSERT_TRUE(after_restart) << after_restart.error().message;
  EXPECT_GE(*after_restart, *second);
  std::string value;
  EXPECT_TRUE(node_->machine().read(as_bytes("k"), value));
}

TEST_F(CheckpointerTest, ARequestJoinsTheOneThatRuns) {
  open();
  run(put("k", "v"));
  gate_.hold("/index");
  auto first = request_checkpoint(node_->machine());
  ASSERT_TRUE(gate_.wait_held());
  EXPECT_NE(node_->machine().checkpoint_status().phase, kv::CheckpointPhase::kRest);
  std::vector<std::future<Result<Address>>> joined;
  for (int i = 0; i < 3; ++i)
    joined.push_back(request_checkpoint(node_->machine()));
  gate_.let_go();
  const auto address = wait(std::move(first));
  ASSERT_TRUE(address) << address.error().message;
  for (auto& request : joined) {
    const auto same = wait(std::move(request));
    ASSERT_TRUE(same);
    EXPECT_EQ(*same, *address);
  }
  EXPECT_EQ(node_->replica().store().checkpoints()->size(), 1u);
}

TEST_F(CheckpointerTest, StatusTellsOfTheNewest) {
  open();
  EXPECT_EQ(node_->machine().checkpoint_status().last_address, Address{});
  run(put("k", "v"));
  const auto taken = node_->checkpoint();
  ASSERT_TRUE(taken);
  const auto check = [&] {
    const CheckpointStatus status = node_->machine().checkpoint_status();
    EXPECT_EQ(status.phase, kv::CheckpointPhase::kRest);
    EXPECT_EQ(status.last_address, *taken);
    EXPECT_EQ(status.last_unix_time_ns, clock_.unix_time_ns());
    EXPECT_EQ(status.last_error, "");
  };
  check();
  open();
  check();
}

// A disk that fails once: the node says so and goes on, and the next checkpoint is whole.
TEST_F(CheckpointerTest, AFailedOneIsToldAndTheNextOneIsTriedLater) {
  options_.machine.checkpoint_log_bytes = 1;
  gate_.hold("/index");
  open();
  run(put("k", "v"));
  ASSERT_TRUE(gate_.wait_held());  // due by its bytes; its fsync will fail
  auto joined = request_checkpoint(node_->machine());
  // By name: by number it may strike what the log writes at that moment.
  for (const storage::Path& file : disk_.files())
    if (file.filename() == "index") disk_.fail_next("fdatasync", file, testing::FaultKind::kError);
  gate_.let_go();
  const auto failed = wait(std::move(joined));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kIo) << failed.error().message;
  EXPECT_EQ(node_->machine().checkpoint_status().last_error, failed.error().message);
  EXPECT_FALSE(node_->machine().failure());
  EXPECT_EQ(checkpointed(), fasterlog::kFirstAddress);
  EXPECT_EQ(node_->replica().anchors.limit().second, "none");
  let_it_look();
  EXPECT_EQ(checkpointed(), fasterlog::kFirstAddress) << "not tried without a pause";
  clock_.advance(seconds(2));
  wait_for_checkpoint_above(fasterlog::kFirstAddress);
  const auto after = node_->checkpoint();
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(node_->machine().checkpoint_status().last_error, "");
}

TEST_F(CheckpointerTest, StopWaitsForTheOneThatRunsAndEveryoneHearsTheEnd) {
  open();
  run(put("k", "v"));
  gate_.hold("/index");
  auto running = request_checkpoint(node_->machine());
  ASSERT_TRUE(gate_.wait_held());
  auto joined = request_checkpoint(node_->machine());
  std::thread stopper([&] { node_->machine().stop(); });
  std::this_thread::sleep_for(milliseconds(10));
  gate_.let_go();
  stopper.join();
  const auto first = wait(std::move(running));
  const auto second = wait(std::move(joined));
  EXPECT_EQ(first.has_value(), second.has_value());
  const auto late = wait(request_checkpoint(node_->machine()));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kClosed);
  EXPECT_FALSE(node_->machine().failure());
}

// At any moment of a checkpoint, with commands being applied; and the next start finds a sound
// node.
TEST_F(CheckpointerTest, StopAtAnyMomentDoesNotHang) {
  options_.clock = &system_clock();
  Model model;
  for (int round = 0; round < (kSanitized ? 20 : 60); ++round) {
    open();
    ASSERT_EQ(node_->replica().pairs(), model.pairs()) << "round " << round;
    std::vector<std::future<Result<Address>>> requests;
    for (int i = 0; i < 20; ++i) {
      const OwnedCommand command = add("n" + std::to_string(i % 3), round + i);
      ASSERT_TRUE(append(node_->log(), command));
      model.apply(command);
      if (i % 10 == 5) requests.push_back(request_checkpoint(node_->machine()));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100 * (round % 20)));
    node_.reset();
    for (auto& request : requests) {
      const auto taken = wait(std::move(request));
      if (!taken) {
        EXPECT_EQ(taken.error().code, ErrorCode::kClosed) << taken.error().message;
      }
    }
  }
}

TEST_F(CheckpointerTest, AStateMachineThatNeverStartedStopsToo) {
  auto log = fasterlog::Log::open(disk_, small_log("/log"));
  ASSERT_TRUE(log);
  auto replica = Replica::open(disk_, **log, small_store("/kv"), quiet());
  ASSERT_TRUE(replica);
  auto asked = request_checkpoint((*replica)->machine());
  replica->reset();
  const auto taken = wait(std::move(asked));
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, ErrorCode::kClosed);
}

}  // namespace
}  // namespace tailrace::statemachine
