// Nodes apply the same log to the same state, whatever their files and their clocks say. Every key
// that may differ between nodes is drawn at random for each of them, and again at each restart.

#include <gtest/gtest.h>

#include "harness.h"
#include "tests/statemachine/txn/txn_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr int kNodes = 3, kRounds = 6, kCommands = 40;

/// None at first, then so few that they are exceeded all the time.
std::optional<SessionLimits> draw_limits(Random& random) {
  if (random.chance(2, 3)) return std::nullopt;
  return SessionLimits{static_cast<uint32_t>(random.between(1, 8)),
                       static_cast<uint32_t>(random.between(1, 3)), random.between(1, 2000)};
}

/// Clients of sessions, with repeats of anything that they have ever sent; keys that expire; rules.
class Load {
 public:
  explicit Load(Random& random) : random_(random) {}

  OwnedCommand next(uint64_t log_time_ns) {
    if (!sent_.empty() && random_.chance(1, 5)) return sent_[random_.below(sent_.size())];
    const std::string key = "k" + std::to_string(random_.below(20));
    OwnedCommand command;
    switch (random_.below(12)) {
      case 0: {
        Rules rules{random_.between(1, 5000) * 1'000'000'000,
                    static_cast<uint32_t>(random_.between(1, 4)),
                    static_cast<uint32_t>(random_.between(1, 100)), draw_limits(random_)};
        rules.positions = random_.chance(1, 2);
        return set_rules(rules);
      }
      case 1:
        return expire(key, log_time_ns + random_.below(7200) * 1'000'000'000);
      case 2:
        command = expiring(log_time_ns + random_.below(7200) * 1'000'000'000, put(key, "timed"));
        break;
      case 3:
        command = cas(key, "1", "2");
        break;
      case 4:
        command = erase(key);
        break;
      case 5:
        command = put(key, std::string(random_.below(3000), 'x'));
        break;
      case 6:
        command = insert(key, "1");
        break;
      case 7:
      case 8:
        command = txn(key, log_time_ns);
        break;
      default:
        command = add(key + "n", 1);
    }
    const uint64_t client = random_.below(8);
    command = in_session(client, ++serials_[client], std::move(command));
    if (command.session->serial == 1 && random_.chance(3, 4))
      command.session->begins_before_ns = log_time_ns + random_.below(4000) * 1'000'000'000;
    if (random_.chance(1, 12)) serials_[client] = 0;  // a client that begins anew
    sent_.push_back(command);
    return command;
  }

 private:
  /// An append to one of a few streams, of which half is sent again by its ids, beside a key; and
  /// now and then something else of the stream.
  OwnedCommand txn(const std::string& key, uint64_t log_time_ns) {
    const std::string stream = "s" + std::to_string(random_.below(4));
    Txn txn;
    if (random_.chance(1, 2))
      txn.once = OnceKey{0, random_.below(40), random_.between(1, 7200) * 1'000'000'000};
    txn.checks = {{.kind = CheckKind::kKeyAbsent, .name = as_bytes(key)}};
    txn.otherwise = {{.kind = TxnEffectKind::kAdd, .name = as_bytes(key), .delta = 1}};
    TxnEffect append{.kind = TxnEffectKind::kAppend, .name = as_bytes(stream)};
    const auto first = static_cast<uint8_t>(random_.below(200));
    for (uint64_t i = 0, events = random_.between(1, 12); i < events; ++i)
      txn.add_event(append, {.id = event_id(static_cast<uint8_t>(first + i))});
    txn.then = {append,
                {.kind = TxnEffectKind::kPut,
                 .name = as_bytes(key),
                 .value = as_bytes("1"),
                 .expires_at_ns = random_.below(2) * 60'000'000'000}};
    const TxnEffect others[] = {
        {.kind = TxnEffectKind::kPolicy, .name = as_bytes(stream), .max_count = 7, .dedupe = 9},
        {.kind = TxnEffectKind::kDeleteStream, .name = as_bytes(stream)}};
    if (random_.chance(1, 3)) txn.otherwise.push_back(others[random_.below(2)]);
    return txn_command(txn, log_time_ns + 1);
  }

  Random& random_;
  uint64_t serials_[8] = {};
  std::vector<OwnedCommand> sent_;
};

/// A node with its own copy of the log.
class Follower {
 public:
  Follower(testing::FaultFileSystem& disk, int number, Random& random)
      : disk_(disk), root_("/follower" + std::to_string(number)), random_(random) {
    log_options_ = small_log(root_ / "log");
    log_options_.segment_bytes = uint64_t{64 << 10} << random.below(3);
    store_options_ = small_store(root_ / "kv");
    store_options_.page_bytes = uint32_t{128 << 10} << random.below(2);
    store_options_.segment_bytes = uint64_t{256 << 10} << random.below(2);
    store_options_.index_buckets = uint64_t{64} << random.below(4);
  }
  ~Follower() { close(); }

  void close() {
    listener_.reset();
    replica_.reset();
    log_.reset();
  }

  void open() {
    close();
    draw();
    auto log = fasterlog::Log::open(disk_, log_options_, clock_);
    ASSERT_TRUE(log) << log.error().message;
    log_ = std::move(*log);
    ASSERT_TRUE(log_->become_copy());
    auto replica = Replica::open(disk_, *log_, store_options_, machine_options_, clock_);
    ASSERT_TRUE(replica) << replica.error().message;
    replica_ = std::move(*replica);
    replica_->anchors.set("retention", Address{0});
    replica_->machine().start();
  }
  /// Everything that is durable there is copied and applied here.
  void copy(fasterlog::Log& from) {
    std::vector<std::byte> bytes;
    while (log_->tail() < from.durable()) {
      ASSERT_TRUE(from.read_raw(log_->tail(), 48u << 10, bytes));
      const auto taken = log_->try_append_raw(log_->tail(), bytes);
      if (!taken && taken.error().code == ErrorCode::kWouldBlock) {
        ASSERT_TRUE(log_->wait_durable(log_->tail(), soon()));
        continue;
      }
      ASSERT_TRUE(taken) << taken.error().message;
    }
    ASSERT_TRUE(log_->wait_durable(log_->tail(), soon()));
    const auto applied = replica_->apply_to(log_->durable());
    ASSERT_TRUE(applied) << applied.error().message;
  }
  void live() {
    clock_.advance(Nanoseconds(hours(random_.below(1000))));
    if (random_.chance(1, 2)) {
      ASSERT_TRUE(wait(request_checkpoint(replica_->machine())));
    }
    if (random_.chance(1, 2)) open();
  }
  Replica& replica() { return *replica_; }

 private:
  void draw() {
    log_options_.buffer_pages = 4u << random_.below(2);
    log_options_.flushes_in_flight = static_cast<uint32_t>(random_.between(1, 4));
    log_options_.overlap_bytes = random_.chance(1, 2) ? 0 : 64u << 10;
    log_options_.spare_segments = static_cast<uint32_t>(random_.below(4));
    log_options_.commit = random_.chance(1, 2)
                              ? fasterlog::CommitPolicy::natural()
                              : fasterlog::CommitPolicy::each(4096, std::chrono::microseconds(50));
    store_options_.memory_bytes = uint64_t{1 << 20} << random_.below(2);
    store_options_.disk_bytes = uint64_t{8 << 20} << random_.below(2);
    store_options_.mutable_fraction = 0.3 + 0.1 * static_cast<double>(random_.below(6));
    store_options_.checkpoints_kept = static_cast<uint32_t>(random_.between(1, 3));
    store_options_.copy_reads_to_tail = random_.chance(1, 2);
    machine_options_ = quiet();
    machine_options_.checkpoint_log_bytes = random_.chance(1, 2) ? 0 : 16u << 10;
    machine_options_.retention_bytes = random_.below(64u << 10);
    machine_options_.session_ttl = seconds(random_.between(1, 100'000));
    machine_options_.session_answers = static_cast<uint32_t>(random_.between(1, 2000));
    machine_options_.session_limits.sessions = static_cast<uint32_t>(random_.between(1, 2000));
    machine_options_.store_reserve_bytes = random_.below(1u << 20);
    machine_options_.digest_bytes_per_s = random_.below(2) * (16u << 20);
    constexpr kv::CheckpointKind kKinds[] = {kv::CheckpointKind::kFoldOver,
                                             kv::CheckpointKind::kSnapshot,
                                             kv::CheckpointKind::kIncremental};
    machine_options_.checkpoint_kind = kKinds[random_.below(3)];
    const auto horizon = std::make_shared<ExpiryHorizon>();
    if (random_.chance(1, 2)) machine_options_.expiry_horizon = horizon;
    store_options_.is_garbage = [horizon](ByteSpan key, ByteSpan value) {
      return horizon->is_garbage(key, value);
    };
  }

  testing::FaultFileSystem& disk_;
  const storage::Path root_;
  Random& random_;
  ManualClock clock_;  // its own
  fasterlog::LogOptions log_options_;
  kv::StoreOptions store_options_;
  StateMachineOptions machine_options_;
  fasterlog::Log::ListenerHandle listener_;
  std::unique_ptr<fasterlog::Log> log_;
  std::unique_ptr<Replica> replica_;
};

/// At one address. A node that compacts at that moment digests beside what it applies, or not at
/// all: then another address is asked for.
std::vector<StateDigest> digests_of_all(fasterlog::Log& log,
                                        std::vector<std::unique_ptr<Follower>>& followers) {
  std::vector<StateDigest> digests;
  for (int attempt = 0; attempt < 50 && digests.size() < followers.size(); ++attempt) {
    digests.clear();
    const auto asked = append(log, digest());
    EXPECT_TRUE(asked && log.wait_durable(log.tail(), soon()));
    for (auto& follower : followers) {
      follower->copy(log);
      if (::testing::Test::HasFatalFailure()) return {};
      auto sum = follower->replica().machine().digest_at(asked->end);
      while (!sum && sum.error().code == ErrorCode::kWouldBlock)
        sum = follower->replica().machine().digest_at(asked->end);
      if (sum) digests.push_back(*sum);
    }
  }
  return digests;
}

void run(uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  testing::FaultFileSystem disk{seed};
  ManualClock clock;
  auto log = fasterlog::Log::open(disk, small_log("/leader"), clock);
  ASSERT_TRUE(log) << log.error().message;
  ASSERT_TRUE((*log)->become_writer(Epoch{1}));
  std::vector<std::unique_ptr<Follower>> followers;
  for (int i = 0; i < kNodes; ++i) {
    followers.push_back(std::make_unique<Follower>(disk, i, random));
    followers.back()->open();
  }
  Load load(random);
  ASSERT_TRUE(append(**log, set_rules({100'000'000'000, 3, 90})));
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kCommands; ++i) {
      clock.advance(seconds(random.chance(1, 10) ? random.below(9000) : random.below(5)));
      auto range = append(**log, load.next(clock.unix_time_ns()));
      ASSERT_TRUE(range) << range.error().message;
      if (random.chance(1, 3)) {
        ASSERT_TRUE((*log)->wait_durable(range->end, soon()));
      }
    }
    const auto digests = digests_of_all(**log, followers);
    ASSERT_EQ(digests.size(), followers.size());
    for (const StateDigest& sum : digests) {
      EXPECT_EQ(sum.pairs, digests.front().pairs) << "round " << round;
      EXPECT_EQ(sum.high, digests.front().high) << "round " << round;
      EXPECT_EQ(sum.low, digests.front().low) << "round " << round;
    }
    for (auto& follower : followers)
      follower->live();
    if (::testing::Test::HasFailure()) return;
  }
}

// Replays one seed: TAILRACE_SEED=…
TEST(SameState, NodesWithDifferentFilesAndClocksComeToTheSameDigest) {
  const uint64_t from = from_environment("TAILRACE_SEED", 1);
  const uint64_t seeds = from_environment("TAILRACE_SEEDS", kSanitized ? 2 : 8);
  for (uint64_t seed = from; seed < from + seeds && !HasFailure(); ++seed)
    run(seed);
}

}  // namespace
}  // namespace tailrace::statemachine
