// All of it together, with a real log, a real store and real transactions: streams are appended to,
// shortened, deleted and ended; files are written and scavenged, now and then, on a node that does
// it at once and on one that is late. What the state shows below the scavenge is in the files, and
// nothing else is.
#include <set>

#include "history/logged_outcomes.h"
#include "history/scavenge/scavenger.h"
#include "history/stretch_writer.h"
#include "tests/history/history_support.h"
#include "tests/history/scavenge_host_double.h"
#include "tests/statemachine/harness.h"

namespace tailrace::history {
namespace {

using statemachine::Operation;
using statemachine::Txn;
using statemachine::TxnEffect;
using statemachine::TxnEffectKind;

constexpr uint64_t kModelStretch = 64u << 10;
constexpr uint64_t kModelStreams = 8;
constexpr int kScavenges = 8;

/// Writes and scavenges files of the same log, each in its own time.
class Keeper {
 public:
  Keeper(testing::FaultFileSystem& disk, const char* directory, fasterlog::Log& log,
         const statemachine::OutcomeLog& outcomes, size_t floor_bytes)
      : host_(Catalogue::open(disk, directory).value()), outcomes_(outcomes) {
    HistorianOptions options;
    options.stretch_bytes = kModelStretch;
    options.reserve_disk_bytes = 0;
    writer_ = std::make_unique<StretchWriter>(disk, log, host_.catalogue(), outcomes_, options);
    ScavengerOptions scavenging;
    scavenging.pauses = false;
    scavenging.floor_bytes = floor_bytes;
    scavenger_ = Scavenger::open(disk, host_, scavenging).value();
  }

  void write(Address checkpoint) {
    for (bool more = true; more;) {
      const auto written = writer_->write_next(checkpoint, {});
      ASSERT_TRUE(written) << written.error().message;
      more = written->has_value();
    }
  }
  void scavenge(Address to) {
    scavenger_->scavenge(to);
    const auto worked = scavenger_->work({});
    ASSERT_TRUE(worked) << worked.error().message;
  }
  Catalogue& catalogue() { return host_.catalogue(); }
  std::vector<EventFileInfo> files() { return host_.catalogue().files(); }

 private:
  HostDouble host_;
  LoggedOutcomes outcomes_;
  std::unique_ptr<StretchWriter> writer_;
  std::unique_ptr<Scavenger> scavenger_;
};

class ScavengeModel {
 public:
  explicit ScavengeModel(uint64_t seed) : random_(seed), disk_(seed) {
    outcomes_ = std::make_shared<statemachine::OutcomeLog>(disk_, "/outcomes");
    statemachine::Node::Options options;
    options.machine.outcomes = outcomes_;
    options.anchors = {{"history", Address{0}}};
    auto opened = statemachine::Node::open(disk_, options);
    EXPECT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
    prompt_ = std::make_unique<Keeper>(disk_, "/prompt", node_->log(), *outcomes_, 32u << 20);
    late_ = std::make_unique<Keeper>(disk_, "/late", node_->log(), *outcomes_, 150);
  }

  void run() {
    for (int round = 0; round < kScavenges && !::testing::Test::HasFatalFailure(); ++round) {
      // Some come so soon behind each other that they stand in one stretch.
      for (uint64_t left = random_.between(1, random_.chance(1, 2) ? 15 : 200); left > 0; --left)
        apply_some();
      const auto done = node_->run({Operation::kScavenge, {}, {}, {}, 0, {}});
      ASSERT_TRUE(done) << done.error().message;
      const Address to = done->first.end;
      const auto checkpoint = node_->checkpoint();
      ASSERT_TRUE(checkpoint) << checkpoint.error().message;
      prompt_->write(*checkpoint);
      ASSERT_GE(prompt_->catalogue().end(), to);
      prompt_->scavenge(to);
      expect_files(*prompt_, to);
      if (random_.chance(1, 5)) late_->write(*checkpoint);
      if (round + 1 < kScavenges) continue;
      late_->write(*checkpoint);
      late_->scavenge(to);
      EXPECT_EQ(late_->files(), prompt_->files());
    }
  }

