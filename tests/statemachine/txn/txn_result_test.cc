// The format of what a transaction came to (docs/formats/txn.md).
#include "statemachine/txn/txn_result.h"

#include <set>

#include <gtest/gtest.h>

#include "tests/statemachine/txn/txn_samples.h"

namespace tailrace::statemachine {
namespace {

std::string text_of(const TxnResult& result) {
  std::string text = fmt::format("{} at {}\n", result.succeeded, result.position);
  for (const FailedCheck& each : result.failed)
    text += fmt::format("failed {} {} found {} '{}' {}\n", static_cast<int>(each.list), each.index,
                        static_cast<int>(each.found), hex(each.value), each.number);
  for (const EffectResult& each : result.results)
    text += fmt::format("result {} {} '{}' {} versions {} {} replayed {}\n",
                        static_cast<int>(each.kind), each.number, hex(each.value),
                        each.withheld_bytes, each.first_version, each.last_version, each.replayed);
  return text;
}

FailedCheck draw_failed(Random& random) {
  FailedCheck failed;
  failed.list = static_cast<TxnList>(random.below(4));
  failed.index = static_cast<uint16_t>(random.below(4096));
  failed.found = static_cast<FoundKind>(random.between(1, 12));
  switch (failed.found) {
    case FoundKind::kValue:
      failed.value = as_bytes("value").first(random.below(6));
      break;
    case FoundKind::kWithheld:
    case FoundKind::kPosition:
    case FoundKind::kVersion:
    case FoundKind::kLogTime:
    case FoundKind::kPartialIds:
    case FoundKind::kStreamFull:
    case FoundKind::kOnceFull:
    case FoundKind::kReadLimit:
      failed.number = random.next();
      break;
    case FoundKind::kAbsent:
    case FoundKind::kNoStream:
    case FoundKind::kTombstoned:
      break;
  }
  return failed;
}

EffectResult draw_effect_result(Random& random) {
  EffectResult result;
  result.kind = static_cast<EffectResultKind>(random.between(1, 6));
  switch (result.kind) {
    case EffectResultKind::kNothing:
    case EffectResultKind::kAbsent:
      break;
    case EffectResultKind::kNumber:
      result.number = static_cast<int64_t>(random.next());
      break;
    case EffectResultKind::kValue:
      result.value = as_bytes("another value").first(random.below(14));
      break;
    case EffectResultKind::kWithheld:
      result.withheld_bytes = random.next();
      break;
    case EffectResultKind::kAppended:
      result.first_version = random.below(100);
      result.last_version = result.first_version + random.below(3);
      result.replayed = random.chance(1, 2);
      break;
  }
  return result;
}

TxnResult draw_result(uint64_t seed) {
  Random random(seed);
  TxnResult result;
  result.position = random.next();
  for (uint64_t left = random.below(4); left > 0; --left)
    result.failed.push_back(draw_failed(random));
  result.succeeded = result.failed.empty();
  for (uint64_t left = random.below(5); left > 0; --left)
    result.results.push_back(draw_effect_result(random));
  return result;
}

// Promise: a result is decoded to what was encoded, and that to the same bytes.
TEST(TxnResult, ComesBackAsItWasEncoded) {
  TxnResult back;
  std::vector<std::byte> bytes, again;
  std::set<FoundKind> found;
  std::set<EffectResultKind> kinds;
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const TxnResult result = draw_result(seed);
    encode(result, bytes);
    ASSERT_EQ(bytes.size(), encoded_bytes(result));
    const auto decoded = decode(bytes, back);
    ASSERT_TRUE(decoded) << decoded.error().message;
    ASSERT_EQ(text_of(back), text_of(result));
    encode(back, again);
    ASSERT_EQ(again, bytes);
    for (const FailedCheck& each : result.failed)
      found.insert(each.found);
    for (const EffectResult& each : result.results)
      kinds.insert(each.kind);
  }
  EXPECT_EQ(found.size(), static_cast<size_t>(FoundKind::kLast));
  EXPECT_EQ(kinds.size(), static_cast<size_t>(EffectResultKind::kLast));
}

// The layout is a format: sessions keep such bytes.
TEST(TxnResult, HasTheDocumentedLayout) {
  TxnResult result;
  result.succeeded = true;
  result.position = 0x0102;
  result.results = {{.kind = EffectResultKind::kNothing},
                    {.kind = EffectResultKind::kNumber, .number = -2},
                    {.kind = EffectResultKind::kValue, .value = as_bytes("v")},
                    {.kind = EffectResultKind::kAbsent},
                    {.kind = EffectResultKind::kWithheld, .withheld_bytes = 9},
                    {.kind = EffectResultKind::kAppended, .first_version = 3, .last_version = 4},
                    {.kind = EffectResultKind::kAppended, .replayed = true}};
  std::vector<std::byte> bytes;
  encode(result, bytes);
  EXPECT_EQ(hex(bytes),
            "0101000007000000"
            "0201000000000000"
            "0100"
            "0200"
            "feffffffffffffff"
            "0300"
            "01000000"
            "76"
            "0400"
            "0500"
            "0900000000000000"
            "0600"
            "0300000000000000"
            "0400000000000000"
            "0601"
            "0000000000000000"
            "0000000000000000");
  result.clear();
  result.failed = {{TxnList::kChecks, 1, FoundKind::kAbsent, {}, 0},
                   {TxnList::kThen, 2, FoundKind::kValue, as_bytes("v"), 0},
                   {TxnList::kElse, 3, FoundKind::kWithheld, {}, 5000},
                   {TxnList::kChecks, 4, FoundKind::kPosition, {}, 64},
                   {TxnList::kChecks, 5, FoundKind::kNoStream, {}, 0},
                   {TxnList::kChecks, 6, FoundKind::kVersion, {}, 7},
                   {TxnList::kThen, 7, FoundKind::kTombstoned, {}, 0},
                   {TxnList::kChecks, 0x0f08, FoundKind::kLogTime, {}, 8}};
  encode(result, bytes);
  EXPECT_EQ(hex(bytes),
            "0100080000000000"
            "0000000000000000"
            "00010100"
            "01020200"
            "0100"
            "76"
            "02030300"
            "8813000000000000"
            "00040400"
            "4000000000000000"
            "00050500"
            "00060600"
            "0700000000000000"
            "01070700"
            "0008080f"
            "0800000000000000");
}

// Promise: a value that is longer than 4 KiB is told by its length alone.
TEST(TxnResult, ALongValueIsWithheld) {
  const std::string longest(kMaxFoundBytes, 'v'), longer = longest + "v";
  const FailedCheck with = found_value(TxnList::kThen, 3, as_bytes(longest));
  EXPECT_EQ(with.found, FoundKind::kValue);
  EXPECT_EQ(with.value.size(), kMaxFoundBytes);
  EXPECT_EQ(std::pair(with.list, with.index), std::pair(TxnList::kThen, uint16_t{3}));
  const FailedCheck without = found_value(TxnList::kThen, 3, as_bytes(longer));
  EXPECT_EQ(without.found, FoundKind::kWithheld);
  EXPECT_EQ(without.number, kMaxFoundBytes + 1);
  EXPECT_TRUE(without.value.empty());
  TxnResult result;
  result.failed = {with, without};
  std::vector<std::byte> bytes;
  encode(result, bytes);
  TxnResult back;
  ASSERT_TRUE(decode(bytes, back));
  EXPECT_EQ(text_of(back), text_of(result));
  store(bytes.data() + 20, static_cast<uint16_t>(kMaxFoundBytes + 1));
  EXPECT_EQ(decode(bytes, back).error().message,
            "no result of a transaction: at byte 20: a value of 4097 bytes");
}

// Promise: whatever a transaction comes to, its result has a bound, and what fits stays.
TEST(TxnResult, IsLimitedByLeavingValuesOut) {
  const std::string large(300'000, 'v'), found(kMaxFoundBytes, 'f');
  TxnResult result;
  result.succeeded = true;
  for (int i = 0; i < 5; ++i)
    result.results.push_back({.kind = EffectResultKind::kValue, .value = as_bytes(large)});
  limit_bytes(result);
  EXPECT_LE(encoded_bytes(result), kMostTxnResultBytes);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(result.results[i].kind,
              i < 3 ? EffectResultKind::kValue : EffectResultKind::kWithheld);
    EXPECT_EQ(result.results[i].withheld_bytes, i < 3 ? 0 : large.size());
  }
  result.clear();
  for (size_t i = 0; i < kMaxTxnItems; ++i) {
    result.failed.push_back(found_value(TxnList::kChecks, 0, as_bytes(found)));
    result.results.push_back({.kind = EffectResultKind::kValue, .value = as_bytes(large)});
  }
  limit_bytes(result);
  EXPECT_LE(encoded_bytes(result), kMostTxnResultBytes);
  EXPECT_EQ(result.failed.front().found, FoundKind::kValue);
  EXPECT_EQ(result.failed.back().found, FoundKind::kWithheld);
  EXPECT_EQ(result.failed.back().number, found.size());
  // The longest that has no values.
  result.clear();
  result.failed.assign(kMaxTxnItems, {.found = FoundKind::kVersion});
  result.results.assign(kMaxTxnItems, {.kind = EffectResultKind::kAppended});
  EXPECT_LE(encoded_bytes(result), kMostTxnResultBytes);
}

void read_again(ByteSpan bytes) {
  static TxnResult result;
  const auto decoded = decode(bytes, result);
  if (decoded) {
    static std::vector<std::byte> again;
    encode(result, again);
    EXPECT_TRUE(as_text(again) == as_text(bytes)) << hex(again) << "\n" << hex(bytes);
    return;
  }
  EXPECT_TRUE(decoded.error().code == ErrorCode::kCorruption ||
              decoded.error().code == ErrorCode::kUnsupported);
}

TEST(TxnResult, EveryTruncationIsRefusedAndEveryChangeIsReadAsItStands) {
  TxnResult back;
  std::vector<std::byte> bytes;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    encode(draw_result(seed), bytes);
    for (size_t length = 0; length < bytes.size(); ++length) {
      const std::vector<std::byte> part(bytes.begin(),
                                        bytes.begin() + static_cast<ptrdiff_t>(length));
      EXPECT_EQ(decode(part, back).error().code, ErrorCode::kCorruption);
    }
    for (size_t at = 0; at < bytes.size(); ++at) {
      std::vector<std::byte> changed(bytes.begin(), bytes.end());
      for (unsigned value = 0; value < 256; ++value) {
        changed[at] = static_cast<std::byte>(value);
        read_again(changed);
      }
    }
    bytes.push_back(std::byte{0});
    EXPECT_EQ(decode(bytes, back).error().code, ErrorCode::kCorruption);
  }
}

