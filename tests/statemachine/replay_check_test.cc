// The state of the log equals the state of a checkpoint and the rest of the log, at random places.
// TAILRACE_SEED=N replays one log, TAILRACE_SEEDS=N tries so many.

#include <cstdio>

#include <gtest/gtest.h>

#include "core/random.h"
#include "harness.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;

constexpr uint64_t kSeeds = kSanitized ? 6 : 60;

StateMachineOptions machine_options() {
  StateMachineOptions options = quiet();
  options.session_ttl = std::chrono::hours(1);
  options.session_answers = 8;
  return options;
}

OwnedCommand random_command(Random& random, uint64_t now_ns,
                            std::map<uint64_t, uint64_t>& serials) {
  const std::string key = "k" + std::to_string(random.below(20));
  const std::string small = std::to_string(random.below(3));
  OwnedCommand command;
  switch (random.below(9)) {
    case 0:
      command = erase(key);
      break;
    case 1:
    case 2:
      command = add(key, static_cast<int64_t>(random.below(100)) - 50);
      break;
    case 3:
      command = cas(key, small, std::to_string(random.below(3)));
      break;
    case 4:
      command = event(key, "e");
      break;
    case 5:
      command = put(key, std::string(random.below(6000), 'v'));
      break;
    case 6:
      command = insert(key, small);
      break;
    default:
      command = put(key, small);
  }
  if (random.chance(2, 3)) {
    const uint64_t client = random.below(8);
    uint64_t serial = serials[client];
    // Mostly the next one; else a replay, a gap or a new beginning, whether or not it fits.
    if (random.chance(7, 10)) {
      serial = ++serials[client];
    } else if (random.chance(1, 3)) {
      serial = serials[client] = 1;
    } else {
      serial = 1 + random.below(serial + 3);
    }
    command.session = SessionSerial{{0, client}, serial};
    if (serial == 1 && random.chance(1, 2))
      command.session->begins_before_ns = now_ns + random.below(7200) * 1'000'000'000;
  }
  return command;
}

