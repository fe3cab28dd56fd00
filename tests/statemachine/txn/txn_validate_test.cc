// What validate() refuses of a transaction, each with its message: it names the item, the limit and
// the value.
#include <gtest/gtest.h>

#include "statemachine/command/command.h"
#include "statemachine/txn/txn.h"
#include "tests/statemachine/txn/txn_samples.h"

namespace tailrace::statemachine {
namespace {

/// The message of the refusal; empty: it is valid, and is decoded again to the same.
std::string refusal(const Txn& txn, const TxnLimits& limits = kAmple) {
  const auto checked = validate(txn, limits);
  if (!checked) {
    EXPECT_EQ(checked.error().code, ErrorCode::kInvalidArgument);
    return checked.error().message;
  }
  std::vector<std::byte> bytes;
  encode(txn, bytes);
  Txn back;
  EXPECT_TRUE(decode(bytes, back));
  EXPECT_EQ(text_of(back), text_of(txn));
  return "";
}

std::string refusal(const TxnCheck& check) {
  Txn txn;
  txn.checks = {{.kind = CheckKind::kKeyAbsent, .name = as_bytes("other")}, check};
  return refusal(txn);
}

std::string refusal(const std::vector<TxnEffect>& list) {
  Txn txn;
  txn.then = list;
  return refusal(txn);
}

std::string refusal(const TxnEvent& event, std::span<const std::string_view> tags = {}) {
  Txn txn;
  txn.then = {{.kind = TxnEffectKind::kGet, .name = as_bytes("k")},
              {.kind = TxnEffectKind::kAppend, .name = as_bytes("s")}};
  txn.add_event(txn.then[1], {.type = "first"});
  txn.add_event(txn.then[1], event, tags);
  return refusal(txn);
}

TxnEffect effect(TxnEffectKind kind, std::string_view name) {
  TxnEffect effect{.kind = kind, .name = as_bytes(name)};
  if (kind == TxnEffectKind::kPolicy) effect.max_count = 1;
  return effect;
}

TEST(TxnValidate, TooManyItems) {
  std::deque<std::string> keys;
  Txn txn;
  for (size_t i = 0; i + 2 < kMaxTxnItems; ++i)
    txn.otherwise.push_back(effect(TxnEffectKind::kPut, keys.emplace_back(std::to_string(i))));
  txn.then.push_back(effect(TxnEffectKind::kAppend, "s"));
  txn.add_event(txn.then[0], {});
  EXPECT_EQ(refusal(txn), "");
  txn.checks.push_back({.kind = CheckKind::kKeyAbsent, .name = as_bytes("k")});
  EXPECT_EQ(refusal(txn),
            "the transaction has 4097 items (checks, effects and events), 4096 are allowed");
}

TEST(TxnValidate, TooManyBytes) {
  Txn txn;
  txn.then = {effect(TxnEffectKind::kDelete, "k")};
  EXPECT_EQ(refusal(txn, {21, 0}), "");
  EXPECT_EQ(refusal(txn, {20, 0}), "the transaction is 21 bytes long, 20 are allowed");
  txn.then = {{.kind = TxnEffectKind::kPut, .name = as_bytes("k"), .value = as_bytes("four")}};
  EXPECT_EQ(refusal(txn, {100, 4}), "");
  EXPECT_EQ(
      refusal(txn, {100, 3}),
      "then[0].put.value is 4 bytes long, 3 are allowed (server.max_value_bytes in the nodes' "
      "files)");
  txn.then.clear();
  txn.checks = {{.kind = CheckKind::kKeyEquals, .name = as_bytes("k"), .value = as_bytes("four")}};
  EXPECT_EQ(refusal(txn, {100, 3}),
            "if[0].value is 4 bytes long, 3 are allowed (server.max_value_bytes in the nodes' "
            "files)");
  txn.checks.clear();
  txn.then = {effect(TxnEffectKind::kAppend, "s")};
  txn.add_event(txn.then[0], {.data = as_bytes("four")});
  EXPECT_EQ(
      refusal(txn, {100, 3}),
      "then[0].append.events[0].data is 4 bytes long, 3 are allowed (server.max_value_bytes in "
      "the nodes' files)");
}

TEST(TxnValidate, AOnceKeyWithoutATime) {
  Txn txn;
  txn.once = OnceKey{0, 0, 1};
  EXPECT_EQ(refusal(txn), "");
  txn.once->until_ns = 0;
  EXPECT_EQ(refusal(txn), "once.until is 0, it is to be how long from now, in ns");
  txn.once->until_ns = kMaxOnceNs + 1;
  EXPECT_EQ(refusal(txn), "once.until is 604800000000001 ns from now, 604800000000000 are allowed");
}

TEST(TxnValidate, Keys) {
  const std::string longest(kMaxKeyBytes, 'k'), longer = longest + "k";
  EXPECT_EQ(refusal({.kind = CheckKind::kKeyExists, .name = as_bytes(longest)}), "");
  EXPECT_EQ(refusal({.kind = CheckKind::kKeyExists}),
            "if[1].key is empty, a key has at least one byte");
  EXPECT_EQ(refusal({.kind = CheckKind::kKeyExists, .name = as_bytes(longer)}),
            "if[1].key is 65536 bytes long, 65535 are allowed");
  EXPECT_EQ(refusal({effect(TxnEffectKind::kPut, "k"), effect(TxnEffectKind::kGet, "")}),
            "then[1].get.key is empty, a key has at least one byte");
  EXPECT_EQ(refusal({effect(TxnEffectKind::kDelete, longer)}),
            "then[0].delete.key is 65536 bytes long, 65535 are allowed");
}

TEST(TxnValidate, NamesOfStreams) {
  const std::string longest(1024, 's'), longer = longest + "s";
  const auto of_check = [](std::string_view name) {
    return refusal({.kind = CheckKind::kStreamExists, .name = as_bytes(name)});
  };
  EXPECT_EQ(of_check(longest), "");
  EXPECT_EQ(of_check("Bücher 日本 😀"), "");
  EXPECT_EQ(of_check(""), "if[1].stream is empty, a name has at least one byte");
  EXPECT_EQ(of_check(longer), "if[1].stream is 1025 bytes long, 1024 are allowed");
  EXPECT_EQ(of_check("a\xff"), "if[1].stream is not UTF-8");
  EXPECT_EQ(of_check("\xc3\xbc\n"),
            "if[1].stream has a control character, code 10, at byte 2; none are allowed");
  EXPECT_EQ(of_check(std::string_view("\0", 1)),
            "if[1].stream has a control character, code 0, at byte 0; none are allowed");
  EXPECT_EQ(of_check("a\x7f"),
            "if[1].stream has a control character, code 127, at byte 1; none are allowed");
  EXPECT_EQ(of_check("\xc2\x85"),
            "if[1].stream has a control character, code 133, at byte 0; none are allowed");
  EXPECT_EQ(of_check("\xc2\xa0"), "");
  EXPECT_EQ(
      refusal({effect(TxnEffectKind::kTombstone, "\x1f")}),
      "then[0].tombstone.stream has a control character, code 31, at byte 0; none are allowed");
  Txn txn;
  txn.otherwise = {effect(TxnEffectKind::kPolicy, "\xed\xa0\x80")};
  EXPECT_EQ(refusal(txn), "else[0].policy.stream is not UTF-8");
}

TEST(TxnValidate, ARangeWithoutNumbers) {
  EXPECT_EQ(refusal({.kind = CheckKind::kKeyNumber, .name = as_bytes("k"), .min = 4, .max = 4}),
            "");
  EXPECT_EQ(refusal({.kind = CheckKind::kKeyNumber, .name = as_bytes("k"), .min = 5, .max = -4}),
            "if[1].min is 5, its max -4: min must not be above max");
}

TEST(TxnValidate, NumbersThatNoEnumerationHas) {
  EXPECT_EQ(refusal({.kind = CheckKind{0}}), "if[1].kind is 0, the kinds are 1 to 9");
  EXPECT_EQ(refusal({.kind = CheckKind{10}}), "if[1].kind is 10, the kinds are 1 to 9");
  EXPECT_EQ(refusal({effect(TxnEffectKind{0}, "k")}), "then[0].kind is 0, the kinds are 1 to 9");
  EXPECT_EQ(refusal({effect(TxnEffectKind{255}, "k")}),
            "then[0].kind is 255, the kinds are 1 to 9");
  Txn txn;
  txn.then = {effect(TxnEffectKind::kAppend, "s")};
  txn.then[0].expected = Expected{4};
  txn.add_event(txn.then[0], {});
  EXPECT_EQ(refusal(txn), "then[0].append.expected is 4, 3 is the greatest that is known");
  EXPECT_EQ(refusal(TxnEvent{.content_type = ContentType{9}}),
            "then[1].append.events[1].content_type is 9, 3 is the greatest that is known");
}

TEST(TxnValidate, Events) {
  const std::string type(255, 't'), longer_type(300, 't');
  EXPECT_EQ(refusal(TxnEvent{.type = type}), "");
  EXPECT_EQ(refusal(TxnEvent{.type = longer_type}),
            "then[1].append.events[1].type is 300 bytes long, 255 are allowed");
  EXPECT_EQ(refusal(TxnEvent{.type = "\xc0\x80"}), "then[1].append.events[1].type is not UTF-8");
  const std::string metadata(64u << 10, ' '), longer_metadata = metadata + " ";
  EXPECT_EQ(refusal(TxnEvent{.metadata = as_bytes(metadata)}), "");
  EXPECT_EQ(refusal(TxnEvent{.metadata = as_bytes(longer_metadata)}),
            "then[1].append.events[1].metadata is 65537 bytes long, 65536 are allowed");
  EXPECT_EQ(refusal(std::vector<TxnEffect>{effect(TxnEffectKind::kAppend, "s")}),
            "then[0].append has no events, it is to have at least one");
}

TEST(TxnValidate, Tags) {
  const std::string longest(255, 't'), longer(256, 't');
  std::vector<std::string_view> tags(16, longest);
  EXPECT_EQ(refusal(TxnEvent{}, tags), "");
  tags.push_back("t");
  EXPECT_EQ(refusal(TxnEvent{}, tags), "then[1].append.events[1] has 17 tags, 16 are allowed");
  tags = {"a", ""};
  EXPECT_EQ(refusal(TxnEvent{}, tags),
            "then[1].append.events[1].tags[1] is empty, a tag has at least one byte");
  tags = {longer};
  EXPECT_EQ(refusal(TxnEvent{}, tags),
            "then[1].append.events[1].tags[0] is 256 bytes long, 255 are allowed");
  tags = {"a", "b", "\x80"};
  EXPECT_EQ(refusal(TxnEvent{}, tags), "then[1].append.events[1].tags[2] is not UTF-8");
}

TEST(TxnValidate, APolicyThatSaysNothing) {
  EXPECT_EQ(
      refusal({TxnEffect{.kind = TxnEffectKind::kPolicy, .name = as_bytes("s")}}),
      "then[0].policy says nothing: one of max_count, max_age, truncate_before and dedupe is to "
      "be given");
}

TEST(TxnValidate, APolicyOfTooManyIds) {
  TxnEffect policy{.kind = TxnEffectKind::kPolicy, .name = as_bytes("s"), .dedupe = 256};
  EXPECT_EQ(refusal({policy}), "");
  policy.dedupe = 257;
  EXPECT_EQ(refusal({policy}), "then[0].policy.dedupe is 257 ids, 256 are allowed");
}

TEST(TxnValidate, ATimeThatTheLeaderIsToGive) {
  Txn txn;
  txn.time_ns = 7;
  EXPECT_EQ(refusal(txn), "time is 7, the leader gives it: it is to be 0");
}

// Promise: an id is of one event of its append; in two appends, or none, it may be.
TEST(TxnValidate, IdsThatAnAppendHasTwice) {
  const auto id_of = [](uint8_t last) {
    EventIdBytes id{};
    id[15] = std::byte{last};
    return id;
  };
  Txn txn;
  txn.then = {effect(TxnEffectKind::kAppend, "a"), effect(TxnEffectKind::kAppend, "b")};
  txn.add_event(txn.then[0], {.id = id_of(3)});
  txn.add_event(txn.then[0], {});
  txn.add_event(txn.then[0], {});
  txn.add_event(txn.then[0], {.id = id_of(1)});
  txn.add_event(txn.then[1], {.id = id_of(3)});
  EXPECT_EQ(refusal(txn), "");
  txn.events[3].id = id_of(3);
  EXPECT_EQ(refusal(txn),
            "then[0].append.events[3].id is that of .events[0]; each event has an id of its own");
  txn.events[3].id = EventIdBytes{};
  EXPECT_EQ(refusal(txn), "then[0].append.events[3].id is all zeros; give another one, or none");
}

// Promise: a key is changed once in a list, whatever changes it, and is not read there.
TEST(TxnValidate, EffectsOfOneKeyThatContradict) {
  using enum TxnEffectKind;
  for (const TxnEffectKind first : {kPut, kDelete, kAdd, kExpire})
    for (const TxnEffectKind second : {kPut, kDelete, kAdd, kExpire})
      EXPECT_NE(refusal({effect(first, "k"), effect(second, "k")}), "");
  EXPECT_EQ(refusal({effect(kPut, "k"), effect(kPut, "other"), effect(kAdd, "k")}),
            "then[0].put and then[2].add change one key, a list changes a key once");
  EXPECT_EQ(refusal({effect(kPut, "k"), effect(kGet, "k")}),
            "then[0].put and then[1].get are of one key, a list does not get what it changes");
  EXPECT_EQ(refusal({effect(kGet, "k"), effect(kGet, "k"), effect(kDelete, "k")}),
            "then[0].get and then[2].delete are of one key, a list does not get what it changes");
  EXPECT_EQ(refusal({effect(kGet, "k"), effect(kGet, "k")}), "");
  EXPECT_EQ(refusal({effect(kPut, "k"), effect(kPut, "kk"), effect(kGet, "kkk")}), "");
  Txn both;
  both.then = both.otherwise = {effect(kPut, "k")};
  EXPECT_EQ(refusal(both), "");
  both.otherwise.push_back(effect(kExpire, "k"));
  EXPECT_EQ(refusal(both),
            "else[0].put and else[1].expire change one key, a list changes a key once");
}

// Promise: a list has one effect of a stream. A key of the same name is another thing.
TEST(TxnValidate, EffectsOfOneStreamThatContradict) {
  using enum TxnEffectKind;
  for (const TxnEffectKind other : {kAppend, kPolicy, kDeleteStream, kTombstone}) {
    for (const bool is_first : {false, true}) {
      Txn txn;
      txn.then = {effect(is_first ? other : kAppend, "s"), effect(kPut, "s"),
                  effect(is_first ? kAppend : other, "s")};
      for (TxnEffect& each : txn.then)
        if (each.kind == kAppend) txn.add_event(each, {});
      const std::string title = other == kAppend         ? "append"
                                : other == kPolicy       ? "policy"
                                : other == kDeleteStream ? "delete_stream"
                                                         : "tombstone";
      EXPECT_EQ(refusal(txn), "then[0]." + (is_first ? title : "append") + " and then[2]." +
                                  (is_first ? "append" : title) +
                                  " are of one stream, a list has one effect of a stream");
    }
  }
  EXPECT_NE(refusal({effect(kDeleteStream, "s"), effect(kPolicy, "s")}), "");
  EXPECT_EQ(refusal({effect(kDeleteStream, "s"), effect(kPolicy, "t"), effect(kPut, "s")}), "");
}

// Promise: the one conflict among many effects is found, wherever it stands.
TEST(TxnValidate, AConflictIsFoundAmongMany) {
  Random random(5);
  for (int round = 0; round < 6; ++round) {
    std::deque<std::string> keys;
    Txn txn;
    for (size_t i = 0; i < kMaxTxnItems; ++i)
      txn.then.push_back(effect(i % 3 == 0 ? TxnEffectKind::kAdd : TxnEffectKind::kDelete,
                                keys.emplace_back(std::to_string(random.next()))));
    ASSERT_TRUE(validate(txn, kAmple));
    const size_t first = random.below(kMaxTxnItems - 1);
    const size_t second = random.between(first + 1, kMaxTxnItems - 1);
    txn.then[second].name = txn.then[first].name;
    const std::string message = refusal(txn);
    EXPECT_NE(message.find("then[" + std::to_string(first) + "]."), std::string::npos) << message;
    EXPECT_NE(message.find("then[" + std::to_string(second) + "]."), std::string::npos) << message;
  }
}

// Promise: a field that is not encoded is refused, because decoding would give another transaction.
TEST(TxnValidate, FieldsThatAKindDoesNotHave) {
  using enum TxnEffectKind;
  const ByteSpan name = as_bytes("k");
  EXPECT_EQ(refusal({.kind = CheckKind::kKeyAbsent, .name = name, .value = name}),
            "if[1].value is given, but 'key absent' has none");
  EXPECT_EQ(refusal({.kind = CheckKind::kKeyAbsent, .name = name, .min = -1}),
            "if[1].min is given, but 'key absent' has none");
  EXPECT_EQ(refusal({.kind = CheckKind::kStreamAt, .name = name, .max = 1}),
            "if[1].max is given, but 'stream at' has none");
  EXPECT_EQ(refusal({.kind = CheckKind::kStreamExists, .name = name, .at = 1}),
            "if[1].at is given, but 'stream exists' has none");
  EXPECT_EQ(refusal({.kind = CheckKind::kBefore, .name = name, .at = 1}),
            "if[1].name is given, but there is none here");
  const auto with = [](TxnEffectKind kind, auto set) {
    TxnEffect changed = effect(kind, "k");
    set(changed);
    return refusal({changed});
  };
  EXPECT_EQ(with(kDelete, [&](TxnEffect& it) { it.value = name; }),
            "then[0].delete.value is given, but 'delete' has none");
  EXPECT_EQ(with(kGet, [](TxnEffect& it) { it.expires_at_ns = 1; }),
            "then[0].get.expires_at is given, but 'get' has none");
  EXPECT_EQ(with(kPut, [](TxnEffect& it) { it.delta = 1; }),
            "then[0].put.delta is given, but 'put' has none");
  EXPECT_EQ(with(kPut, [](TxnEffect& it) { it.expected = Expected::kNone; }),
            "then[0].put.expected is given, but 'put' has none");
  EXPECT_EQ(with(kTombstone, [](TxnEffect& it) { it.event_count = 1; }),
            "then[0].tombstone.events is given, but 'tombstone' has none");
  EXPECT_EQ(with(kDeleteStream, [](TxnEffect& it) { it.truncate_before = 0; }),
            "then[0].delete_stream.policy is given, but 'delete_stream' has none");
  EXPECT_EQ(with(kAdd, [](TxnEffect& it) { it.expected_version = 1; }),
            "then[0].add.expected_version is given, but 'an append without an exact version' has "
            "none");
}

// Promise: the events and tags of a transaction are those of its appends, in order.
TEST(TxnValidate, EventsAndTagsThatAreNotInOrder) {
  const std::string_view tag[] = {"t"};
  Txn sound;
  sound.then = {effect(TxnEffectKind::kAppend, "a"), effect(TxnEffectKind::kAppend, "b")};
  sound.add_event(sound.then[0], {}, tag);
  sound.add_event(sound.then[1], {}, tag);
  EXPECT_EQ(refusal(sound), "");
  Txn txn = sound;
  std::swap(txn.then[0].first_event, txn.then[1].first_event);
  EXPECT_EQ(refusal(txn),
            "then[0].append.events are 1 from 1 on, they are to begin at 0 and there are 2");
  txn = sound;
  txn.then[1].event_count = 2;
  EXPECT_EQ(refusal(txn),
            "then[1].append.events are 2 from 1 on, they are to begin at 1 and there are 2");
  txn = sound;
  txn.events.emplace_back();
  EXPECT_EQ(refusal(txn), "the transaction has 3 events, its appends have 2");
  txn = sound;
  txn.events[1].first_tag = 0;
  EXPECT_EQ(
      refusal(txn),
      "then[1].append.events[0].tags are 1 from 0 on, they are to begin at 1 and there are 2");
  txn = sound;
  txn.events[1].tag_count = ~0u;
  EXPECT_EQ(refusal(txn),
            "then[1].append.events[0].tags are 4294967295 from 1 on, they are to begin at 1 and "
            "there are 2");
  txn = sound;
  txn.tags.push_back("left");
  EXPECT_EQ(refusal(txn), "the transaction has 3 tags, its events have 2");
}

}  // namespace
}  // namespace tailrace::statemachine
