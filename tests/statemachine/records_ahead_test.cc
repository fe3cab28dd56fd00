// What was read ahead says where to look, never what is there.

#include "statemachine/records_ahead.h"

#include <gtest/gtest.h>

#include "harness.h"
#include "statemachine/command/plain_event.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

class RecordsAheadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = fasterlog::Log::open(disk_, small_log("/log"), clock_);
    ASSERT_TRUE(opened) << opened.error().message;
    log_ = std::move(*opened);
    ASSERT_TRUE(log_->become_writer(Epoch{1}));
  }
  /// Durable, with a mark behind it.
  Address append_all(const std::vector<OwnedCommand>& commands) {
    Address first;
    for (const OwnedCommand& command : commands) {
      const auto range = append(*log_, command);
      EXPECT_TRUE(range) << range.error().message;
      if (range && first == Address{}) first = range->first;
    }
    EXPECT_TRUE(log_->wait_durable(log_->tail(), soon()));
    return first;
  }

  testing::FaultFileSystem disk_{1};
  ManualClock clock_;
  std::unique_ptr<fasterlog::Log> log_;
};

// Promise: an entry is used again without anything of the record it was for: what has no key gets
// none, and bytes are those of its own record, also when the reader has gone on.
TEST_F(RecordsAheadTest, AnEntryIsClearedBeforeItIsUsedAgain) {
  auto store = kv::Store::open(disk_, small_store("/kv"));
  ASSERT_TRUE(store) << store.error().message;
  auto session = (*store)->start_session(1);
  ASSERT_TRUE(session);
  const auto streams = StreamIndex::open(**store, **session);
  ASSERT_TRUE(streams) << streams.error().message;
  const std::string user(1, kUserKey);
  const std::vector<OwnedCommand> keyed = {put("a key that is long", "1"), add("another", 1),
                                           erase("a third one"), put("fourth", "4")};
  const std::vector<OwnedCommand> keyless = {event("stream", "x"), digest(), event("y", "z"),
                                             put("k", "5")};
  append_all(keyed);
  append_all(keyless);
  const auto scanner = log_->scan(log_->begin(), {.with_commit_marks = true});
  RecordsAhead ahead;
  std::vector<std::string> keys;
  for (;;) {
    // As many at a time as there are commands before a mark: each entry sees both kinds.
    ahead.read(*scanner, log_->durable(), 4, 1u << 20, **session, **streams);
    ASSERT_FALSE(ahead.error());
    if (ahead.items().empty()) break;
    for (const RecordsAhead::Item& item : ahead.items()) {
      if (item.record.kind != kCommandRecord) {
        EXPECT_EQ(item.key, user) << "a mark has the key of a command";
        continue;
      }
      if (item.plain_event) {
        keys.emplace_back("event");
        continue;
      }
      ASSERT_TRUE(item.command);
      const bool has_key = item.command->operation != Operation::kEvent;
      EXPECT_EQ(item.key, user + (has_key ? to_string(item.command->key) : ""));
      EXPECT_EQ(to_string(item.record.payload), to_string(item.copied));
      keys.push_back(item.key.substr(1));
    }
  }
  EXPECT_EQ(keys, (std::vector<std::string>{"a key that is long", "another", "a third one",
                                            "fourth", "event", "", "event", "k"}));
}

// Promise: what is passed over as a plain event is what decode() takes for an event without a
// session, and nothing else: no other command is lost, and no damaged one.
TEST(PlainEvent, IsWhatDecodeTakesForOne) {
  OwnedCommand of_a_session = event("stream", "x");
  of_a_session.session = SessionSerial{{1, 2}, 3};
  const std::vector<OwnedCommand> commands = {event("stream", "value"),
                                              event("", ""),
                                              of_a_session,
                                              put("key", "value"),
                                              erase("key"),
                                              add("key", 4),
                                              cas("key", "value", "next"),
                                              expiring(5, put("k", "v")),
                                              digest()};
  const auto agree = [](ByteSpan payload) {
    const auto decoded = decode(payload);
    const bool plain = decoded && decoded->operation == Operation::kEvent && !decoded->session;
    EXPECT_EQ(is_plain_event(payload), plain);
    return plain;
  };
  int plain = 0;
  for (const OwnedCommand& command : commands) {
    std::vector<std::byte> payload;
    encode(command.view(), payload);
    plain += agree(payload) ? 1 : 0;
    for (size_t bit = 0; bit < payload.size() * 8; ++bit) {
      payload[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      (void)agree(payload);
      payload[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    }
    for (size_t size = 0; size < payload.size(); ++size)
      (void)agree(ByteSpan(payload).first(size));
  }
  EXPECT_EQ(plain, 2);
}

// Promise: a key that was erased, or has expired, by a record of the same group is absent for those
// behind it, although the store was asked for it before the first of them was applied.
TEST_F(RecordsAheadTest, WhatTheGroupItselfTookAwayIsNotUsed) {
  auto replica = Replica::open(disk_, *log_, small_store("/kv"), quiet(), clock_);
  ASSERT_TRUE(replica) << replica.error().message;
  StateMachine& machine = (*replica)->machine();
  machine.start();
  const uint64_t soon_ns = clock_.unix_time_ns() + 10'000'000'000;
  append_all({put("erased", "7"), put("again", "7"), expiring(soon_ns, put("expired", "7"))});
  ASSERT_TRUE((*replica)->apply_to(log_->durable()));

  // Nothing of it counts as committed before all is there: it is one group.
  const Address erased = append_all({erase("erased")});
  append_all({add("erased", 1), erase("again"), put("again", "40"), add("again", 2)});
  clock_.advance(std::chrono::seconds(20));
  append_all({event("tick", "")});  // the mark behind it moves the log time
  const Address expired = append_all({add("expired", 5)});
  const Address mismatch = append_all({cas("expired", "7", "stale"), erase("absent")});
  ASSERT_TRUE((*replica)->apply_to(log_->durable()));
  EXPECT_EQ((*replica)->heard.at(erased).outcome, Outcome::kDone);
  EXPECT_EQ((*replica)->heard.at(expired), (Answer{Outcome::kDone, true, "5"}));
  EXPECT_EQ((*replica)->heard.at(mismatch), (Answer{Outcome::kCasMismatch, true, "5"}));
  EXPECT_EQ((*replica)->pairs(), (Pairs{{"erased", "1"}, {"again", "42"}, {"expired", "5"}}));
}

}  // namespace
}  // namespace tailrace::statemachine
