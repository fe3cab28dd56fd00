// Whole clusters of the replication core from seeds. TAILRACE_SEED=N replays one, TAILRACE_SEEDS=N
// tries so many.

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "cluster.h"

namespace tailrace::simulation {
namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
constexpr uint64_t kSeeds = 200;
#else
constexpr uint64_t kSeeds = 1000;
#endif

ClusterOptions shape(uint64_t seed) {
  ClusterOptions options;
  options.nodes = seed % 3 == 2 ? 5 : 3;
  options.learners = seed % 5 == 4 ? 1 : 0;
  return options;
}

TEST(ReplicationSimulation, CommittedIsNeverLostAndProgressReturnsWhenFaultsStop) {
  const bool one = std::getenv("TAILRACE_SEED") != nullptr;
  const uint64_t first = from_environment("TAILRACE_SEED", 1);
  const uint64_t count = one ? 1 : from_environment("TAILRACE_SEEDS", kSeeds);
  Outcome total;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const Outcome outcome = Cluster(seed, shape(seed)).run();
    ASSERT_FALSE(outcome.violation)
        << "seed " << seed << ": " << *outcome.violation << "\nreplay with TAILRACE_SEED=" << seed;
    total.acknowledged += outcome.acknowledged;
    total.leader_starts += outcome.leader_starts;
    total.crashes += outcome.crashes;
    total.truncations += outcome.truncations;
  }
  std::printf(
      "seeds %llu-%llu: %llu writes acknowledged, %llu crashes, %llu leader starts, "
      "%llu batches truncated\n",
      static_cast<unsigned long long>(first), static_cast<unsigned long long>(first + count - 1),
      static_cast<unsigned long long>(total.acknowledged),
      static_cast<unsigned long long>(total.crashes),
      static_cast<unsigned long long>(total.leader_starts),
      static_cast<unsigned long long>(total.truncations));
  if (!one && count >= 100) {
    // The faults do happen.
    EXPECT_GT(total.crashes, count);
    EXPECT_GT(total.leader_starts, count);
    EXPECT_GT(total.truncations, count);
  }
}

TEST(ReplicationSimulation, OneSeedGivesOneHistory) {
  const Outcome first = Cluster(7, shape(7)).run();
  const Outcome second = Cluster(7, shape(7)).run();
  EXPECT_EQ(first.acknowledged, second.acknowledged);
  EXPECT_EQ(first.crashes, second.crashes);
  EXPECT_EQ(first.truncations, second.truncations);
}

/// Each fault must be noticed by some seed, by the sentence that it breaks.
void expect_caught(const std::function<void(ClusterOptions&)>& inject,
                   const std::string& sentence) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    ClusterOptions options = shape(seed);
    inject(options);
    const Outcome outcome = Cluster(seed, options).run();
    if (outcome.violation && outcome.violation->find(sentence) != std::string::npos) return;
  }
  ADD_FAILURE() << "no seed of 100 noticed: " << sentence;
}

TEST(ReplicationSimulation, NoticesCommitsThatCountOldEpochs) {
  expect_caught([](ClusterOptions& o) { o.faults.count_old_epochs = true; },
                "committed counts bytes of an earlier epoch alone");
}
TEST(ReplicationSimulation, NoticesAFollowerThatObeysAStaleEpoch) {
  expect_caught([](ClusterOptions& o) { o.faults.accept_stale_epoch = true; }, "below its promise");
}
TEST(ReplicationSimulation, NoticesAcknowledgementsBeforeThePromiseIsOnDisk) {
  expect_caught([](ClusterOptions& o) { o.faults.ack_before_promise = true; },
                "acknowledges in an epoch it has not promised");
}
TEST(ReplicationSimulation, NoticesCommitsByAMinority) {
  expect_caught([](ClusterOptions& o) { o.faults.minority_commits = true; },
                "committed without a majority");
}
TEST(ReplicationSimulation, NoticesALeaderThatShipsWhatIsNotDurable) {
  expect_caught([](ClusterOptions& o) { o.ship_not_durable = true; },
                "committed without a majority");
}
TEST(ReplicationSimulation, NoticesAFollowerThatAcknowledgesBeforeItsFsync) {
  expect_caught([](ClusterOptions& o) { o.fsync_lies = true; }, "acknowledges what is not durable");
}

}  // namespace
}  // namespace tailrace::simulation