 private:
  static std::string name(uint64_t number) { return "stream-" + std::to_string(number); }

  void apply_some() {
    Txn txn;
    const std::string stream = name(random_.below(kModelStreams)), other = stream + "-other";
    const std::string data = stream + std::string(random_.below(900), '.');
    auto& list = random_.chance(1, 4) ? txn.otherwise : txn.then;
    // Another list is run than has the effects of half of these.
    if (&list == &txn.otherwise || random_.chance(1, 8))
      txn.checks.push_back({.kind = statemachine::CheckKind::kKeyExists, .name = as_bytes("none")});
    if (random_.chance(1, 2))
      list.push_back({.kind = TxnEffectKind::kTombstone, .name = as_bytes("never-there")});
    TxnEffect effect{.kind = TxnEffectKind::kAppend, .name = as_bytes(stream)};
    const uint64_t drawn = random_.below(40);
    if (drawn == 0) effect.kind = TxnEffectKind::kDeleteStream;
    if (drawn == 1 && random_.chance(1, 4)) effect.kind = TxnEffectKind::kTombstone;
    if (drawn == 2 || drawn == 3) effect.kind = TxnEffectKind::kPolicy;
    if (drawn == 2) effect.max_count = random_.below(9);
    if (drawn == 3) effect.truncate_before = random_.below(30);
    if (effect.kind == TxnEffectKind::kAppend)
      for (uint64_t left = random_.between(1, 3); left > 0; --left)
        txn.add_event(effect, {.data = as_bytes(data)});
    list.push_back(effect);
    std::vector<std::byte> body;
    statemachine::encode(txn, body);
    const auto logged =
        statemachine::append(node_->log(), {Operation::kTxn, {}, to_string(body), {}, 0, {}});
    ASSERT_TRUE(logged) << logged.error().message;
  }

  /// Nothing was applied since the scavenge, so the state is that of its record.
  void expect_files(Keeper& keeper, Address to) {
    std::map<std::string, std::set<uint64_t>> found, wanted;
    BlockCache cache(0);
    for (const EventFileInfo& info : keeper.files()) {
      if (info.range.end > to) continue;
      const auto file = keeper.catalogue().open_file(info, cache).value();
      const auto sound = file->verify();
      EXPECT_TRUE(sound) << sound.error().message;
      const Events events = read_all(file->events(Address{}, Order::kForwards)).value();
      for (const OwnedEvent& event : events) {
        EXPECT_TRUE(event.data.starts_with(event.stream));
        EXPECT_TRUE(found[event.stream].insert(event.version).second);
      }
    }
    for (uint64_t number = 0; number < kModelStreams; ++number) {
      const auto entries = node_->machine().stream_entries(name(number), 0, SIZE_MAX,
                                                           statemachine::Direction::kForwards);
      ASSERT_TRUE(entries) << entries.error().message;
      for (const auto& entry : entries->entries)
        wanted[name(number)].insert(entry.version);
    }
    EXPECT_EQ(found, wanted);
  }

  Random random_;
  testing::FaultFileSystem disk_;
  std::shared_ptr<statemachine::OutcomeLog> outcomes_;
  std::unique_ptr<statemachine::Node> node_;
  std::unique_ptr<Keeper> prompt_, late_;
};

// Replays one seed: TAILRACE_SEED=…
TEST(ScavengeModel, FilesHaveWhatTheStateShowsAndNothingElse) {
  const uint64_t seed = seed_of_test();
  const uint64_t rounds = statemachine::kSanitized ? 1 : 5;
  for (uint64_t round = 0; round < rounds && !::testing::Test::HasFailure(); ++round) {
    SCOPED_TRACE("seed " + std::to_string(seed + round));
    ScavengeModel(seed + round).run();
  }
}

}  // namespace
}  // namespace tailrace::history
