// Several keys are read as they are at one applied address, whatever is applied meanwhile and
// wherever they are.
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "statemachine/stretch_visits.h"
#include "tests/statemachine/txn/txn_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

constexpr size_t kMuch = size_t{1} << 20;
constexpr int kRounds = kSanitized ? 60 : 400;

class ReadTogether : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Node::open(disk_, {});
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
    ASSERT_EQ(node_->answer(set_rules(rules_with_positions())), kDone);
    for (int i = 0; i < 8; ++i)
      keys_.push_back("k" + std::to_string(i));
  }

  /// All keys get the value, in one transaction. How long it is at least in bytes.
  Address put_all(const std::string& value) {
    Txn txn;
    for (const std::string& key : keys_)
      txn.then.push_back(
          {.kind = TxnEffectKind::kPut, .name = as_bytes(key), .value = as_bytes(value)});
    const auto done = node_->run(txn_command(txn, 1'700'000'000'000'000'000));
    EXPECT_TRUE(done) << done.error().message;
    return done ? done->first.first : Address{};
  }
  Result<KeysTogether> read(size_t most_bytes = kMuch) {
    return node_->machine().read_together(keys_, most_bytes, [] { return true; });
  }
  /// So much that older records leave the memory.
  void fill() {
    const std::string filler(size_t{16} << 10, 'f');
    for (int i = 0; i < 200; ++i) {
      const auto range =
          append(node_->log(), {Operation::kPut, "f" + std::to_string(i), filler, {}, 0, {}});
      ASSERT_TRUE(range) << range.error().message;
    }
    ASSERT_TRUE(node_->settle());
  }

  testing::FaultFileSystem disk_{1};
  std::unique_ptr<Node> node_;
  std::vector<std::string> keys_;
};

TEST_F(ReadTogether, SaysWhatIsThereAndWhereItWasModified) {
  keys_ = {"a", "nobody", "b"};
  ASSERT_EQ(node_->answer({Operation::kPut, "a", "1", {}, 0, {}}), kDone);
  ASSERT_EQ(node_->answer({Operation::kPut, "b", "2", {}, 0, {}}), kDone);
  const auto together = read();
  ASSERT_TRUE(together) << together.error().message;
  ASSERT_EQ(together->keys.size(), 3u);
  EXPECT_EQ(together->keys[0].state.value, "1");
  EXPECT_FALSE(together->keys[1].found);
  EXPECT_EQ(together->keys[2].state.value, "2");
  EXPECT_LT(together->keys[0].state.modified_at, together->keys[2].state.modified_at);
  EXPECT_LE(together->at.address, node_->replica().watermarks.applied());
  EXPECT_GT(together->at.address.value, together->keys[2].state.modified_at);
}

TEST_F(ReadTogether, NeverShowsHalfOfATransaction) {
  put_all("0");
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0}, read_back{0}, reads{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i)
    readers.emplace_back([&] {
      int last = 0;
      while (!stop.load()) {
        const auto together = read();
        if (!together) continue;
        ++reads;
        const int first = std::stoi(together->keys[0].state.value);
        for (const auto& key : together->keys)
          if (key.state.value != together->keys[0].state.value) ++torn;
        if (first < last) ++read_back;
        last = first;
      }
    });
  for (int round = 1; round <= kRounds; ++round)
    put_all(std::to_string(round));
  while (reads.load() < 20)
    std::this_thread::yield();
  stop.store(true);
  for (std::thread& reader : readers)
    reader.join();
  EXPECT_EQ(torn.load(), 0);
  EXPECT_EQ(read_back.load(), 0);
}

TEST_F(ReadTogether, WhatIsOnDiskIsOfTheSameMoment) {
  put_all("cold");
  fill();
  ASSERT_EQ(node_->answer({Operation::kPut, "k3", "hot", {}, 0, {}}), kDone);
  const auto outcome = [&](const std::string& key) {
    KeyState state;
    return node_->machine().try_read_state(as_bytes(key), state).value();
  };
  ASSERT_EQ(outcome("k0"), StateMachine::ReadOutcome::kCold) << "the test's store is too large";
  const auto together = read();
  ASSERT_TRUE(together) << together.error().message;
  for (size_t i = 0; i < keys_.size(); ++i)
    EXPECT_EQ(together->keys[i].state.value, i == 3 ? "hot" : "cold") << i;
}

TEST_F(ReadTogether, WhatIsTooMuchIsRefused) {
  put_all(std::string(1000, 'v'));
  EXPECT_EQ(read(7000).error().code, ErrorCode::kFailedPrecondition);
  EXPECT_TRUE(read(9000));
  fill();
  EXPECT_EQ(read(7000).error().code, ErrorCode::kFailedPrecondition);
}

TEST_F(ReadTogether, EndsOnceNobodyWaits) {
  put_all("cold");
  fill();
  EXPECT_EQ(node_->machine().read_together(keys_, kMuch, [] { return false; }).error().code,
            ErrorCode::kCancelled);
}

// What it holds, the keys, must not wait for an applier that has much to do.
TEST(StretchVisits, WhatIsForgottenIsNotCalledAndHoldsNothing) {
  StretchVisits visits;
  const auto held = std::make_shared<int>(0);
  const auto visit = [held](const Result<LogPoint>&) { ++*held; };
  const auto first = visits.add(visit);
  visits.add(visit);
  EXPECT_EQ(held.use_count(), 4);
  visits.forget(first);
  EXPECT_EQ(held.use_count(), 3);
  visits.close(Error{ErrorCode::kClosed, "over"});
  EXPECT_EQ(*held, 1);
  visits.forget(first);
  EXPECT_FALSE(visits.any());
}

TEST_F(ReadTogether, EndsWithTheMachine) {
  node_->machine().stop();
  const auto refused = read();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kClosed);
}

}  // namespace
}  // namespace tailrace::statemachine
