// What is no transaction, or one of a newer program: each is refused by its code and its message,
// and nothing outside the bytes is read.
#include <gtest/gtest.h>

#include "statemachine/txn/txn.h"
#include "tests/statemachine/txn/txn_samples.h"

namespace tailrace::statemachine {
namespace {

/// On the heap and just as long as the bytes, so that the address sanitizer sees a read beyond
/// them.
std::vector<std::byte> exactly(ByteSpan bytes) {
  return {bytes.begin(), bytes.end()};
}

void read_all_ways(ByteSpan body) {
  static Txn txn;
  static std::vector<std::string_view> tags;
  const auto decoded = decode(body, txn);
  if (decoded) {
    static std::vector<std::byte> again;
    encode(txn, again);
    EXPECT_TRUE(as_text(again) == as_text(body)) << hex(again) << "\n" << hex(body);
    (void)validate(txn, kAmple);
  } else {
    EXPECT_TRUE(decoded.error().code == ErrorCode::kCorruption ||
                decoded.error().code == ErrorCode::kUnsupported);
  }
  for (const size_t ordinal : {0, 1, 5})
    (void)event_of(body, ordinal, tags);
}

/// What an event takes of the body.
size_t event_bytes(const Txn& txn, const TxnEvent& event) {
  size_t bytes = 12 + (event.id ? 16 : 0) + event.type.size() + event.metadata.size();
  for (const std::string_view tag : txn.tags_of(event))
    bytes += 1 + tag.size();
  return bytes + event.data.size();
}

// Promise: no part of a body is a transaction, nor a part of an event one, and nothing may follow a
// body.
TEST(TxnDamage, EveryTruncationAndEveryExtensionIsRefused) {
  Txn txn, whole;
  std::vector<std::string_view> tags;
  std::vector<std::byte> bytes;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TxnSource source(seed);
    encode(source.draw(), bytes);
    ASSERT_TRUE(decode(bytes, whole));
    for (size_t length = 0; length < bytes.size(); ++length) {
      const std::vector<std::byte> part = exactly(ByteSpan(bytes).first(length));
      const auto decoded = decode(part, txn);
      ASSERT_FALSE(decoded) << length;
      EXPECT_EQ(decoded.error().code, ErrorCode::kCorruption);
      for (const TxnEvent& event : whole.events)
        EXPECT_EQ(event_at(part, event.offset, tags).has_value(),
                  event.offset + event_bytes(whole, event) <= length);
      read_all_ways(part);
    }
    bytes.push_back(std::byte{0});
    EXPECT_EQ(decode(bytes, txn).error().code, ErrorCode::kCorruption);
  }
}

// Promise: whatever one byte becomes, decoding ends in an error or in a transaction that has just
// these bytes.
TEST(TxnDamage, EveryChangeOfAByteIsReadAsItStands) {
  std::vector<std::byte> bytes;
  std::vector<std::string_view> tags;
  for (const uint64_t seed : {3, 7, 8, 11}) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TxnSource source(seed);
    encode(source.draw(), bytes);
    for (size_t at = 0; at < bytes.size(); ++at) {
      std::vector<std::byte> changed = exactly(bytes);
      for (unsigned value = 0; value < 256; ++value) {
        changed[at] = static_cast<std::byte>(value);
        read_all_ways(changed);
        (void)event_at(changed, at, tags);
      }
    }
  }
}

TEST(TxnDamage, RandomBytesNeverCrash) {
  Random random(21);
  std::vector<std::byte> bytes;
  for (int round = 0; round < 50000; ++round) {
    bytes.resize(random.below(80));
    random.fill(bytes);
    if (bytes.size() >= 24 && random.chance(3, 4)) {
      // What nearly fits reaches deeper than pure noise.
      const uint16_t head[] = {1, static_cast<uint16_t>(random.below(2)),
                               static_cast<uint16_t>(random.below(2)),
                               static_cast<uint16_t>(random.below(2))};
      store(bytes.data(), head);
      bytes[16] = static_cast<std::byte>(random.below(11));
      bytes[17] = static_cast<std::byte>(random.below(4));
      store(bytes.data() + 18, static_cast<uint16_t>(random.below(3)));
    }
    read_all_ways(bytes);
  }
}

struct Refused {
  const char* what;
  size_t at;
  unsigned byte;
  ErrorCode code;
  std::string message;
};

/// An append of one event with a tag, a put, a policy and a check.
std::vector<std::byte> one_of_each() {
  Txn txn;
  txn.once = OnceKey{1, 2, 3};
  txn.checks = {{.kind = CheckKind::kKeyAbsent, .name = as_bytes("k")}};  // byte 40
  txn.then = {{.kind = TxnEffectKind::kAppend, .name = as_bytes("s")}};   // byte 45
  const std::string_view tags[] = {"x"};
  txn.add_event(txn.then[0], {}, tags);  // byte 52, tag 64
  txn.then.push_back({.kind = TxnEffectKind::kPut, .name = as_bytes("a"), .expires_at_ns = 1});
  txn.then.push_back({.kind = TxnEffectKind::kPolicy, .name = as_bytes("p"), .max_count = 1});
  std::vector<std::byte> bytes;  // 66 and 83
  encode(txn, bytes);
  return bytes;
}

