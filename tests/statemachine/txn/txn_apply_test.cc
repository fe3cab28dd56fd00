// What a transaction does to keys and streams, on a real log and a real store.

#include <deque>

#include <gtest/gtest.h>

#include "statemachine/command/command_table.h"
#include "statemachine/once_keys.h"
#include "statemachine/state_machine.h"
#include "tests/statemachine/txn/txn_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

using std::chrono::seconds;

/// What an answer says, with its bytes.
struct ToldResult {
  std::string bytes;
  TxnResult result;
  Outcome outcome = Outcome::kDone;
};

class TxnApply : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.clock = &clock_;
    options_.anchors = {{"transfer:test", Address{0}}};
    open();
    ASSERT_EQ(node_->answer(set_rules(rules_with_positions())), kDone);
  }
  void open() {
    node_.reset();
    auto opened = Node::open(disk_, options_);
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
    ASSERT_TRUE(node_->settle());
  }
  ToldResult run(const OwnedCommand& command) {
    const auto done = node_->run(command);
    EXPECT_TRUE(done) << done.error().message;
    if (!done) return {};
    position_ = done->first.first.value;
    ToldResult told{done->second.value, {}, done->second.outcome};
    bytes_ = told.bytes;
    EXPECT_TRUE(decode(as_bytes(bytes_), told.result));
    return told;
  }
  ToldResult run(const Txn& txn) { return run(txn_command(txn, clock_.unix_time_ns())); }

  std::string read(const std::string& key) {
    KeyState state;
    if (!node_->machine().read_state(as_bytes(key), state)) return "absent";
    return state.value;
  }
  uint64_t next_of(const std::string& stream) {
    const auto head = node_->machine().stream_head(stream);
    EXPECT_TRUE(head) << head.error().message;
    return head && *head ? (*head)->next : 0;
  }
  /// An append of one event.
  static void append(Txn& txn, std::vector<TxnEffect>& list, std::string_view stream,
                     std::optional<EventIdBytes> id = {}) {
    TxnEffect effect{.kind = TxnEffectKind::kAppend, .name = as_bytes(stream)};
    txn.add_event(effect, {.type = "t", .id = id, .data = as_bytes("d")});
    list.push_back(effect);
  }
  static TxnEffect put(std::string_view key, std::string_view value) {
    return {.kind = TxnEffectKind::kPut, .name = as_bytes(key), .value = as_bytes(value)};
  }

  testing::FaultFileSystem disk_{1};
  ManualClock clock_;
  Node::Options options_;
  std::unique_ptr<Node> node_;
  uint64_t position_ = 0;
  std::string bytes_;
};

// Promise: keys and streams change together, and the answer says where all of it stands.
TEST_F(TxnApply, KeysAndStreamsChangeTogether) {
  Txn txn;
  txn.then = {put("k", "v"),
              {.kind = TxnEffectKind::kAdd, .name = as_bytes("n"), .delta = -3},
              {.kind = TxnEffectKind::kGet, .name = as_bytes("other")}};
  append(txn, txn.then, "s");
  const ToldResult told = run(txn);
  EXPECT_EQ(told.outcome, Outcome::kDone);
  EXPECT_TRUE(told.result.succeeded);
  EXPECT_EQ(told.result.position, position_);
  ASSERT_EQ(told.result.results.size(), 4);
  EXPECT_EQ(told.result.results[1].number, -3);
  EXPECT_EQ(told.result.results[2].kind, EffectResultKind::kAbsent);
  EXPECT_EQ(told.result.results[3].first_version, 0);
  EXPECT_EQ(read("k"), "v");
  EXPECT_EQ(read("n"), "-3");
  const auto entries = node_->machine().stream_entries("s", 0, 10, Direction::kForwards);
  ASSERT_TRUE(entries && entries->entries.size() == 1);
  EXPECT_EQ(entries->entries[0].place, (EventPlace{position_, 0}));
  EXPECT_EQ(entries->head->last_time_ns, clock_.unix_time_ns());
}

