// Whole clusters of the replication core from seeds. TAILRACE_SEED=N replays one, TAILRACE_SEEDS=N
// tries so many.

#include <cstdlib>
#include <functional>
#include <string>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "cluster.h"

namespace tailrace::simulation {
namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
constexpr uint64_t kSeeds = 80;
#else
constexpr uint64_t kSeeds = 1600;
#endif

ClusterOptions shape(uint64_t seed) {
  ClusterOptions options;
  options.learners = seed % 5 >= 3 ? 1 : 0;
  options.nodes = (seed % 3 == 2 ? 5 : 3) - options.learners;
  if (seed % 4 == 0) options.spares = 2;
  if (seed % 5 == 4) options.upstream = NodeId{2};
  options.upgrades = seed % 7 == 6;
  return options;
}

/// What many seeds saw together; enough of them for the faults to be expected to happen.
struct Seeds {
  uint64_t first = 0, count = 0;
  Outcome total;
  bool one = false;  // that is replayed
};

/// One in `part` of the usual number of seeds, or what TAILRACE_SEED and TAILRACE_SEEDS say; each
/// with the shape of its number, changed by `inject`. Ends at the first violation.
Seeds run_seeds(uint64_t part, const std::function<void(uint64_t, ClusterOptions&)>& inject) {
  Seeds seeds;
  seeds.one = std::getenv("TAILRACE_SEED") != nullptr;
  seeds.first = from_environment("TAILRACE_SEED", 1);
  if (seeds.one) part = 1;
  seeds.count = seeds.one ? 1 : from_environment("TAILRACE_SEEDS", kSeeds);
  seeds.count = std::max<uint64_t>(seeds.count / part, 1);
  for (uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    ClusterOptions options = shape(seed);
    inject(seed, options);
    const Outcome outcome = Cluster(seed, options).run();
    if (outcome.violation) {
      ADD_FAILURE() << "seed " << seed << ": " << *outcome.violation
                    << "\nreplay with TAILRACE_SEED=" << seed;
      break;
    }
    seeds.total.add(outcome);
  }
  return seeds;
}

TEST(ReplicationSimulation, CommittedIsNeverLostAndProgressReturnsWhenFaultsStop) {
  const Seeds seeds = run_seeds(1, [](uint64_t, ClusterOptions&) {});
  const auto& [first, count, total, one] = seeds;
  fmt::print(
      "seeds {}-{}: {} writes acknowledged, {} reads, {} leader starts, {} fetches, {} cuts, {} "
      "hand-overs, {} crashes, {} disks lost, {} checkpoints installed, {} batches truncated, {} "
      "acknowledgements of relayed learners\n",
      first, first + count - 1, total.acknowledged, total.reads, total.leader_starts, total.fetches,
      total.cuts, total.transfers, total.crashes, total.wipes, total.installs, total.truncations,
      total.relayed);
  fmt::print("{} changes of the members, {} old disks back, {} put back, {} votes given to disks\n",
             total.changes, total.returned_disks, total.put_back, total.replaced);
  fmt::print(
      "{} disks full, {} damaged; clients: {} operations, {} writes sent again, {} bounded reads, "
      "{} "
      "reads of own writes, {} histories too hard to judge\n",
      total.full_disks, total.damaged_disks, total.operations, total.repeats, total.bounded_reads,
      total.own_reads, total.too_hard);
  if (!one && count >= 100) {
    EXPECT_EQ(total.too_hard, 0u);
    EXPECT_GT(total.full_disks, count / 10);
    EXPECT_GT(total.damaged_disks, count / 10);
    EXPECT_GT(total.operations, count * 50);
    EXPECT_GT(total.repeats, count);
    EXPECT_GT(total.bounded_reads, count);
    EXPECT_GT(total.own_reads, count);
    // The faults do happen.
    EXPECT_GT(total.crashes, count);
    EXPECT_GT(total.leader_starts, count);
    EXPECT_GT(total.truncations, count);
    EXPECT_GT(total.cuts, count / (count < 2000 ? 8 : 4)) << "of few seeds it is chance";
    EXPECT_GT(total.fetches, count / 20);
    EXPECT_GT(total.wipes, count / 10);
    EXPECT_GT(total.installs, count / 100);
    EXPECT_GT(total.transfers, count / 10);
    EXPECT_GT(total.reads, count * 10);
    EXPECT_GT(total.fresh, count * 100);
    EXPECT_GT(total.relayed, count);
    EXPECT_GT(total.changes, count / 2);
    EXPECT_GT(total.returned_disks, count / 20);
    EXPECT_GT(total.replaced, count / 10);
  }
}

/// Of runs with clients of streams: what they saw, and that enough of it happened.
void expect_events(const Seeds& seeds) {
  const auto& [first, count, total, one] = seeds;
  fmt::print(
      "streams: {} commands answered, {} done, {} refused, {} sent again, {} long after their "
      "answer, {} reads, {} looks at any node, {} checkpoints, {} times files of events\n",
      total.event_commands, total.event_done, total.event_refused, total.event_repeats,
      total.event_replays, total.event_reads, total.looks, total.checkpoints, total.event_files);
  if (one || count < 20) return;
  EXPECT_GT(total.event_done, count * 30);
  EXPECT_GT(total.event_refused, count * 20);
  EXPECT_GT(total.event_repeats, count * 2);
  EXPECT_GT(total.event_replays, count * 5);
  EXPECT_GT(total.event_reads, count * 20);
  EXPECT_GT(total.looks, count * 200);
  EXPECT_GT(total.checkpoints, count * 10);
  EXPECT_GT(total.event_files, count * 5);
  EXPECT_GT(total.installs, count / 10) << "copies of the state";
}

/// A change every few milliseconds, as no operator makes them.
TEST(ReplicationSimulation, NothingIsLostWhereMembersChangeAllTheTime) {
  const Seeds seeds = run_seeds(4, [](uint64_t seed, ClusterOptions& options) {
    options.spares = 2;
    options.change_pause_us = seed % 2 == 0 ? 15000 : 60000;
    options.events = true;
  });
  fmt::print("{} changes of the members\n", seeds.total.changes);
  expect_events(seeds);
  if (!seeds.one) {
    EXPECT_GT(seeds.total.changes, seeds.count * 5);
  }
}

TEST(ReplicationSimulation, NothingIsLostWhereDisksComeBackAllTheTime) {
  const Seeds seeds = run_seeds(
      4, [](uint64_t, ClusterOptions& options) { options.disks = options.events = true; });
  const auto& [first, count, total, one] = seeds;
  fmt::print("{} old disks back, {} put back, {} clones, {} votes given to disks\n",
             total.returned_disks, total.put_back, total.clones, total.replaced);
  expect_events(seeds);
  if (!one && count >= 100) {
    EXPECT_GT(total.clones, count / 10);
    EXPECT_GT(total.returned_disks, count / 10);
    EXPECT_GT(total.put_back, count / 50);
    EXPECT_GT(total.replaced, count / 2);
  }
}

/// What the real server's logic tells clients, where its thread, the applier and the news of the
/// role are late, each by itself.
TEST(ReplicationSimulation, WhatClientsAreToldIsInTheCommittedLog) {
  const Seeds seeds =
      run_seeds(16, [](uint64_t, ClusterOptions& options) { options.servers = true; });
  const auto& [first, count, total, one] = seeds;
  fmt::print("servers: {} commands done, {} of unknown outcome, {} refused, {} reads\n",
             total.served_done, total.served_unknown, total.served_refused, total.served_reads);
  if (!one && count >= 50) {
    EXPECT_GT(total.served_done, count * 50);
    EXPECT_GT(total.served_unknown, count / 4);
    EXPECT_GT(total.served_refused, count * 10);
    EXPECT_GT(total.served_reads, count * 50);
  }
}

TEST(ReplicationSimulation, OneSeedGivesOneHistory) {
  for (const bool events : {false, true}) {
    ClusterOptions options = shape(7);
    options.events = events;
    const Outcome first = Cluster(7, options).run();
    const Outcome second = Cluster(7, options).run();
    EXPECT_TRUE(first == second);
  }
}

/// Each fault must be noticed by some seed, by the sentence that it breaks. Where few seeds do, the
/// search begins not far before one of them: it is the same search, and the sanitizers' builds have
/// time for it.
void expect_caught(const std::function<void(ClusterOptions&)>& inject, const std::string& sentence,
                   uint64_t first_seed = 1) {
  constexpr uint64_t kMostSeeds = 400;
  first_seed = from_environment("TAILRACE_FROM", first_seed);
  std::string others;
  for (uint64_t seed = first_seed; seed < first_seed + kMostSeeds; ++seed) {
    ClusterOptions options = shape(seed);
    inject(options);
    const Outcome outcome = Cluster(seed, options).run();
    if (outcome.violation && outcome.violation->find(sentence) != std::string::npos) {
      fmt::print("noticed after {} seeds\n", seed - first_seed + 1);
      return;
    }
    if (outcome.violation) others += "\n" + *outcome.violation;
  }
  ADD_FAILURE() << "no seed of " << kMostSeeds << " noticed: " << sentence
                << "; but: " << others.substr(0, 4000);
}

TEST(ReplicationSimulation, NoticesCommitsThatCountOldEpochs) {
  expect_caught([](ClusterOptions& o) { o.faults.count_old_epochs = true; },
                "committed counts bytes of an earlier epoch alone");
}
TEST(ReplicationSimulation, NoticesARelayThatPassesOldNewsOnAsFresh) {
  expect_caught([](ClusterOptions& o) { o.faults.relays_as_fresh = true; },
                "calls its state fresher than it is");
}
TEST(ReplicationSimulation, NoticesAClockThatStopsInSuspend) {
  expect_caught([](ClusterOptions& o) { o.clock_stops_in_suspend = true; },
                "calls its state fresher than it is");
}
TEST(ReplicationSimulation, NoticesAFollowerThatObeysAStaleEpoch) {
  expect_caught([](ClusterOptions& o) { o.faults.accept_stale_epoch = true; }, "below its promise");
}
TEST(ReplicationSimulation, NoticesAcknowledgementsBeforeThePromiseIsOnDisk) {
  expect_caught([](ClusterOptions& o) { o.faults.ack_before_promise = true; },
                "seals an epoch it has not promised");
}
TEST(ReplicationSimulation, NoticesAWriteThatIsAppliedTwice) {
  expect_caught([](ClusterOptions& o) { o.retry_as_new = true; },
                "no order of all operations explains");
}
TEST(ReplicationSimulation, NoticesCommitsByAMinority) {
  expect_caught([](ClusterOptions& o) { o.faults.minority_commits = true; },
                "committed without a majority");
}
TEST(ReplicationSimulation, NoticesALeaderThatCountsItselfBeforeItsFsync) {
  expect_caught([](ClusterOptions& o) { o.faults.counts_unflushed = true; },
                "committed without a majority");
}
TEST(ReplicationSimulation, NoticesAFollowerThatAcknowledgesBeforeItsFsync) {
  expect_caught([](ClusterOptions& o) { o.fsync_lies = true; }, "acknowledges what is not durable");
}

TEST(ReplicationSimulation, NoticesALogChosenByItsLengthAlone) {
  expect_caught([](ClusterOptions& o) { o.faults.choose_by_address = true; },
                "leads without what was committed", 200);
}
TEST(ReplicationSimulation, NoticesALeaderThatDoesNotFetchWhatOthersHold) {
  expect_caught([](ClusterOptions& o) { o.faults.skip_fetch = true; },
                "leads without what was committed");
}
TEST(ReplicationSimulation, NoticesALeaderOfTooFewPromises) {
  expect_caught([](ClusterOptions& o) { o.faults.seal_by_minority = true; },
                "leads without what was committed");
}
TEST(ReplicationSimulation, NoticesALeaderOfThePromisesOfMembersBefore) {
  expect_caught(
      [](ClusterOptions& o) {
        o.spares = 2;
        o.change_pause_us = 15000;
        o.faults.old_members_seal = true;
      },
      "leads without what was committed", 330);
}
TEST(ReplicationSimulation, NoticesMembersThatChangeBeforeTheLastChangeIsCommitted) {
  expect_caught(
      [](ClusterOptions& o) {
        o.spares = 2;
        o.change_pause_us = 60000;
        o.faults.changes_overlap = true;
      },
      "leads without what was committed", 350);
}
TEST(ReplicationSimulation, NoticesMembersThatChangeBeforeTheEpochIsCommitted) {
  expect_caught(
      [](ClusterOptions& o) {
        o.spares = 2;
        o.change_pause_us = 60000;
        o.faults.changes_early = true;
      },
      "leads without what was committed", 400);
}
TEST(ReplicationSimulation, NoticesAVoteOfADiskThatRemembersNothing) {
  expect_caught([](ClusterOptions& o) { o.faults.votes_without_memory = true; },
                "leads without what was committed", 440);
}
TEST(ReplicationSimulation, NoticesVotesByNumber) {
  expect_caught([](ClusterOptions& o) { o.disks = o.faults.votes_by_number = true; },
                "leads without what was committed", 800);
}
TEST(ReplicationSimulation, NoticesASealForACopyBesideItsOriginal) {
  expect_caught([](ClusterOptions& o) { o.disks = o.faults.seals_for_doubted = true; },
                "two lives write in one epoch", 100);
}
TEST(ReplicationSimulation, NoticesAVoteThatChangesDisksInOneRecord) {
  expect_caught([](ClusterOptions& o) { o.faults.replaces_at_once = true; },
                "two voters change at once");
}
TEST(ReplicationSimulation, NoticesADiskPutBackThatNobodyRemembers) {
  expect_caught([](ClusterOptions& o) { o.disks = o.faults.forgets_lives = true; },
                "leads without what was committed", 360);
}
TEST(ReplicationSimulation, NoticesAnEpochOfTwoLives) {
  expect_caught(
      [](ClusterOptions& o) {
        o.nodes = 5;
        o.learners = o.spares = 0;
        o.disks = o.faults.epoch_for_two_lives = true;
      },
      "a leader reuses an epoch");
}
TEST(ReplicationSimulation, NoticesAnIdentityThatIsBelievedBeforeItIsCommitted) {
  expect_caught([](ClusterOptions& o) { o.faults.believes_identity_early = true; },
                "keep different identities");
}
TEST(ReplicationSimulation, NoticesAVersionThatNotAllKnow) {
  expect_caught([](ClusterOptions& o) { o.upgrades = o.faults.raises_early = true; },
                "goes over to a version that node");
}
TEST(ReplicationSimulation, NoticesALogThatWasNotCompared) {
  expect_caught([](ClusterOptions& o) { o.faults.skip_log_check = true; }, "");
}
TEST(ReplicationSimulation, NoticesAReadOfALeaderThatDidNotAsk) {
  expect_caught([](ClusterOptions& o) { o.faults.confirms_alone = true; },
                "a linearizable read misses", 590);
}
TEST(ReplicationSimulation, NoticesAnAnswerThatIsMatchedByItsAddressAlone) {
  expect_caught(
      [](ClusterOptions& o) {
        o.servers = true;
        o.answers.by_address_alone = true;
      },
      "a client was told \"done\" of a record that is not committed", 2813);
}
TEST(ReplicationSimulation, NoticesAReadThatNamesTheEpochOfItsNode) {
  expect_caught(
      [](ClusterOptions& o) {
        o.servers = true;
        o.names_node_epoch = true;
      },
      "a read's answer is not of the state that it names");
}
/// With clients of streams, and a fault in what a node makes of their commands.
void expect_caught_by_events(bool EventFaults::*fault, const std::string& sentence) {
  expect_caught(
      [&](ClusterOptions& o) {
        o.events = true;
        o.event_faults.*fault = true;
      },
      sentence);
}
TEST(ReplicationSimulation, NoticesAnAppendThatIgnoresTheVersionItExpects) {
  expect_caught_by_events(&EventFaults::ignores_versions, "than it expected");
}
TEST(ReplicationSimulation, NoticesACheckpointThatForgetsWhatWasSent) {
  expect_caught_by_events(&EventFaults::forgets_ids, "an event stands twice");
}
TEST(ReplicationSimulation, NoticesARepeatThatIsNotAnsweredAsTheFirst) {
  expect_caught_by_events(&EventFaults::forgets_ids, "sent again");
}
TEST(ReplicationSimulation, NoticesAFileWithEventsOfATransactionThatFailed) {
  expect_caught_by_events(&EventFaults::ignores_outcomes, "an event that the stream does not have");
}
TEST(ReplicationSimulation, NoticesHalfOfATransactionInACheckpoint) {
  expect_caught_by_events(&EventFaults::halves, "shows half of a transaction");
}
TEST(ReplicationSimulation, NoticesALogTruncatedBeforeItsEventsAreInFiles) {
  expect_caught_by_events(&EventFaults::truncates_early, "have a hole before version");
}
TEST(ReplicationSimulation, NoticesAPromiseThatACrashTakesBack) {
  expect_caught([](ClusterOptions& o) { o.promise_lies = true; }, "");
}

}  // namespace
}  // namespace tailrace::simulation