// Promise: what a newer program wrote is told from damage, and each message says where and why.
TEST(TxnDamage, EachRefusalNamesTheByteAndTheReason) {
  constexpr auto kDamage = ErrorCode::kCorruption;
  constexpr auto kNewer = ErrorCode::kUnsupported;
  const std::string newer = " is of a newer version; upgrade this node";
  const Refused all[] = {
      {"version", 0, 0, kDamage, "at byte 0: version 0"},
      {"version", 0, 2, kNewer, "at byte 0: version 2" + newer},
      {"flags", 1, 3, kNewer, "at byte 0: flags 3" + newer},
      {"checks", 3, 16, kDamage, "at byte 0: more than 4096 items"},
      {"once", 32, 0, kDamage, "at byte 32: a once key is remembered until 0"},
      {"kind of check", 40, 0, kDamage, "at byte 40: a check of kind 0"},
      {"kind of check", 40, 10, kNewer, "at byte 40: a check of kind 10" + newer},
      {"flags of check", 41, 1, kNewer, "at byte 40: flags 1 of a check" + newer},
      {"name of check", 42, 0, kDamage, "at byte 40: an empty name"},
      {"a name where there is none", 40, 9, kDamage, "at byte 40: a name of what has none"},
      {"kind of effect", 45, 0, kDamage, "at byte 45: an effect of kind 0"},
      {"kind of effect", 45, 10, kNewer, "at byte 45: an effect of kind 10" + newer},
      {"flags of append", 46, 4, kNewer, "at byte 45: flags 4 of append" + newer},
      {"events", 49, 0, kDamage, "at byte 49: an append without events"},
      {"events", 50, 16, kDamage, "at byte 52: more than 4096 items with its events"},
      {"flags of event", 52, 2, kNewer, "at byte 52: flags 2 of an event" + newer},
      {"content type", 53, 4, kNewer, "at byte 52: content type 4" + newer},
      {"tags", 55, 17, kDamage, "at byte 52: 17 tags of an event"},
      {"metadata", 58, 2, kDamage, "at byte 52: 131072 bytes of metadata"},
      {"tag", 64, 0, kDamage, "at byte 64: an empty tag"},
      {"time of put", 70, 0, kDamage, "at byte 70: a time is flagged but not given"},
      {"policy", 84, 0, kDamage, "at byte 83: a policy that says nothing"},
      {"policy", 84, 16, kNewer, "at byte 83: flags 16 of policy" + newer},
      {"ids", 84, 9, kDamage, "at byte 95: 8 bytes are to follow, 1 are left"},
      {"length", 81, 1, kDamage, "at byte 83: 16777216 bytes are to follow, 13 are left"},
      {"end", 6, 1, kDamage, "at byte 96: 4 bytes are to follow, 0 are left"},
      {"end", 4, 2, kDamage, "at byte 83: 13 bytes are left behind its end"},
  };
  const std::vector<std::byte> sound = one_of_each();
  Txn txn;
  ASSERT_TRUE(decode(sound, txn));
  for (const Refused& each : all) {
    std::vector<std::byte> bytes = sound;
    bytes.at(each.at) = static_cast<std::byte>(each.byte);
    const auto decoded = decode(bytes, txn);
    ASSERT_FALSE(decoded) << each.what;
    EXPECT_EQ(decoded.error().message, "no transaction: " + each.message) << each.what;
    EXPECT_EQ(decoded.error().code, each.code) << each.what;
  }
}

// Promise: no node is told to remember more ids of a stream than a stream can.
TEST(TxnDamage, APolicyOfTooManyIds) {
  Txn txn;
  txn.then = {{.kind = TxnEffectKind::kPolicy, .name = as_bytes("s"), .dedupe = 256}};
  std::vector<std::byte> bytes;
  encode(txn, bytes);
  ASSERT_TRUE(decode(bytes, txn));
  store(bytes.data() + 20, uint64_t{257});
  EXPECT_EQ(decode(bytes, txn).error().message,
            "no transaction: at byte 20: 257 ids to be remembered");
}

// Promise: no body makes decoding hold more than kMaxTxnItems items.
TEST(TxnDamage, EventsCountAmongTheItems) {
  Txn txn;
  txn.then = {{.kind = TxnEffectKind::kAppend, .name = as_bytes("s")}};
  for (size_t i = 0; i + 1 < kMaxTxnItems; ++i)
    txn.add_event(txn.then[0], {});
  std::vector<std::byte> bytes;
  Txn back;
  ASSERT_TRUE(validate(txn, kAmple));
  encode(txn, bytes);
  ASSERT_TRUE(decode(bytes, back));
  EXPECT_EQ(back.events.size(), kMaxTxnItems - 1);
  txn.add_event(txn.then[0], {});
  EXPECT_FALSE(validate(txn, kAmple));
  encode(txn, bytes);
  EXPECT_EQ(decode(bytes, back).error().code, ErrorCode::kCorruption);
}

}  // namespace
}  // namespace tailrace::statemachine
