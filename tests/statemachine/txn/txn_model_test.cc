// Transactions against a model without a store: the same answers, the same keys and streams, and on
// a second node, which is started again from its checkpoints, the same state.

#include "tests/statemachine/txn/txn_model.h"

#include <deque>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "statemachine/cost.h"
#include "tests/statemachine/txn/txn_samples.h"
#include "tests/statemachine/txn/txn_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

constexpr int kModelSteps = 220;
constexpr size_t kMostModelValue = 1u << 20;

/// Few names and few ids, so that most checks meet something.
class TxnDraw {
 public:
  explicit TxnDraw(Random& random) : random_(random) {}

  /// Valid, not dated; until the next call. `positions`: of some transactions before.
  const Txn& draw(const std::vector<uint64_t>& positions, uint64_t log_time_ns) {
    do {
      txn_.clear();
      texts_.clear();
      if (random_.chance(1, 4))
        txn_.once = OnceKey{0, random_.between(1, 6), random_.between(1, 40) * kSecond};
      for (uint64_t left = random_.below(3); left > 0; --left)
        txn_.checks.push_back(check(positions, log_time_ns));
      for (auto* list : {&txn_.then, &txn_.otherwise})
        for (uint64_t left = random_.below(list == &txn_.then ? 5 : 3); left > 0; --left)
          list->push_back(effect());
    } while (!validate(txn_, kAmple));
    return txn_;
  }

 private:
  static constexpr uint64_t kSecond = 1'000'000'000;

  ByteSpan keep(std::string text) { return as_bytes(texts_.emplace_back(std::move(text))); }
  ByteSpan key() { return keep("k" + std::to_string(random_.below(6))); }
  ByteSpan stream() { return keep("s" + std::to_string(random_.below(4))); }
  ByteSpan value() {
    if (random_.chance(1, 2)) return keep(std::to_string(random_.below(4)));
    return keep(std::string(random_.below(60), 'x'));
  }
  uint64_t version() { return random_.below(12); }

  TxnCheck check(const std::vector<uint64_t>& positions, uint64_t log_time_ns) {
    TxnCheck check;
    check.kind =
        static_cast<CheckKind>(random_.between(1, static_cast<uint64_t>(CheckKind::kLast)));
    if (check.kind != CheckKind::kBefore) check.name = is_of_stream(check.kind) ? stream() : key();
    if (check.kind == CheckKind::kKeyEquals) check.value = value();
    if (check.kind == CheckKind::kKeyNumber) check.max = static_cast<int64_t>(random_.below(5));
    if (check.kind == CheckKind::kStreamAt) check.at = version();
    if (check.kind == CheckKind::kKeyModifiedAt && !positions.empty())
      check.at =
          positions[positions.size() - 1 - random_.below(std::min<size_t>(5, positions.size()))];
    if (check.kind == CheckKind::kBefore)
      check.at = log_time_ns + random_.below(3) * kSecond - kSecond;
    return check;
  }

  TxnEffect effect() {
    TxnEffect effect;
    // Half are appends: they can do most.
    effect.kind = random_.chance(1, 2) ? TxnEffectKind::kAppend
                                       : static_cast<TxnEffectKind>(random_.between(
                                             1, static_cast<uint64_t>(TxnEffectKind::kLast)));
    if (effect.kind == TxnEffectKind::kTombstone && random_.chance(3, 4))
      effect.kind = TxnEffectKind::kGet;
    effect.name = is_of_stream(effect.kind) ? stream() : key();
    if (effect.kind == TxnEffectKind::kPut) effect.value = value();
    if (effect.kind == TxnEffectKind::kAdd)
      effect.delta = random_.chance(1, 9) ? INT64_MAX : static_cast<int64_t>(random_.below(3));
    if (effect.kind == TxnEffectKind::kPut || effect.kind == TxnEffectKind::kExpire)
      effect.expires_at_ns = random_.below(3) * 7 * kSecond;
    if (effect.kind == TxnEffectKind::kPolicy) {
      if (random_.chance(1, 2)) effect.max_count = random_.below(9);
      if (random_.chance(1, 3)) effect.truncate_before = version();
      effect.dedupe = random_.below(6);
    }
    if (effect.kind == TxnEffectKind::kAppend) append(effect);
    return effect;
  }

  void append(TxnEffect& effect) {
    effect.expected =
        random_.chance(1, 2) ? Expected::kAny : static_cast<Expected>(random_.below(4));
    if (effect.expected == Expected::kExact) effect.expected_version = version();
    const uint64_t first = random_.between(1, 20);
    for (uint64_t i = 0, events = random_.between(1, random_.chance(1, 8) ? 20 : 3); i < events;
         ++i) {
      TxnEvent event;
      if (random_.chance(4, 5)) event.id = event_id(static_cast<uint8_t>(first + i));
      event.data = as_bytes("data");
      txn_.add_event(effect, event);
    }
  }