OwnedCommand random_rules(Random& random) {
  Rules rules{random.between(60, 7200) * 1'000'000'000,
              static_cast<uint32_t>(random.between(1, 8))};
  if (random.chance(1, 2))
    rules.limits =
        SessionLimits{static_cast<uint32_t>(random.between(1, 8)),
                      static_cast<uint32_t>(random.between(1, 3000)), random.between(200, 10'000)};
  return set_rules(rules);
}

/// A log of some hundred commands in batches of chance, with pauses short and long between them.
/// Returns the ends of its records.
std::vector<Address> write_log(fasterlog::Log& log, ManualClock& clock, Random& random) {
  std::map<uint64_t, uint64_t> serials;
  // Half of the logs have rules, and get limits sooner or later.
  const bool rules = random.chance(1, 2);
  EXPECT_TRUE(log.become_writer(Epoch{1}));
  const uint64_t count = 150 + random.below(250);
  for (uint64_t i = 0; i < count; ++i) {
    const auto range = append(log, rules && random.chance(1, 50)
                                       ? random_rules(random)
                                       : random_command(random, clock.unix_time_ns(), serials));
    EXPECT_TRUE(range.has_value());
    if (!random.chance(1, 3)) continue;
    EXPECT_TRUE(log.wait_durable(range->end, soon()).has_value());
    const uint64_t most = random.chance(1, 20) ? 7200 : random.chance(1, 4) ? 300 : 2;
    clock.advance(std::chrono::seconds(random.below(most)));
  }
  EXPECT_TRUE(log.wait_durable(log.tail(), soon()));
  std::vector<Address> ends;
  const auto scanner = log.scan(log.begin(), {.with_commit_marks = true});
  for (;;) {
    const auto record = scanner->next(Address::max());
    EXPECT_TRUE(record.has_value());
    if (!record || !*record) return ends;
    ends.push_back((*record)->end);
  }
}

class Replay {
 public:
  explicit Replay(uint64_t seed) : random_(seed), log_disk_(seed), store_disk_(seed + 1) {}

  void run() {
    auto log = fasterlog::Log::open(log_disk_, small_log("/log"), clock_);
    ASSERT_TRUE(log) << log.error().message;
    log_ = std::move(*log);
    const std::vector<Address> ends = write_log(*log_, clock_, random_);
    ASSERT_FALSE(::testing::Test::HasFailure());
    std::vector<Address> cuts;
    for (int i = 0; i < 8; ++i)
      cuts.push_back(ends[random_.below(ends.size())]);
    cuts.push_back(ends.back());
    std::sort(cuts.begin(), cuts.end());

    ASSERT_NO_FATAL_FAILURE(open(whole_disk_, whole_));
    for (const Address cut : cuts) {
      ASSERT_TRUE(whole_->apply_to(cut));
      const StateDigest expected = whole_->state_digest();
      ASSERT_NO_FATAL_FAILURE(step_to(cut));
      const StateDigest found = parted_->state_digest();
      ASSERT_EQ(found.address, expected.address);
      ASSERT_EQ(found.pairs, expected.pairs) << "at address " << cut.value;
      ASSERT_EQ(found.high, expected.high) << "at address " << cut.value;
      ASSERT_EQ(found.low, expected.low) << "at address " << cut.value;
      ASSERT_EQ(parted_->machine().session_count(), whole_->machine().session_count());
      most_sessions_ = std::max(most_sessions_, whole_->machine().session_count());
    }
    ASSERT_GT(most_sessions_, 0u) << "a log that proves little";
  }

 private:
  void open(FaultFileSystem& disk, std::unique_ptr<Replica>& into) {
    auto opened = Replica::open(disk, *log_, small_store("/kv"), machine_options(), clock_);
    ASSERT_TRUE(opened) << opened.error().message;
    into = std::move(*opened);
    into->anchors.set("transfer:test", Address{0});  // the log is needed whole
    into->machine().start();
  }

  /// Goes to `cut` with what may happen on the way: a checkpoint while commands are applied, a
  /// crash.
  void step_to(Address cut) {
    if (!parted_) {
      ASSERT_NO_FATAL_FAILURE(open(store_disk_, parted_));
    }
    std::future<Result<Address>> taken;
    const bool checkpoint = random_.chance(2, 3);
    const bool early = random_.chance(1, 2);
    if (checkpoint && early) taken = request_checkpoint(parted_->machine());
    ASSERT_TRUE(parted_->apply_to(cut));
    if (checkpoint && !early) taken = request_checkpoint(parted_->machine());
    if (checkpoint) {
      const auto point = wait(std::move(taken));
      ASSERT_TRUE(point) << point.error().message;
      ASSERT_LE(*point, cut);
    }
    if (!random_.chance(2, 3)) return;
    parted_.reset();
    store_disk_.crash(CrashPolicy::kRandom);
    ASSERT_NO_FATAL_FAILURE(open(store_disk_, parted_));
    ASSERT_TRUE(parted_->apply_to(cut));
  }

  Random random_;
  ManualClock clock_;
  FaultFileSystem log_disk_, store_disk_, whole_disk_{1};
  std::unique_ptr<fasterlog::Log> log_;
  std::unique_ptr<Replica> whole_, parted_;
  uint64_t most_sessions_ = 0;
};

TEST(ReplayCheck, ACheckpointAndTheRestOfTheLogGiveTheStateOfTheLog) {
  const bool one = std::getenv("TAILRACE_SEED") != nullptr;
  const uint64_t first = from_environment("TAILRACE_SEED", 1);
  const uint64_t count = one ? 1 : from_environment("TAILRACE_SEEDS", kSeeds);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("replay with TAILRACE_SEED=" + std::to_string(seed));
    Replay(seed).run();
    if (HasFailure()) {
      std::printf("replay with TAILRACE_SEED=%llu\n", static_cast<unsigned long long>(seed));
      return;
    }
  }
}

}  // namespace
}  // namespace tailrace::statemachine