// Promise: every check that fails is named with what is there, and `else` is applied instead.
TEST_F(TxnApply, EveryCheckThatFailsIsNamed) {
  Txn first;
  append(first, first.then, "s");
  first.then.push_back(put("k", "seven"));
  run(first);
  const uint64_t written_at = position_;
  Txn txn;
  txn.checks = {{.kind = CheckKind::kKeyEquals, .name = as_bytes("k"), .value = as_bytes("six")},
                {.kind = CheckKind::kKeyAbsent, .name = as_bytes("none")},
                {.kind = CheckKind::kKeyNumber, .name = as_bytes("k"), .max = 9},
                {.kind = CheckKind::kKeyModifiedAt, .name = as_bytes("k"), .at = 1},
                {.kind = CheckKind::kStreamAt, .name = as_bytes("s"), .at = 4},
                {.kind = CheckKind::kStreamExists, .name = as_bytes("t")},
                {.kind = CheckKind::kBefore, .at = 1}};
  txn.then = {put("k", "wrong")};
  txn.otherwise = {put("else", "right")};
  const ToldResult told = run(txn);
  EXPECT_EQ(told.outcome, Outcome::kTxnFailed);
  EXPECT_FALSE(told.result.succeeded);
  ASSERT_EQ(told.result.failed.size(), 6);
  const FailedCheck* each = told.result.failed.data();
  EXPECT_EQ(as_text(each[0].value), "seven");
  EXPECT_EQ(each[1].index, 2);
  EXPECT_EQ(each[2].found, FoundKind::kPosition);
  EXPECT_EQ(each[2].number, written_at);
  EXPECT_EQ(each[3].found, FoundKind::kVersion);
  EXPECT_EQ(each[3].number, 0);
  EXPECT_EQ(each[4].found, FoundKind::kNoStream);
  EXPECT_EQ(each[5].number, node_->machine().log_time_ns());
  EXPECT_EQ(told.result.results.size(), 1);
  EXPECT_EQ(read("k"), "seven");
  EXPECT_EQ(read("else"), "right");
}

// Promise: what an effect needs is looked at before the first is applied: all of them or none.
TEST_F(TxnApply, AnEffectThatCannotBeKeepsTheOthersAway) {
  const std::string most = std::to_string(INT64_MAX);
  Txn first;
  append(first, first.then, "s");
  first.then.push_back(put("text", "no number"));
  first.then.push_back(put("most", most));
  first.then.push_back({.kind = TxnEffectKind::kTombstone, .name = as_bytes("dead")});
  run(first);
  Txn txn;
  txn.then = {put("k", "v")};
  append(txn, txn.then, "fresh");
  append(txn, txn.then, "s");
  txn.then.back().expected = Expected::kNone;
  txn.then.push_back({.kind = TxnEffectKind::kAdd, .name = as_bytes("text"), .delta = 1});
  txn.then.push_back({.kind = TxnEffectKind::kAdd, .name = as_bytes("most"), .delta = 1});
  append(txn, txn.then, "dead");
  txn.then.push_back(
      {.kind = TxnEffectKind::kDeleteStream, .name = as_bytes("none")});  // that may be
  const ToldResult told = run(txn);
  EXPECT_EQ(told.outcome, Outcome::kTxnFailed);
  EXPECT_TRUE(told.result.results.empty());
  ASSERT_EQ(told.result.failed.size(), 4);
  const FailedCheck* each = told.result.failed.data();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(each[i].list, TxnList::kThen);
    EXPECT_EQ(each[i].index, i + 2);
  }
  EXPECT_EQ(each[0].found, FoundKind::kVersion);
  EXPECT_EQ(as_text(each[1].value), "no number");
  EXPECT_EQ(as_text(each[2].value), most);
  EXPECT_EQ(each[3].found, FoundKind::kTombstoned);
  EXPECT_EQ(read("k"), "absent");
  EXPECT_EQ(next_of("fresh"), 0);
  EXPECT_EQ(next_of("s"), 1);
}

