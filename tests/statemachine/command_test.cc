#include "statemachine/command/command.h"

#include <gtest/gtest.h>

#include "core/random.h"

namespace tailrace::statemachine {
namespace {

std::vector<Command> samples() {
  Command event{Operation::kEvent, std::nullopt, as_bytes("orders"), as_bytes("created"), {}, 0};
  Command put{Operation::kPut, SessionSerial{{1, 2}, 3}, as_bytes("key"), as_bytes(""), {}, 0};
  Command erase{Operation::kDelete, std::nullopt, as_bytes(std::string_view("\0b", 2)), {}, {}, 0};
  Command add{Operation::kAdd, SessionSerial{{~0ull, ~0ull}, ~0ull}, as_bytes("n"), {}, {}, -7};
  Command cas{Operation::kCas, std::nullopt, as_bytes("k"), as_bytes("new"), as_bytes("old"), 0};
  Command digest{Operation::kDigest, std::nullopt, {}, {}, {}, 0};
  Command timed{Operation::kPut, std::nullopt, as_bytes("k"), as_bytes("v"), {}, 0, 77};
  Command expire{Operation::kExpire, SessionSerial{{1, 2}, 3}, as_bytes("k"), {}, {}, 0, ~0ull};
  Command forever{Operation::kExpire, std::nullopt, as_bytes("k"), {}, {}, 0};
  Command time{Operation::kTime, std::nullopt, {}, {}, {}, 0};
  Command compare{Operation::kCompare, std::nullopt, {}, {}, {}, 0};
  Command rules{Operation::kRules, std::nullopt, {}, as_bytes("rules"), {}, 0};
  Command txn{Operation::kTxn, SessionSerial{{1, 2}, 3}, {}, as_bytes("body"), {}, 0};
  Command insert{Operation::kInsert, std::nullopt, as_bytes("k"), as_bytes("new"), {}, 0};
  Command lock{Operation::kInsert, std::nullopt, as_bytes("k"), as_bytes("me"), {}, 0, 99};
  Command first{Operation::kPut, SessionSerial{{1, 2}, 1, 88}, as_bytes("k"), as_bytes("v"), {}, 0};
  Command both{
      Operation::kPut, SessionSerial{{1, 2}, 1, 88}, as_bytes("k"), as_bytes("v"), {}, 0, 7};
  return {event, put,     erase, add, cas,    digest, timed, expire, forever,
          time,  compare, rules, txn, insert, lock,   first, both};
}

TEST(Command, ComesBackAsItWasEncoded) {
  for (const Command& command : samples()) {
    std::vector<std::byte> bytes;
    encode(command, bytes);
    const auto back = decode(bytes);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->operation, command.operation);
    EXPECT_EQ(back->session, command.session);
    EXPECT_EQ(to_string(back->key), to_string(command.key));
    EXPECT_EQ(to_string(back->value), to_string(command.value));
    EXPECT_EQ(to_string(back->expected), to_string(command.expected));
    EXPECT_EQ(back->delta, command.delta);
    EXPECT_EQ(back->expires_at_ns, command.expires_at_ns);
  }
}

// The layout is a format: bytes that older nodes wrote must stay readable.
TEST(Command, HasTheDocumentedLayout) {
  const Command put{
      Operation::kPut, SessionSerial{{1, 2}, 3}, as_bytes("k"), as_bytes("vw"), {}, 0};
  std::vector<std::byte> bytes;
  encode(put, bytes);
  std::vector<unsigned> expected{2, 1, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  for (const unsigned word : {1u, 2u, 3u, 0u}) {
    expected.push_back(word);
    expected.insert(expected.end(), 7, 0u);
  }
  for (const char letter : {'k', 'v', 'w'})
    expected.push_back(static_cast<unsigned>(letter));
  std::vector<unsigned> got;
  for (const std::byte byte : bytes)
    got.push_back(std::to_integer<unsigned>(byte));
  EXPECT_EQ(got, expected);
}

// A time to live stands between header and key; what has none is as it always was (above).
TEST(Command, ATimeToLiveHasTheDocumentedLayout) {
  const Command put{Operation::kPut, std::nullopt, as_bytes("k"), as_bytes("vw"), {}, 0, 0x0102};
  std::vector<std::byte> bytes;
  encode(put, bytes);
  std::vector<unsigned> expected(56, 0u);
  expected[0] = 2;  // put
  expected[1] = 2;  // flags
  expected[2] = 1;
  expected[4] = 2;
  expected[48] = 2;
  expected[49] = 1;
  for (const char letter : {'k', 'v', 'w'})
    expected.push_back(static_cast<unsigned>(letter));
  std::vector<unsigned> got;
  for (const std::byte byte : bytes)
    got.push_back(std::to_integer<unsigned>(byte));
  EXPECT_EQ(got, expected);
}

// A bound stands behind the time to live.
TEST(Command, ABoundHasTheDocumentedLayout) {
  const Command put{Operation::kPut, SessionSerial{{3, 4}, 1, 0x0506}, as_bytes("k"), {}, {}, 0, 7};
  std::vector<std::byte> bytes;
  encode(put, bytes);
  std::vector<unsigned> expected(64, 0u);
  expected[0] = 2;  // put
  expected[1] = 7;  // flags
  expected[2] = 1;
  expected[16] = 3;
  expected[24] = 4;
  expected[32] = 1;
  expected[48] = 7;
  expected[56] = 6;
  expected[57] = 5;
  expected.push_back('k');
  std::vector<unsigned> got;
  for (const std::byte byte : bytes)
    got.push_back(std::to_integer<unsigned>(byte));
  EXPECT_EQ(got, expected);
  // Of no other serial, and of none.
  bytes[32] = std::byte{2};
  EXPECT_EQ(decode(bytes).error().code, ErrorCode::kCorruption);
  bytes[32] = std::byte{1};
  bytes[56] = bytes[57] = std::byte{0};
  EXPECT_EQ(decode(bytes).error().code, ErrorCode::kCorruption);
}

// Like a cas without an expected value but for its number.
TEST(Command, AnInsertHasTheDocumentedLayout) {
  Command insert{Operation::kInsert, std::nullopt, as_bytes("k"), as_bytes("vw"), {}, 0};
  std::vector<std::byte> bytes;
  encode(insert, bytes);
  std::vector<unsigned> expected(48, 0u);
  expected[0] = 11;  // insert
  expected[2] = 1;
  expected[4] = 2;
  for (const char letter : {'k', 'v', 'w'})
    expected.push_back(static_cast<unsigned>(letter));
  std::vector<unsigned> got;
  for (const std::byte byte : bytes)
    got.push_back(std::to_integer<unsigned>(byte));
  EXPECT_EQ(got, expected);
  insert.expected = as_bytes("e");
  EXPECT_EQ(validate(insert, 10).error().code, ErrorCode::kInvalidArgument);
  encode(insert, bytes);
  EXPECT_EQ(decode(bytes).error().code, ErrorCode::kCorruption);
}

TEST(Command, EveryTruncationAndEveryExtensionIsRefused) {
  for (const Command& command : samples()) {
    std::vector<std::byte> bytes;
    encode(command, bytes);
    for (size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(decode(ByteSpan(bytes).first(length))) << length;
    }
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(decode(bytes));
  }
}

// Whatever stands in a record, decoding ends in a command or an error, and never reads beyond it.
TEST(Command, RandomBytesNeverCrash) {
  Random random(20);
  std::vector<std::byte> bytes;
  for (int round = 0; round < 100000; ++round) {
    bytes.resize(random.below(96));
    random.fill(bytes);
    if (bytes.size() >= 12 && random.chance(3, 4)) {
      // Lengths that nearly fit reach deeper than pure noise.
      bytes[0] = static_cast<std::byte>(random.below(14));
      bytes[1] = static_cast<std::byte>(random.below(8));
      store(bytes.data() + 2, static_cast<uint16_t>(random.below(16)));
      store(bytes.data() + 4, static_cast<uint32_t>(random.below(32)));
      store(bytes.data() + 8, static_cast<uint32_t>(random.below(8)));
    }
    const auto command = decode(bytes);
    if (command) {
      std::vector<std::byte> again;
      encode(*command, again);
      EXPECT_EQ(again, bytes);
    }
  }
}

TEST(Command, ANewerOperationIsUnsupportedAndNotCorrupt) {
  std::vector<std::byte> bytes;
  encode(samples()[0], bytes);
  bytes[0] = std::byte{200};
  EXPECT_EQ(decode(bytes).error().code, ErrorCode::kUnsupported);
}

TEST(Command, LimitsAreNamedInTheError) {
  Command put{Operation::kPut, std::nullopt, {}, as_bytes("v"), {}, 0};
  EXPECT_EQ(validate(put, 10).error().code, ErrorCode::kInvalidArgument);
  put.key = as_bytes("k");
  EXPECT_TRUE(validate(put, 10));
  const std::string long_value(11, 'x');
  put.value = as_bytes(long_value);
  const auto refused = validate(put, 10);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("the limit is 10 bytes"), std::string::npos);
  const std::string long_key(kMaxKeyBytes + 1, 'k');
  put.value = {};
  put.key = as_bytes(long_key);
  EXPECT_FALSE(validate(put, 10));
  EXPECT_TRUE(validate_key(as_bytes("k")));
  EXPECT_TRUE(validate_key(as_bytes(std::string(kMaxKeyBytes, 'k'))));
  EXPECT_EQ(validate_key({}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(validate_key(as_bytes(std::string(kMaxKeyBytes + 1, 'k'))).error().code,
            ErrorCode::kInvalidArgument);
}

// Whoever may send commands must not be able to write one into the log that no node can apply.
TEST(Command, WhatIsValidIsDecodedAgain) {
  std::vector<std::byte> bytes;
  int valid = 0;
  for (int operation = 1; operation <= static_cast<int>(Operation::kInsert); ++operation) {
    for (int set = 0; set < 256; ++set) {
      Command command;
      command.operation = static_cast<Operation>(operation);
      if ((set & 1) != 0) command.key = as_bytes("key");
      if ((set & 2) != 0) command.value = as_bytes("value");
      if ((set & 4) != 0) command.expected = as_bytes("expected");
      if ((set & 8) != 0) command.delta = -1;
      if ((set & 16) != 0) command.session = SessionSerial{{1, 2}, 3};
      if ((set & 64) != 0) command.session = SessionSerial{{1, 2}, 1};
      if ((set & 128) != 0 && command.session) command.session->begins_before_ns = 5;
      if ((set & 32) != 0) command.expires_at_ns = 9;
      if (!validate(command, 100)) continue;
      ++valid;
      encode(command, bytes);
      const auto decoded = decode(bytes);
      ASSERT_TRUE(decoded) << decoded.error().message;
      EXPECT_EQ(decoded->operation, command.operation);
      EXPECT_EQ(decoded->session, command.session);
      EXPECT_EQ(as_text(decoded->expected), as_text(command.expected));
      EXPECT_EQ(decoded->delta, command.delta);
      EXPECT_EQ(decoded->expires_at_ns, command.expires_at_ns);
    }
  }
  EXPECT_GT(valid, 6);
  Command put{Operation::kPut, std::nullopt, as_bytes("k"), as_bytes("v"), {}, 5};
  EXPECT_EQ(validate(put, 10).error().code, ErrorCode::kInvalidArgument);
  put.delta = 0;
  put.expected = as_bytes("e");
  EXPECT_EQ(validate(put, 10).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace tailrace::statemachine