  Random& random_;
  std::deque<std::string> texts_;
  Txn txn_;
};

class TxnModelRun {
 public:
  explicit TxnModelRun(uint64_t seed) : random_(seed), disk_(seed), draw_(random_) {}

  void run() {
    options_.clock = &clock_;
    options_.anchors = {{"transfer:test", Address{0}}};
    auto opened = Node::open(disk_, options_);
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
    open_other();
    // From then on keys have positions; before, some are written that have none.
    const uint64_t rules_at = random_.below(20);
    model_.positions = false;
    for (uint64_t step = 0; step < kModelSteps && !::testing::Test::HasFatalFailure(); ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      if (step == rules_at) set_the_rules();
      clock_.advance(std::chrono::seconds(random_.below(4)));
      apply_one();
      if (random_.chance(1, 15)) scavenge();
      if (random_.chance(1, 12)) live();
      if (step % 10 == 9) compare();
    }
  }

 private:
  void open_other() {
    other_.reset();
    StateMachineOptions options = quiet();
    options.outcomes = outcomes_ = std::make_shared<OutcomeLog>(disk_, "/outcomes");
    auto replica = Replica::open(disk_, node_->log(), small_store("/other"), options, clock_);
    ASSERT_TRUE(replica) << replica.error().message;
    other_ = std::move(*replica);
    other_->anchors.set("transfer:test", Address{0});
    other_->machine().start();
  }

  void set_the_rules() {
    const auto done = node_->run(set_rules(rules_with_positions()));
    ASSERT_TRUE(done) << done.error().message;
    model_.positions = true;
  }

  void apply_one() {
    ASSERT_TRUE(node_->settle());
    model_.log_time_ns = node_->machine().log_time_ns();
    const uint64_t now = clock_.unix_time_ns();
    // Some are sent again, as they were.
    if (sent_.empty() || !random_.chance(1, 8))
      sent_.push_back(txn_command(draw_.draw(positions_, model_.log_time_ns), now));
    const OwnedCommand command =
        random_.chance(1, 8) ? sent_[random_.below(sent_.size())] : sent_.back();
    Txn txn;
    ASSERT_TRUE(decode(as_bytes(command.value), txn));
    const CommandCost cost = cost_of(command.view(), 0, kMostModelValue);
    const uint64_t before = node_->machine().store_status().log.tail;
    const auto done = node_->run(command);
    ASSERT_TRUE(done) << done.error().message;
    const uint64_t position = done->first.first.value;
    ASSERT_EQ(done->second, model_.apply(txn, position)) << text_of(txn) << told(done->second);
    positions_.push_back(position);
    commands_[position] = command;
    // Promise: the leader knows what a transaction may cost. (The mark's log time is 64 bytes; a
    // page that is given up for the next one counts as nothing.)
    const uint64_t after = node_->machine().store_status().log.tail;
    if (before / kPage == after / kPage) {
      EXPECT_LE(after - before, cost.store_bytes + 64);
    }
    EXPECT_LE(done->second.value.size(), cost.answer_bytes);
  }

  /// Promise: up to where event files are to be scavenged is the same on all nodes, across
  /// restarts.
  void scavenge() {
    const auto done = node_->run({Operation::kScavenge, {}, {}, {}, 0, {}});
    ASSERT_TRUE(done) << done.error().message;
    scavenged_.push_back(done->first);
    const ScavengePoint point = node_->machine().scavenge_point();
    EXPECT_EQ(point.to, done->first.end);
    EXPECT_EQ(point.count, scavenged_.size());
  }

  static std::string told(const Answer& answer) {
    TxnResult result;
    EXPECT_TRUE(decode(as_bytes(answer.value), result));
    std::string text;
    for (const FailedCheck& each : result.failed)
      text += fmt::format("failed {} {} found {} {}\n", static_cast<int>(each.list), each.index,
                          static_cast<int>(each.found), each.number);
    for (const EffectResult& each : result.results)
      text += fmt::format("result {} {} {}-{} {}\n", static_cast<int>(each.kind), each.number,
                          each.first_version, each.last_version, each.replayed);
    return text;
  }

  /// The other node's life: it lags, takes a checkpoint, and is started again from one.
  void live() {
    ASSERT_TRUE(node_->settle());
    ASSERT_TRUE(other_->apply_to(node_->log().durable()));
    if (random_.chance(1, 2)) {
      const auto taken = wait(request_checkpoint(other_->machine()));
      ASSERT_TRUE(taken);
      ASSERT_EQ(*taken, node_->log().durable());
      compare_outcomes(*taken);
    }
    if (random_.chance(1, 2)) open_other();
  }