// Promise: events that are there already are answered with their place; all else of the transaction
// is applied. If only some are there, nothing is.
TEST_F(TxnApply, EventsAreAppendedOnceByTheirIds) {
  const auto of = [](std::initializer_list<uint8_t> ids, std::string_view key) {
    Txn txn;
    TxnEffect effect{.kind = TxnEffectKind::kAppend, .name = as_bytes("s")};
    for (const uint8_t id : ids)
      txn.add_event(effect, {.id = event_id(id)});
    txn.then = {effect, put(key, "v")};
    return txn;
  };
  run(of({1, 2, 3}, "a"));
  const ToldResult again = run(of({2, 3}, "b"));
  EXPECT_EQ(again.outcome, Outcome::kDone);
  EXPECT_TRUE(again.result.results[0].replayed);
  EXPECT_EQ(again.result.results[0].first_version, 1);
  EXPECT_EQ(read("b"), "v");
  const ToldResult partly = run(of({4, 3}, "c"));
  EXPECT_EQ(partly.outcome, Outcome::kTxnFailed);
  EXPECT_EQ(partly.result.failed[0].found, FoundKind::kPartialIds);
  EXPECT_EQ(partly.result.failed[0].number, 1);
  EXPECT_EQ(read("c"), "absent");
  EXPECT_EQ(next_of("s"), 3);
}