struct RefusedResult {
  size_t at;
  unsigned byte;
  ErrorCode code;
  std::string message;
};

TEST(TxnResult, EachRefusalNamesTheByteAndTheReason) {
  constexpr auto kDamage = ErrorCode::kCorruption;
  constexpr auto kNewer = ErrorCode::kUnsupported;
  const std::string newer = " is of a newer version; upgrade this node";
  TxnResult result;
  result.failed = {{TxnList::kThen, 1, FoundKind::kAbsent, {}, 0}};             // byte 16
  result.results = {{.kind = EffectResultKind::kNumber, .number = 1},           // byte 20
                    {.kind = EffectResultKind::kAppended, .last_version = 1}};  // byte 30
  std::vector<std::byte> sound;
  encode(result, sound);
  TxnResult back;
  ASSERT_TRUE(decode(sound, back));
  const RefusedResult all[] = {
      {0, 0, kDamage, "0: version 0"},
      {0, 2, kNewer, "0: version 2" + newer},
      {1, 2, kNewer, "0: flags 2" + newer},
      {1, 1, kDamage, "0: it has succeeded, but something failed"},
      {2, 0, kDamage, "0: nothing failed, but it has not succeeded"},
      {3, 16, kDamage, "0: more than 4096 items"},
      {5, 16, kDamage, "0: more than 4096 items"},
      {6, 1, kDamage, "0: a reserved field is not zero"},
      {16, 4, kNewer, "16: list 4" + newer},
      {17, 0, kDamage, "16: found is 0"},
      {17, 13, kNewer, "16: found 13" + newer},
      {19, 16, kDamage, "16: item 4097 failed"},
      {20, 0, kDamage, "20: a result of kind 0"},
      {20, 7, kNewer, "20: a result of kind 7" + newer},
      {21, 1, kNewer, "20: flags 1 of a result" + newer},
      {31, 2, kNewer, "30: flags 2 of a result" + newer},
      {32, 2, kDamage, "40: versions out of order"},
  };
  for (const RefusedResult& each : all) {
    std::vector<std::byte> bytes = sound;
    bytes.at(each.at) = static_cast<std::byte>(each.byte);
    const auto decoded = decode(bytes, back);
    ASSERT_FALSE(decoded) << each.message;
    EXPECT_EQ(decoded.error().message, "no result of a transaction: at byte " + each.message);
    EXPECT_EQ(decoded.error().code, each.code) << each.message;
  }
}

}  // namespace
}  // namespace tailrace::statemachine
