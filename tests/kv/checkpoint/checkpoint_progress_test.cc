// What a checkpoint tells while it is taken.

#include <algorithm>
#include <cctype>
#include <thread>

#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

class Told : public ::testing::TestWithParam<CheckpointKind> {
 protected:
  void SetUp() override {
    StoreOptions options = small_options("/kv");
    options.memory_bytes = 64u << 20;
    options.compaction.automatic = false;
    store = open_or_die(disk, options);
    ASSERT_NE(store, nullptr);
    session = session_or_die(*store, 1);
  }
  void fill(int keys) {
    for (int key = 0; key < keys; ++key) {
      const std::string name = "key" + std::to_string(key);
      ASSERT_TRUE(session->upsert(as_bytes(name), as_bytes(std::string(2000, 'x')), ++serial));
    }
    session->refresh(serial);
  }
  Result<CheckpointInfo> take(bool refused = false) {
    told.clear();
    threads.clear();
    std::promise<Result<CheckpointInfo>> promise;
    CheckpointRequest request;
    request.kind = GetParam();
    request.hooks.progress = [&](const CheckpointProgress& progress) {
      threads.push_back(std::this_thread::get_id());
      told.push_back(progress);
      const CheckpointProgress polled = store->checkpoint_progress();
      EXPECT_GE(polled.bytes, progress.bytes);
    };
    if (refused) {
      request.hooks.before_publish = [](const CheckpointInfo&) -> Result<std::string> {
        return make_error(ErrorCode::kIo, "refused");
      };
    }
    request.hooks.done = [&](const Result<CheckpointInfo>& info) {
      EXPECT_TRUE(!told.empty() && told.back().phase == CheckpointPhase::kRest);
      threads.push_back(std::this_thread::get_id());
      promise.set_value(info);
    };
    EXPECT_TRUE(store->start_checkpoint(std::move(request)).has_value());
    return promise.get_future().get();
  }
  std::vector<CheckpointPhase> phases() const {
    std::vector<CheckpointPhase> all;
    for (const CheckpointProgress& progress : told) {
      if (all.empty() || all.back() != progress.phase) all.push_back(progress.phase);
    }
    return all;
  }
  std::vector<CheckpointPhase> expected_phases() const {
    using enum CheckpointPhase;
    if (GetParam() == CheckpointKind::kIndexOnly) return {kPrepare, kRest};
    return {kPrepare, kInProgress, kWaitPending, kWaitFlush, kRest};
  }
  bool saw_the_middle(CheckpointPhase phase) const {
    return std::any_of(told.begin(), told.end(), [&](const CheckpointProgress& one) {
      return one.phase == phase && one.bytes > 1'000'000 && one.bytes < one.planned_bytes;
    });
  }

  testing::FaultFileSystem disk{1};
  std::unique_ptr<Store> store;
  std::unique_ptr<Session> session;
  Serial serial = 0;
  std::vector<CheckpointProgress> told;
  std::vector<std::thread::id> threads;
};

// Promise: every phase is told once and in order, the bytes as they are written and never fewer
// than before, all on the checkpoint's thread; at the end they are what the checkpoint took.
TEST_P(Told, PhasesAndBytes) {
  bool middle = false;
  // When a fold-over's pages are on disk before anybody has asked, there is no middle to see.
  for (int times = 0; times < 20 && !middle; ++times) {
    fill(6000);
    const auto info = take();
    ASSERT_TRUE(info.has_value()) << info.error().message;
    EXPECT_EQ(phases(), expected_phases());
    CheckpointProgress last;
    for (const CheckpointProgress& progress : told) {
      EXPECT_GE(progress.bytes, last.bytes);
      EXPECT_LE(progress.bytes, progress.planned_bytes);
      EXPECT_LE(progress.fraction, 1.0);
      last = progress;
    }
    EXPECT_EQ(last.bytes, info->bytes);
    EXPECT_EQ(last.planned_bytes, info->bytes);
    EXPECT_EQ(last.fraction, 1.0);
    for (const std::thread::id thread : threads)
      EXPECT_EQ(thread, threads.front());
    EXPECT_NE(threads.front(), std::this_thread::get_id());
    middle =
        GetParam() == CheckpointKind::kIndexOnly || saw_the_middle(CheckpointPhase::kWaitFlush);
  }
  EXPECT_TRUE(middle);
}

// Promise: one that fails tells REST, too, before it tells why.
TEST_P(Told, AFailureEndsInRest) {
  fill(1000);
  const auto info = take(true);
  ASSERT_FALSE(info.has_value());
  EXPECT_EQ(info.error().message, "refused");
  EXPECT_EQ(phases(), expected_phases());
}

INSTANTIATE_TEST_SUITE_P(Kinds, Told,
                         ::testing::Values(CheckpointKind::kFoldOver, CheckpointKind::kSnapshot,
                                           CheckpointKind::kIncremental,
                                           CheckpointKind::kIndexOnly),
                         [](const auto& param) {
                           std::string name(name_of(param.param));
                           std::erase_if(name, [](char c) { return !std::isalnum(c); });
                           return name;
                         });

}  // namespace
}  // namespace tailrace::kv
