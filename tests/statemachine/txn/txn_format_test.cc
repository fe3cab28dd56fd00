// The format of transactions (docs/formats/txn.md): round trips, bytes, and where events stand.
#include <set>

#include <gtest/gtest.h>

#include "statemachine/txn/txn.h"
#include "tests/statemachine/txn/txn_samples.h"

namespace tailrace::statemachine {
namespace {

constexpr uint64_t kFormatSeeds = 3000;

// Promise: whatever passes validate() is decoded again after encode() to the same, and to the same
// bytes. Reuse of a Txn leaves nothing behind.
TEST(TxnFormat, ATransactionComesBackAsItWasEncoded) {
  Txn back;
  std::vector<std::byte> bytes, again;
  std::set<CheckKind> checks;
  std::set<TxnEffectKind> effects;
  for (uint64_t seed = 1; seed <= kFormatSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TxnSource source(seed);
    const Txn& txn = source.draw();
    const auto checked = validate(txn, kAmple);
    ASSERT_TRUE(checked) << checked.error().message;
    encode(txn, bytes);
    ASSERT_EQ(bytes.size(), encoded_bytes(txn));
    const auto decoded = decode(bytes, back);
    ASSERT_TRUE(decoded) << decoded.error().message;
    ASSERT_EQ(text_of(back), text_of(txn));
    encode(back, again);
    ASSERT_EQ(again, bytes);
    ASSERT_TRUE(validate(back, kAmple));
    for (const TxnCheck& check : txn.checks)
      checks.insert(check.kind);
    for (const auto* list : {&txn.then, &txn.otherwise})
      for (const TxnEffect& effect : *list)
        effects.insert(effect.kind);
  }
  EXPECT_EQ(checks.size(), static_cast<size_t>(CheckKind::kLast));
  EXPECT_EQ(effects.size(), static_cast<size_t>(TxnEffectKind::kLast));
}

// Promise: an event is decoded alone, from its place in the body or from its ordinal, and is the
// one that decode() has there. Ordinals go through `then` first.
TEST(TxnFormat, AnEventIsFoundByItsOffsetAndByItsOrdinal) {
  Txn txn;
  std::vector<std::byte> bytes;
  std::vector<std::string_view> tags;
  size_t events = 0;
  for (uint64_t seed = 1; seed <= kFormatSeeds / 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TxnSource source(seed);
    encode(source.draw(), bytes);
    ASSERT_TRUE(decode(bytes, txn));
    for (size_t ordinal = 0; ordinal < txn.events.size(); ++ordinal, ++events) {
      const TxnEvent& event = txn.events[ordinal];
      const std::string text = text_of(event, txn.tags_of(event));
      const auto at = event_at(bytes, event.offset, tags);
      ASSERT_TRUE(at) << at.error().message;
      EXPECT_EQ(text_of(*at, tags), text);
      EXPECT_EQ(at->offset, event.offset);
      const auto end = static_cast<size_t>(event.data.data() + event.data.size() - bytes.data());
      const ByteSpan own = ByteSpan(bytes).subspan(event.offset, end - event.offset);
      const auto alone = event_alone(own, tags);
      ASSERT_TRUE(alone) << alone.error().message;
      EXPECT_EQ(text_of(*alone, tags), text);
      EXPECT_FALSE(event_alone(own.first(own.size() - 1), tags));
      const auto of = event_of(bytes, ordinal, tags);
      ASSERT_TRUE(of) << of.error().message;
      EXPECT_EQ(text_of(*of, tags), text);
      EXPECT_EQ(of->offset, event.offset);
      EXPECT_EQ(std::pair(of->first_tag, of->tag_count), std::pair(0u, event.tag_count));
    }
    EXPECT_EQ(event_of(bytes, txn.events.size(), tags).error().code, ErrorCode::kOutOfRange);
  }
  EXPECT_GT(events, kFormatSeeds / 4);
}

// Promise: event_at() looks at no other item: behind damage elsewhere in the body an event is still
// read.
TEST(TxnFormat, AnEventIsReadWithoutTheItemsBeforeIt) {
  Txn txn;
  txn.then.push_back({.kind = TxnEffectKind::kDelete, .name = as_bytes("k")});
  txn.then.push_back({.kind = TxnEffectKind::kAppend, .name = as_bytes("s")});
  txn.add_event(txn.then.back(), {.type = "t", .data = as_bytes("data")});
  std::vector<std::byte> bytes;
  encode(txn, bytes);
  Txn back;
  ASSERT_TRUE(decode(bytes, back));
  bytes[16] = std::byte{0};  // the kind of the delete
  ASSERT_FALSE(decode(bytes, back));
  std::vector<std::string_view> tags;
  const auto event = event_at(bytes, bytes.size() - 12 - 1 - 4, tags);
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_EQ(event->type, "t");
  EXPECT_EQ(as_text(event->data), "data");
}

TEST(TxnFormat, NoEventBeginsOutsideOfTheBody) {
  Txn txn;
  txn.then.push_back({.kind = TxnEffectKind::kAppend, .name = as_bytes("s")});
  txn.add_event(txn.then.back(), {});
  std::vector<std::byte> bytes;
  std::vector<std::string_view> tags;
  encode(txn, bytes);
  ASSERT_TRUE(event_at(bytes, bytes.size() - 12, tags));
  for (const size_t offset : {size_t{0}, size_t{15}, bytes.size() - 11, bytes.size(),
                              bytes.size() + 1, ~size_t{0}, ~size_t{0} - 11}) {
    const auto event = event_at(bytes, offset, tags);
    ASSERT_FALSE(event) << offset;
    EXPECT_EQ(event.error().code, ErrorCode::kCorruption) << offset;
  }
}

// The layout is a format: bytes that older nodes wrote must stay readable. A failure here means
// that they are not.
TEST(TxnFormat, ChecksHaveTheDocumentedLayout) {
  Txn txn;
  txn.once = OnceKey{1, 2, 3};
  txn.checks = {{.kind = CheckKind::kKeyEquals, .name = as_bytes("k"), .value = as_bytes("vw")},
                {.kind = CheckKind::kKeyAbsent, .name = as_bytes("k")},
                {.kind = CheckKind::kKeyExists, .name = as_bytes("k")},
                {.kind = CheckKind::kKeyModifiedAt, .name = as_bytes("k"), .at = 0x0102},
                {.kind = CheckKind::kKeyNumber, .name = as_bytes("k"), .min = -1, .max = 9},
                {.kind = CheckKind::kStreamAt, .name = as_bytes("s"), .at = 7},
                {.kind = CheckKind::kStreamAbsent, .name = as_bytes("s")},
                {.kind = CheckKind::kStreamExists, .name = as_bytes("s")},
                {.kind = CheckKind::kBefore, .at = 8}};
  std::vector<std::byte> bytes;
  encode(txn, bytes);
  EXPECT_EQ(hex(bytes),
            "0101090000000000"
            "0000000000000000"
            "010000000000000002000000000000000300000000000000"
            "0100010002000000"
            "6b"
            "7677"
            "02000100"
            "6b"
            "03000100"
            "6b"
            "04000100"
            "0201000000000000"
            "6b"
            "05000100"
            "ffffffffffffffff"
            "0900000000000000"
            "6b"
            "06000100"
            "0700000000000000"
            "73"
            "07000100"
            "73"
            "08000100"
            "73"
            "09000000"
            "0800000000000000");
}

TEST(TxnFormat, EffectsHaveTheDocumentedLayout) {
  Txn txn;
  txn.then = {{.kind = TxnEffectKind::kPut, .name = as_bytes("a"), .value = as_bytes("v")},
              {.kind = TxnEffectKind::kPut, .name = as_bytes("b"), .expires_at_ns = 5},
              {.kind = TxnEffectKind::kDelete, .name = as_bytes("c")},
              {.kind = TxnEffectKind::kAdd, .name = as_bytes("d"), .delta = -2},
              {.kind = TxnEffectKind::kExpire, .name = as_bytes("e"), .expires_at_ns = 6},
              {.kind = TxnEffectKind::kExpire, .name = as_bytes("f")},
              {.kind = TxnEffectKind::kGet, .name = as_bytes("g")}};
  txn.otherwise = {{.kind = TxnEffectKind::kPolicy, .name = as_bytes("h"), .max_count = 0},
                   {.kind = TxnEffectKind::kPolicy,
                    .name = as_bytes("i"),
                    .max_age_ns = 7,
                    .truncate_before = 8,
                    .dedupe = 9},
                   {.kind = TxnEffectKind::kDeleteStream, .name = as_bytes("j")},
                   {.kind = TxnEffectKind::kTombstone, .name = as_bytes("k")}};
  std::vector<std::byte> bytes;
  encode(txn, bytes);
  EXPECT_EQ(hex(bytes),
            "0100000007000400"
            "0000000000000000"
            "01000100"
            "01000000"
            "61"
            "76"
            "01010100"
            "0500000000000000"
            "00000000"
            "62"
            "02000100"
            "63"
            "03000100"
            "feffffffffffffff"
            "64"
            "04010100"
            "0600000000000000"
            "65"
            "04000100"
            "66"
            "05000100"
            "67"
            "07010100"
            "0000000000000000"
            "68"
            "070e0100"
            "0700000000000000"
            "0800000000000000"
            "0900000000000000"
            "69"
            "08000100"
            "6a"
            "09000100"
            "6b");
}

TEST(TxnFormat, EventsHaveTheDocumentedLayout) {
  Txn txn;
  txn.then = {{.kind = TxnEffectKind::kAppend,
               .name = as_bytes("s"),
               .expected = Expected::kExact,
               .expected_version = 4}};
  EventIdBytes id{};
  id[0] = std::byte{0xaa};
  id[15] = std::byte{0xbb};
  const std::string_view tags[] = {"x", "yz"};
  txn.add_event(txn.then[0],
                {.type = "t",
                 .id = id,
                 .metadata = as_bytes("{}"),
                 .content_type = ContentType::kJson,
                 .data = as_bytes("1")},
                tags);
  txn.add_event(txn.then[0], {.content_type = ContentType::kProtobuf});
  for (const auto expected : {Expected::kAny, Expected::kNone, Expected::kExists}) {
    const std::string_view names[] = {"a", "n", "e"};
    txn.otherwise.push_back({.kind = TxnEffectKind::kAppend,
                             .name = as_bytes(names[static_cast<size_t>(expected)]),
                             .expected = expected});
    txn.add_event(txn.otherwise.back(), {.content_type = ContentType::kText});
  }
  ASSERT_TRUE(validate(txn, kAmple));
  std::vector<std::byte> bytes;
  encode(txn, bytes);
  EXPECT_EQ(hex(bytes),
            "0100000001000300"
            "0000000000000000"
            "06030100"
            "0400000000000000"
            "0200"
            "73"
            "01010102"
            "02000000"
            "01000000"
            "aa0000000000000000000000000000bb"
            "74"
            "0178"
            "02797a"
            "7b7d"
            "31"
            "00030000"
            "00000000"
            "00000000"
            "06000100"
            "0100"
            "61"
            "00020000"
            "00000000"
            "00000000"
            "06010100"
            "0100"
            "6e"
            "00020000"
            "00000000"
            "00000000"
            "06020100"
            "0100"
            "65"
            "00020000"
            "00000000"
            "00000000");
  ASSERT_TRUE(decode(bytes, txn));
  EXPECT_EQ(txn.events[0].offset, 16u + 15);
  EXPECT_EQ(txn.events[1].offset, 16u + 15 + 37);
}

std::vector<std::byte> dated(const Txn& txn, uint64_t now_ns) {
  std::vector<std::byte> bytes;
  encode(txn, bytes);
  const auto done = date(bytes, now_ns);
  EXPECT_TRUE(done) << done.error().message;
  return bytes;
}

// Promise: the leader's time is added to what says how long something lasts, to nothing else, and
// no sum runs over; so the body is that of the transaction with these times.
TEST(TxnFormat, DatingAddsTheTimeToWhatLasts) {
  constexpr uint64_t kNow = 1'700'000'000'000'000'000;
  const auto later = [](uint64_t& time_ns) {
    time_ns = time_ns > UINT64_MAX - kNow ? UINT64_MAX : time_ns + kNow;
  };
  std::vector<std::byte> bytes;
  size_t times = 0;
  for (uint64_t seed = 1; seed <= kFormatSeeds / 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TxnSource source(seed);
    Txn txn = source.draw();
    const std::vector<std::byte> patched = dated(txn, kNow);
    txn.time_ns = kNow;
    if (txn.once) later(txn.once->until_ns);
    for (auto* list : {&txn.then, &txn.otherwise})
      for (TxnEffect& effect : *list) {
        if (effect.expires_at_ns == 0) continue;
        later(effect.expires_at_ns);
        ++times;
      }
    encode(txn, bytes);
    ASSERT_EQ(hex(patched), hex(bytes));
  }
  EXPECT_GT(times, kFormatSeeds / 10);
}

TEST(TxnFormat, ABodyIsDatedOnceAndOnlyIfItIsSound) {
  Txn txn;
  txn.then = {{.kind = TxnEffectKind::kPut, .name = as_bytes("k"), .expires_at_ns = 1}};
  std::vector<std::byte> bytes = dated(txn, 5);
  EXPECT_EQ(date(bytes, 5).error().code, ErrorCode::kInvalidArgument);
  encode(txn, bytes);
  bytes.push_back(std::byte{0});
  EXPECT_EQ(date(bytes, 5).error().code, ErrorCode::kCorruption);
}

// Promise: the body of the least transaction is its head alone.
TEST(TxnFormat, ATransactionMayBeEmpty) {
  const Txn txn;
  ASSERT_TRUE(validate(txn, {16, 0}));
  std::vector<std::byte> bytes;
  encode(txn, bytes);
  EXPECT_EQ(hex(bytes), "01000000000000000000000000000000");
  Txn back;
  EXPECT_TRUE(decode(bytes, back));
}

}  // namespace
}  // namespace tailrace::statemachine
