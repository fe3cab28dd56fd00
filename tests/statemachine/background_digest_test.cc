// Digests beside the applier: of the one address that they are asked for, or none.

#include <thread>

#include <gtest/gtest.h>

#include "core/random.h"
#include "harness.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

/// Both digests of the same state: nothing stands between the two records of a batch.
struct Asked {
  Address background, foreground;
};

Result<Asked> ask(fasterlog::Log& log) {
  std::vector<std::byte> compare, foreground;
  Command command;
  command.operation = Operation::kCompare;
  encode(command, compare);
  command.operation = Operation::kDigest;
  encode(command, foreground);
  const std::vector<fasterlog::RecordView> records = {{kCommandRecord, compare},
                                                      {kCommandRecord, foreground}};
  std::vector<Address> addresses;
  auto range = log.enqueue_batch(records, soon(), &addresses);
  if (!range) return tl::unexpected(range.error());
  return Asked{addresses[1], range->end};
}

class BackgroundDigests : public ::testing::Test {
 protected:
  void open() {
    auto opened = Node::open(disk_, options_);
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
  }
  Result<Asked> ask_and_apply() {
    auto asked = ask(node_->log());
    if (!asked) return asked;
    TAILRACE_RETURN_IF_ERROR(node_->log().wait_durable(asked->foreground, soon()));
    TAILRACE_RETURN_IF_ERROR(node_->machine().wait_applied(asked->foreground, soon()));
    return asked;
  }
  /// What came of it in the end: kNotFound when it was skipped.
  Result<StateDigest> settled(Address address) {
    for (;;) {
      auto digest = node_->machine().digest_at(address);
      if (digest || digest.error().code != ErrorCode::kWouldBlock) return digest;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  /// True when there is one, and it is right.
  bool agrees(const Asked& asked) {
    const auto background = settled(asked.background);
    // The other one is at once, unless the state is large or is being compacted.
    const auto foreground = settled(asked.foreground);
    for (const auto* one : {&background, &foreground})
      EXPECT_TRUE(*one || one->error().code == ErrorCode::kNotFound);
    if (!background || !foreground) return false;
    EXPECT_EQ(background->address, asked.background);
    EXPECT_EQ(background->pairs, foreground->pairs);
    EXPECT_EQ(background->high, foreground->high) << "at " << asked.background.value;
    EXPECT_EQ(background->low, foreground->low);
    return true;
  }
  void write_until(const std::atomic<bool>& stop) {
    Random random(7);
    std::map<uint64_t, uint64_t> serials;
    for (int i = 0; !stop.load(); ++i) {
      const std::string key = "k" + std::to_string(random.below(500));
      OwnedCommand command = random.chance(1, 4) ? erase(key) : put(key, std::string(i % 300, 'v'));
      if (random.chance(1, 8))
        command =
            expiring(system_clock().unix_time_ns() + random.below(50'000'000), put(key, "briefly"));
      if (random.chance(1, 3)) {
        const uint64_t client = random.below(5);
        command = in_session(client, ++serials[client], add("n" + std::to_string(client), 1));
      }
      ASSERT_TRUE(append(node_->log(), command));
      if (i % 50 == 0) {
        ASSERT_TRUE(node_->settle());
      }
    }
  }

  testing::FaultFileSystem disk_{1};
  ManualClock clock_;
  Node::Options options_;
  std::unique_ptr<Node> node_;
};

TEST_F(BackgroundDigests, AreThoseOfTheirAddressWhileCommandsGoOn) {
  open();
  std::atomic<bool> stop{false};
  std::thread writer([&] { write_until(stop); });
  int right = 0;
  const int rounds = kSanitized ? 10 : 40;
  for (int round = 0; round < rounds; ++round) {
    const auto asked = ask_and_apply();
    ASSERT_TRUE(asked) << asked.error().message;
    right += agrees(*asked);
  }
  stop.store(true);
  writer.join();
  EXPECT_GE(right, rounds / 2) << "of a busy machine's some may come too late, and are skipped";
  const DigestProgress progress = node_->machine().digest_progress();
  EXPECT_FALSE(progress.running);
  ASSERT_TRUE(progress.newest);
  EXPECT_LE(progress.newest->address, progress.asked);
}

// A checkpoint, a compaction or a user's scan at that moment may cost a digest. None may be wrong,
// and nothing may wait for another for ever.
TEST_F(BackgroundDigests, AreRightOrSkippedBesideCheckpointsCompactionAndScans) {
  options_.machine.digest_bytes_per_s = 0;  // or the state grows faster than it is read
  open();
  std::atomic<bool> stop{false};
  std::thread writer([&] { write_until(stop); });
  std::thread checkpoints([&] {
    while (!stop.load()) {
      EXPECT_TRUE(node_->checkpoint());
      const auto extent = node_->machine().store_status().log;
      (void)node_->replica().store().compact(extent.read_only);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  std::thread scans([&] {
    while (!stop.load()) {
      auto scan = node_->machine().start_scan(as_bytes("k"));
      ASSERT_TRUE(scan) << scan.error().message;
      while (*(*scan)->next(100, 1u << 20, [](ByteSpan, ByteSpan) {})) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  int right = 0;
  // As many rounds as it takes on a slow disk, where most of the time is a checkpoint's.
  const auto began = std::chrono::steady_clock::now();
  for (int round = 0; right == 0 || round < (kSanitized ? 10 : 40); ++round) {
    const auto passed = std::chrono::steady_clock::now() - began;
    if (passed > std::chrono::seconds(right > 0 ? 10 : 60)) break;
    const auto asked = ask_and_apply();
    ASSERT_TRUE(asked) << asked.error().message;
    right += agrees(*asked);
    std::this_thread::sleep_for(std::chrono::milliseconds(round % 7));
  }
  stop.store(true);
  writer.join();
  checkpoints.join();
  scans.join();
  EXPECT_GT(right, 0);
}

// All nodes digest the same address: what they are compared by.
TEST_F(BackgroundDigests, OfTwoNodesAgree) {
  open();
  auto other = Replica::open(disk_, node_->log(), small_store("/other"), quiet());
  ASSERT_TRUE(other);
  (*other)->machine().start();
  for (int i = 0; i < 50; ++i)
    ASSERT_TRUE(node_->run(put("k" + std::to_string(i % 20), std::string(i, 'v'))));
  const auto asked = ask_and_apply();
  ASSERT_TRUE(asked);
  ASSERT_TRUE(node_->settle());
  ASSERT_TRUE((*other)->apply_to(node_->replica().watermarks.applied()));
  const auto mine = settled(asked->background);
  ASSERT_TRUE(mine);
  auto theirs = (*other)->machine().digest_at(asked->background);
  while (!theirs && theirs.error().code == ErrorCode::kWouldBlock)
    theirs = (*other)->machine().digest_at(asked->background);
  ASSERT_TRUE(theirs) << theirs.error().message;
  EXPECT_EQ(theirs->high, mine->high);
  EXPECT_EQ(theirs->low, mine->low);
}

// One at a time, and the end of the process waits for none.
TEST_F(BackgroundDigests, WhatIsAskedForWhileOneRunsIsSkipped) {
  options_.machine.digest_bytes_per_s = 1024;
  open();
  for (int i = 0; i < 400; ++i)
    ASSERT_TRUE(append(node_->log(), put("k" + std::to_string(i), std::string(4000, 'v'))));
  const auto runs = [this](const Asked& asked) {
    const auto digest = node_->machine().digest_at(asked.background);
    return !digest && digest.error().code == ErrorCode::kWouldBlock;
  };
  // A checkpoint or a compaction of what was just written may cost the first ones.
  auto first = ask_and_apply();
  for (int tries = 0; tries < 1000 && first && !runs(*first); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    first = ask_and_apply();
  }
  ASSERT_TRUE(first);
  ASSERT_TRUE(runs(*first));
  EXPECT_FALSE(node_->machine().digest_progress().moved);
  ASSERT_TRUE(node_->run(put("k", "v")));
  EXPECT_TRUE(node_->machine().digest_progress().moved);
  const auto second = ask_and_apply();
  ASSERT_TRUE(second);
  EXPECT_EQ(node_->machine().digest_at(second->background).error().code, ErrorCode::kNotFound);
  const DigestProgress progress = node_->machine().digest_progress();
  EXPECT_TRUE(progress.running);
  EXPECT_FALSE(progress.newest);
  EXPECT_EQ(progress.asked, second->background);
  const auto began = std::chrono::steady_clock::now();
  node_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
}

// Of a large state a requested one runs beside the applier, too, and takes the place of a
// comparison; another request has to wait for its turn.
TEST_F(BackgroundDigests, ARequestOfALargeStateStopsNobodyAndGoesFirst) {
  options_.machine.digest_bytes_per_s = 64u << 10;
  open();
  auto other = Replica::open(disk_, node_->log(), small_store("/other"), quiet());
  ASSERT_TRUE(other);
  (*other)->machine().start();
  for (int i = 0; i < 1300; ++i)
    ASSERT_TRUE(append(node_->log(), put("k" + std::to_string(i), std::string(4000, 'v'))));
  const auto computes = [this](Address at) {
    const auto digest = node_->machine().digest_at(at);
    return !digest && digest.error().code == ErrorCode::kWouldBlock;
  };
  const auto runs = [&](Address at) {
    return computes(at) && node_->machine().digest_progress().requested;
  };
  // On a busy machine one may come too late, and is skipped.
  auto asked = ask_and_apply();
  for (int i = 0; i < 1000 && asked && !runs(asked->foreground); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    asked = ask_and_apply();
  }
  ASSERT_TRUE(asked);
  EXPECT_EQ(settled(asked->background).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(computes(asked->foreground));
  ASSERT_TRUE(node_->run(put("k", "v"))) << "applying goes on";
  EXPECT_TRUE(node_->machine().digest_progress().requested);
  const auto second = node_->run(digest());
  ASSERT_TRUE(second);
  EXPECT_EQ(node_->machine().digest_at(second->first.end).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(node_->machine().digest_at(asked->foreground).error().code, ErrorCode::kWouldBlock);

  // No further: a mark of the time behind it changes the state.
  ASSERT_TRUE((*other)->apply_to(second->first.end));
  auto theirs = (*other)->machine().digest_at(second->first.end);
  while (!theirs && theirs.error().code == ErrorCode::kWouldBlock)
    theirs = (*other)->machine().digest_at(second->first.end);
  if (theirs) {
    const StateDigest now = (*other)->state_digest();
    ASSERT_EQ(now.address, theirs->address);
    EXPECT_EQ(theirs->pairs, now.pairs);
    EXPECT_EQ(theirs->high, now.high);
    EXPECT_EQ(theirs->low, now.low);
  }
}

// The log time is that of the address: a key that expires while its state is read counts, also when
// compaction could have dropped it meanwhile.
TEST_F(BackgroundDigests, CountWhatHadNotExpiredAtTheirAddress) {
  options_.clock = &clock_;
  options_.machine.digest_bytes_per_s = 1u << 20;
  const auto horizon = std::make_shared<ExpiryHorizon>();
  options_.machine.expiry_horizon = horizon;
  options_.store.is_garbage = [horizon](ByteSpan key, ByteSpan value) {
    return horizon->is_garbage(key, value);
  };
  open();
  const uint64_t soon_ns = clock_.unix_time_ns() + 10'000'000'000;
  for (int i = 0; i < 400; ++i) {
    const auto key = "k" + std::to_string(i);
    ASSERT_TRUE(append(node_->log(), expiring(soon_ns, put(key, std::string(4000, 'v')))));
  }
  ASSERT_TRUE(node_->run(put("stays", "v")));
  // One that comes too late, on a busy machine, is skipped: that is soon known.
  auto before = ask_and_apply();
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ASSERT_TRUE(before);
    const auto running = node_->machine().digest_at(before->background);
    ASSERT_FALSE(running) << "it is over before anything expires";
    if (running.error().code == ErrorCode::kWouldBlock) break;
    before = ask_and_apply();
  }
  clock_.advance(std::chrono::seconds(20));
  ASSERT_TRUE(node_->run(event("tick", "")));
  ASSERT_TRUE(node_->settle());
  ASSERT_TRUE(node_->checkpoint());
  (void)node_->replica().store().compact(node_->machine().store_status().log.read_only);
  EXPECT_TRUE(agrees(*before));
  EXPECT_GT(settled(before->background)->pairs, 400u);
  auto after = ask_and_apply();
  for (int i = 0; i < 20 && after && !settled(after->background); ++i)
    after = ask_and_apply();
  ASSERT_TRUE(after);
  EXPECT_TRUE(agrees(*after));
  EXPECT_LT(settled(after->background)->pairs, 10u);
}

}  // namespace
}  // namespace tailrace::statemachine