  /// Promise: of what a checkpoint has, it is known which events were appended, as which versions,
  /// and up to where a stretch has made them unreadable, by which effect; across restarts, and
  /// nothing else is said.
  void compare_outcomes(Address end) {
    ASSERT_EQ(outcomes_->known_from(), Address{});
    const auto begin = Address{random_.below(end.value / 8) * 8};
    const auto found = outcomes_->read({begin, end});
    ASSERT_TRUE(found) << found.error().message;
    std::map<uint64_t, const TxnModel::Stream*> by_id;
    std::map<uint64_t, std::string> names;
    size_t events = 0;
    for (const auto& [name, stream] : model_.streams()) {
      const auto head = other_->machine().stream_head(name).value();
      if (!head) continue;
      by_id[head->dense_id] = &stream;
      names[head->dense_id] = name;
      for (const EventPlace& place : stream.places)
        events += place.record_address >= begin.value ? 1 : 0;
    }
    size_t told = 0;
    for (const auto& record : found->records)
      for (size_t i = 0; i < record.appends; ++i) {
        const auto& appended = found->appends[record.first_append + i];
        for (uint32_t event = 0; event < appended.events; ++event, ++told)
          EXPECT_EQ(
              by_id.at(appended.dense_id)->places.at(appended.first + event),
              (EventPlace{record.address.value, static_cast<uint16_t>(appended.ordinal + event)}));
      }
    EXPECT_EQ(told, events);
    for (const auto& [id, floor] : found->floors) {
      EXPECT_EQ(floor.version, by_id.at(id)->first);
      EXPECT_EQ(stream_of_effect(floor.record, floor.effect), names.at(id));
    }
    std::vector<Address> ends;
    for (const AddressRange& record : scavenged_)
      if (record.first >= begin && record.first < end) ends.push_back(record.end);
    EXPECT_EQ(found->ends, ends);
    const auto all = outcomes_->read({Address{}, end});
    ASSERT_TRUE(all) << all.error().message;
    for (const auto& [id, stream] : by_id)
      EXPECT_EQ(all->floors.contains(id), stream->first > 0);
  }

  /// Effects of `then` come first.
  std::string stream_of_effect(Address record, size_t number) {
    Txn txn;
    EXPECT_TRUE(decode(as_bytes(commands_.at(record.value).value), txn));
    const bool in_then = number < txn.then.size();
    return to_string(in_then ? txn.then[number].name
                             : txn.otherwise.at(number - txn.then.size()).name);
  }

  void compare() {
    ASSERT_TRUE(node_->settle());
    ASSERT_TRUE(other_->apply_to(node_->log().durable()));
    model_.log_time_ns = node_->machine().log_time_ns();
    EXPECT_EQ(node_->replica().pairs(), model_.pairs());
    const StateDigest own = node_->replica().state_digest(), others = other_->state_digest();
    EXPECT_EQ(own.pairs, others.pairs);
    EXPECT_EQ(std::pair(own.high, own.low), std::pair(others.high, others.low));
    EXPECT_EQ(node_->machine().scavenge_point(), other_->machine().scavenge_point());
    for (const auto& [name, stream] : model_.streams()) {
      compare(name, stream, other_->machine());
      for (const auto& [key, value] : model_.pairs()) {
        KeyState state;
        ASSERT_TRUE(other_->machine().read_state(as_bytes(key), state));
        EXPECT_EQ(state.value, value);
        EXPECT_EQ(state.modified_at, model_.find(key)->modified_at) << key;
        EXPECT_EQ(state.expires_at_ns, model_.find(key)->expires_at);
      }
    }
  }

  static void compare(const std::string& name, const TxnModel::Stream& stream,
                      StateMachine& machine) {
    const auto found = machine.stream_entries(name, 0, SIZE_MAX, Direction::kForwards);
    ASSERT_TRUE(found) << found.error().message;
    ASSERT_EQ(found->head ? found->head->next : 0, stream.places.size()) << name;
    ASSERT_EQ(found->entries.size(), stream.places.size() - stream.first) << name;
    for (const auto& entry : found->entries)
      EXPECT_EQ(entry.place, stream.places[entry.version]);
  }

  static constexpr uint64_t kPage = 128u << 10;

  Random random_;
  testing::FaultFileSystem disk_;
  ManualClock clock_;
  TxnDraw draw_;
  Node::Options options_;
  std::unique_ptr<Node> node_;
  std::shared_ptr<OutcomeLog> outcomes_;  // of the other node
  std::unique_ptr<Replica> other_;
  TxnModel model_;
  std::vector<uint64_t> positions_;
  std::vector<OwnedCommand> sent_;
  std::map<uint64_t, OwnedCommand> commands_;  // by position
  std::vector<AddressRange> scavenged_;        // records of scavenges
};

// Replays one seed: TAILRACE_SEED=…
TEST(TxnModel, NodesComeToWhatTheModelSays) {
  const uint64_t from = from_environment("TAILRACE_SEED", 1);
  const uint64_t seeds = from_environment("TAILRACE_SEEDS", kSanitized ? 2 : 6);
  for (uint64_t seed = from; seed < from + seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TxnModelRun(seed).run();
  }
}

}  // namespace
}  // namespace tailrace::statemachine
