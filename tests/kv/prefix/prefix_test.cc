// Concurrent Prefix Recovery, in one process: the power is cut at any operation of the disk, and
// what is recovered is exactly a prefix of every session. (tests/integration/kv_prefix_test.py
// kills a whole process.) TAILRACE_SEED=N replays one run's choices, TAILRACE_SEEDS=N tries so
// many.

#include "tests/kv/kv_support.h"
#include "tests/kv/prefix/prefix_run.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr uint64_t kSeeds = 2;  // one in memory, one larger
#else
constexpr uint64_t kSeeds = 4;
#endif
constexpr int kRounds = 4;

void run_and_check(uint64_t seed) {
  testing::FaultFileSystem disk(seed);
  Random random(seed);
  const bool larger = seed % 2 == 0;
  PrefixShape shape = prefix_shape(seed, larger);
  if (larger) shape.keys = 800;
  const StoreOptions options = prefix_store_options("/kv", seed, larger);
  std::vector<SessionPoint> least;
  uint64_t token = 0;
  for (int round = 0; round <= kRounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    auto store = open_or_die(disk, options);
    ASSERT_NE(store, nullptr);
    std::vector<SessionPoint> points;
    if (store->recovered()) points = store->recovered()->points;
    ASSERT_GE(store->recovered() ? store->recovered()->token : 0, token)
        << "a published checkpoint was lost";
    auto models = models_at(shape, points);
    ASSERT_EQ(prefix_difference(*store, models, seed), "");
    if (round == kRounds) break;

    // With a cut somewhere, or quietly to the end.
    const bool cut = random.chance(3, 4);
    PrefixRunOptions running;
    running.seed = seed * 100 + static_cast<uint64_t>(round);
    running.most_serials = 3000;
    running.most_pause_us = 3000;
    running.may_fail = cut;
    running.published = [&](const CheckpointInfo& info) { token = info.token; };
    if (cut) {
      disk.fail_at(disk.operations() + random.below(1500), testing::FaultKind::kPowerCut);
    }
    PrefixRun run(*store, shape, std::move(models), running);
    while (!run.failed() && !(run.is_idle() && run.published() > 2))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_EQ(run.finish(), "");
    if (!cut) {
      ASSERT_EQ(prefix_difference(*store, run.models(), seed), "");
    }
    store.reset();
    disk.crash(random.chance(1, 2) ? testing::CrashPolicy::kRandom
                                   : testing::CrashPolicy::kLoseUnsynced);
  }
}

TEST(StorePrefix, APowerCutAtAnyMomentLeavesAnExactPrefixOfEverySession) {
  for_seeds(kSeeds, run_and_check);
}

}  // namespace
}  // namespace tailrace::kv