// Promise: a transaction with a once key that is remembered changes nothing and is answered as the
// first one was, also on a node that was started again, until log time has passed its end.
TEST_F(TxnApply, AOnceKeyIsAnsweredAsTheFirstTime) {
  Txn txn;
  txn.once = OnceKey{7, 8, 60'000'000'000};
  append(txn, txn.then, "s");
  const ToldResult first = run(txn);
  const ToldResult again = run(txn);
  EXPECT_EQ(again.bytes, first.bytes);
  ASSERT_TRUE(node_->checkpoint());
  open();
  EXPECT_EQ(run(txn).bytes, first.bytes);
  EXPECT_EQ(next_of("s"), 1);
  Txn other;
  other.once = OnceKey{7, 9, 60'000'000'000};
  append(other, other.then, "s");
  EXPECT_EQ(run(other).result.results[0].first_version, 1);
  clock_.advance(seconds(61));
  ASSERT_EQ(node_->answer(statemachine::put("x", "")), kDone);  // its mark moves log time
  ASSERT_TRUE(node_->settle());
  EXPECT_EQ(run(txn).result.results[0].first_version, 2);
}

// Promise: once keys that are over leave nothing behind.
TEST_F(TxnApply, OnceKeysThatAreOverAreRemoved) {
  ASSERT_EQ(node_->answer(statemachine::put("x", "")), kDone);
  ASSERT_TRUE(node_->settle());
  const uint64_t pairs = node_->replica().state_digest().pairs;
  Txn txn;
  for (uint64_t i = 0; i < 20; ++i) {
    txn.once = OnceKey{1, i, 1'000'000'000 + i};
    run(txn);
  }
  ASSERT_TRUE(node_->settle());
  EXPECT_EQ(node_->replica().state_digest().pairs, pairs + 20);
  ASSERT_TRUE(node_->checkpoint());
  open();
  clock_.advance(seconds(2));
  ASSERT_EQ(node_->answer(statemachine::put("x", "")), kDone);
  ASSERT_TRUE(node_->settle());
  EXPECT_EQ(node_->replica().state_digest().pairs, pairs);
}

// Promise: a repeat of a result that was too long to be kept says so, and changes nothing.
TEST_F(TxnApply, ALongResultIsNotKeptWithItsOnceKey) {
  const std::string large(OnceKeys::kMostKeptBytes, 'v');
  Txn txn;
  txn.once = OnceKey{1, 1, 60'000'000'000};
  txn.then = {put("k", large)};
  run(txn);
  txn.once->low = 2;
  txn.then = {{.kind = TxnEffectKind::kGet, .name = as_bytes("k")},
              {.kind = TxnEffectKind::kAdd, .name = as_bytes("n"), .delta = 1}};
  const ToldResult first = run(txn);
  ASSERT_GT(first.bytes.size(), OnceKeys::kMostKeptBytes);
  const Answer again = node_->answer(txn_command(txn, clock_.unix_time_ns()));
  EXPECT_EQ(again.outcome, Outcome::kDone);
  EXPECT_EQ(again.withheld_bytes, first.bytes.size());
  EXPECT_EQ(again.value, "");
  EXPECT_EQ(read("n"), "1");
}

// Promise: a session's repeat of a transaction is answered as the first time.
TEST_F(TxnApply, ASessionAppliesATransactionOnce) {
  Txn txn;
  append(txn, txn.then, "s");
  txn.checks = {{.kind = CheckKind::kStreamAbsent, .name = as_bytes("s")}};
  const OwnedCommand command = in_session(1, 1, txn_command(txn, clock_.unix_time_ns()));
  const ToldResult first = run(command);
  EXPECT_EQ(run(command).bytes, first.bytes);
  const ToldResult next = run(in_session(1, 2, txn_command(txn, clock_.unix_time_ns())));
  EXPECT_EQ(next.outcome, Outcome::kTxnFailed);
  EXPECT_EQ(run(in_session(1, 2, command)).bytes, next.bytes);
  EXPECT_EQ(next_of("s"), 1);
}

// Promise: with rules of version 3 every write of a key leaves where it stands, whichever command
// it is; what was written before has no position.
TEST_F(TxnApply, KeysRememberWhereTheyWereModified) {
  const auto modified = [&](const OwnedCommand& command) {
    const auto done = node_->run(command);
    EXPECT_TRUE(done);
    KeyState state;
    EXPECT_TRUE(node_->machine().read_state(as_bytes(command.key), state));
    EXPECT_EQ(state.modified_at, done->first.first.value) << info_of(command.operation).title;
  };
  const uint64_t later = clock_.unix_time_ns() + 1'000'000'000'000;
  modified(statemachine::put("k", "1"));
  modified(add("k", 1));
  modified(cas("k", "2", "3"));
  modified(expire("k", later));
  modified(cas("k", "3", "4"));
  modified(insert("i", "x"));
  modified(expiring(later, statemachine::put("k", "5")));
  Txn txn;
  txn.then = {put("k", "6")};
  run(txn);
  txn.then.clear();
  txn.checks = {{.kind = CheckKind::kKeyModifiedAt, .name = as_bytes("k"), .at = position_}};
  EXPECT_EQ(run(txn).outcome, Outcome::kDone);
  ASSERT_EQ(node_->answer(set_rules({})), kDone);  // of version 1: positions stay
  modified(statemachine::put("k", "7"));
  ASSERT_TRUE(node_->checkpoint());
  open();
  modified(statemachine::put("k", "8"));
}

TEST(TxnWithoutRules, AppliesAndLeavesNoPositions) {
  testing::FaultFileSystem disk{1};
  auto opened = Node::open(disk, {});
  ASSERT_TRUE(opened);
  Txn txn;
  txn.then = {{.kind = TxnEffectKind::kPut, .name = as_bytes("k"), .value = as_bytes("v")}};
  EXPECT_EQ((*opened)->answer(txn_command(txn)).outcome, Outcome::kDone);
  KeyState state;
  ASSERT_TRUE((*opened)->machine().read_state(as_bytes("k"), state));
  EXPECT_EQ(state.modified_at, 0);
  txn.checks = {{.kind = CheckKind::kKeyModifiedAt, .name = as_bytes("k"), .at = 0}};
  EXPECT_EQ((*opened)->answer(txn_command(txn)).outcome, Outcome::kTxnFailed);
}

// Promise: transactions of any length are applied, whatever stands before and behind them.
TEST_F(TxnApply, LongBodiesBesideShortOnes) {
  std::deque<std::string> data;
  std::vector<Address> ends;
  for (const size_t length : {10u, 900u, 5000u, 20'000u, 50'000u, 100u, 60'000u, 3000u}) {
    Txn txn;
    TxnEffect effect{.kind = TxnEffectKind::kAppend, .name = as_bytes("s")};
    txn.add_event(effect, {.data = as_bytes(data.emplace_back(length, 'd'))});
    txn.then = {effect, put("k", data.back())};
    if (length > 25'000) txn.then.pop_back();
    const auto range = ::tailrace::statemachine::append(node_->log(), txn_command(txn));
    ASSERT_TRUE(range) << range.error().message;
    ASSERT_TRUE(::tailrace::statemachine::append(node_->log(), add("n", 1)));
    ends.push_back(range->first);
  }
  ASSERT_TRUE(node_->settle());
  EXPECT_EQ(read("n"), "8");
  EXPECT_EQ(read("k"), data.back());
  const auto entries = node_->machine().stream_entries("s", UINT64_MAX, 10, Direction::kBackwards);
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->entries.size(), ends.size());
  for (size_t i = 0; i < ends.size(); ++i)
    EXPECT_EQ(entries->entries[ends.size() - 1 - i].place.record_address, ends[i].value);
}

// Promise: streams whose heads are on the disk are appended to as if they were in memory, with
// records on their way when the node stops.
TEST_F(TxnApply, StreamsThatAreOnTheDisk) {
  constexpr int kStreams = 1500;
  const std::string filler(1500, 'f');
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kStreams; ++i) {
      const std::string stream = "s" + std::to_string(i * 7 % kStreams);
      Txn txn;
      append(txn, txn.then, stream, event_id(static_cast<uint8_t>(round + 1)));
      txn.then.push_back(put(stream, filler));
      ASSERT_TRUE(::tailrace::statemachine::append(node_->log(), txn_command(txn, 1)));
    }
    ASSERT_TRUE(node_->settle());
  }
  const auto extent = node_->machine().store_status().log;
  ASSERT_GT(extent.head, extent.begin) << "nothing is on the disk";
  for (int i = 0; i < kStreams; i += 50)
    ASSERT_EQ(next_of("s" + std::to_string(i)), 2) << i;
  Txn txn;
  for (int i = 0; i < kStreams; i += 3) {
    txn.clear();
    const std::string stream = "s" + std::to_string(i);
    append(txn, txn.then, stream);
    ASSERT_TRUE(::tailrace::statemachine::append(node_->log(), txn_command(txn, 1)));
  }
  open();
  EXPECT_EQ(next_of("s0"), 3);
}

// Promise: what gets find beyond a result's bound does not come along, and its length does.
TEST_F(TxnApply, ValuesBeyondAResultsBoundStayAway) {
  const std::string large(60'000, 'v');
  ASSERT_EQ(node_->answer(statemachine::put("k", large)), kDone);
  Txn txn;
  for (int i = 0; i < 20; ++i)
    txn.then.push_back({.kind = TxnEffectKind::kGet, .name = as_bytes("k")});
  const ToldResult told = run(txn);
  EXPECT_LE(told.bytes.size(), kMostTxnResultBytes);
  size_t withheld = 0;
  for (const EffectResult& each : told.result.results) {
    if (each.kind == EffectResultKind::kValue) continue;
    EXPECT_EQ(each.withheld_bytes, large.size());
    ++withheld;
  }
  EXPECT_EQ(withheld, 3);
}

// Promise: streams are listed by their names, without those that do not exist.
TEST_F(TxnApply, StreamsAreListed) {
  Txn txn;
  for (const std::string_view name : {"b", "a-2", "a-1", "a-3", "a-4"})
    append(txn, txn.then, name);
  run(txn);
  Txn removal;
  removal.then = {{.kind = TxnEffectKind::kDeleteStream, .name = as_bytes("a-3")}};
  run(removal);
  auto list = node_->machine().start_stream_list("a-", "a-1", {.streams = 2});
  ASSERT_TRUE(list) << list.error().message;
  for (;;) {
    const auto more = (*list)->next(1u << 20);
    ASSERT_TRUE(more) << more.error().message;
    if (!*more) break;
  }
  const auto found = (*list)->take();
  ASSERT_EQ(found.size(), 2);
  EXPECT_EQ(found[0].name, "a-2");
  EXPECT_EQ(found[1].name, "a-4");
  EXPECT_FALSE((*list)->is_cut());
}

// Promise: a body that a client may not send is refused before it is in the log, and each refusal
// is one that the client understands.
TEST(TxnCommand, IsValidatedWithItsBody) {
  Txn txn;
  txn.then = {{.kind = TxnEffectKind::kPut, .name = as_bytes("k"), .value = as_bytes("four")}};
  OwnedCommand command = txn_command(txn);
  EXPECT_TRUE(validate(command.view(), 4));
  EXPECT_EQ(validate(command.view(), 3).error().code, ErrorCode::kInvalidArgument);
  command.key = "k";
  EXPECT_EQ(validate(command.view(), 4).error().code, ErrorCode::kInvalidArgument);
  std::vector<std::byte> bytes;
  encode(command.view(), bytes);
  EXPECT_EQ(decode(bytes).error().code, ErrorCode::kCorruption);
  command = txn_command(txn, 5);
  EXPECT_EQ(validate(command.view(), 4).error().code, ErrorCode::kInvalidArgument) << "dated";
  command.value.pop_back();
  EXPECT_EQ(validate(command.view(), 4).error().code, ErrorCode::kCorruption);
}

// A transaction that names a large value often reads no more than its limit, and says so.
TEST_F(TxnApply, WhatIsReadIsBounded) {
  const std::string large(24u << 10, 'x');
  Txn txn;
  txn.then = {put("large", large)};
  ASSERT_EQ(run(txn).outcome, Outcome::kDone);
  const size_t most = kMostTxnReadBytes / large.size() + 1;
  for (const size_t checks : {most - 2, most + 1, kMaxTxnItems - 2}) {
    Txn looks;
    looks.checks.assign(checks, {.kind = CheckKind::kKeyExists, .name = as_bytes("large")});
    const std::string number = std::to_string(checks);
    looks.then = {put("done", number)};
    looks.otherwise = {put("done", "else")};
    const ToldResult told = run(looks);
    if (checks < most) {
      EXPECT_EQ(told.outcome, Outcome::kDone);
    } else {
      EXPECT_EQ(told.outcome, Outcome::kTxnFailed);
      ASSERT_EQ(told.result.failed.size(), 1u);
      EXPECT_EQ(told.result.failed[0].found, FoundKind::kReadLimit);
      EXPECT_EQ(told.result.failed[0].number, kMostTxnReadBytes);
      EXPECT_TRUE(told.result.results.empty());
    }
    EXPECT_EQ(read("done"), std::to_string(most - 2));
  }
  // Gets beyond it are not looked at, and say that.
  Txn gets;
  gets.then.assign(most + 1, {.kind = TxnEffectKind::kGet, .name = as_bytes("large")});
  const ToldResult told = run(gets);
  EXPECT_EQ(told.result.results[most - 1].withheld_bytes, large.size());
  EXPECT_EQ(told.result.results[most].withheld_bytes, 0u);
  EXPECT_EQ(told.result.results[most].kind, EffectResultKind::kWithheld);
}

// The log time stands still while nothing is written; a deadline does not.
TEST_F(TxnApply, ADeadlinePassesInAnIdleCluster) {
  Txn txn;
  txn.checks = {{.kind = CheckKind::kBefore, .at = clock_.unix_time_ns() + 5'000'000'000}};
  txn.then = {put("k", "v")};
  ASSERT_EQ(run(txn).outcome, Outcome::kDone);
  clock_.advance(seconds(10));
  EXPECT_EQ(run(txn).outcome, Outcome::kTxnFailed);
}

}  // namespace
}  // namespace tailrace::statemachine
