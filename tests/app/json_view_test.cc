// JSON that is looked at where it stands: what is let through, what is refused and with which
// words, and that nothing of it changes on the way.
#include "json/json_view.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/nearest.h"
#include "core/random.h"
#include "json/base64.h"
#include "json/json_writer.h"
#include "json/time_text.h"
#include "json/uuid.h"

namespace tailrace {
namespace {

std::string refusal_of(std::string_view text) {
  const auto parsed = JsonView::parse(text);
  return parsed ? "taken" : parsed.error().message;
}

TEST(JsonViewTest, TakesWhatTheGrammarHas) {
  for (const char* text :
       {"null", " true ", "false", "0", "-0.5e+10", "\"\"", "[]", "{}", "[1,[2],{\"a\":3}]",
        "{\"a\":{\"b\":[]}}", "\"\\ud83d\\ude00\"", "1e400", "123456789012345678901234567890"})
    EXPECT_TRUE(JsonView::parse(text)) << text << ": " << refusal_of(text);
}

TEST(JsonViewTest, RefusesTheRestAndNamesThePlace) {
  EXPECT_EQ(refusal_of("{\"a\":1,\n \"b\" 2}"),
            "line 2, column 6: ':' is expected behind a member's name");
  EXPECT_EQ(refusal_of(""), "line 1, column 1: a value is expected");
  EXPECT_EQ(refusal_of("[1,]"), "line 1, column 4: a value is expected");
  EXPECT_EQ(refusal_of("{\"a\":1,}"), "line 1, column 8: a member's name in quotes is expected");
  EXPECT_EQ(refusal_of("01"), "line 1, column 2: a number does not begin with 0");
  EXPECT_EQ(refusal_of("1 2"), "line 1, column 3: there is more behind the value");
  EXPECT_EQ(refusal_of("\"\\ud83d\""), "line 1, column 2: half of a surrogate pair");
  EXPECT_EQ(refusal_of("\"\\ude00\""), "line 1, column 2: half of a surrogate pair");
  EXPECT_EQ(refusal_of("\"\\u12g4\""),
            "line 1, column 2: four hexadecimal digits are expected behind \\u");
  EXPECT_EQ(refusal_of("\"a"), "line 1, column 3: the text has no closing quote");
  EXPECT_EQ(refusal_of("\"\xff\""), "the text is not UTF-8");
  for (const char* text : {"nul", "+1", "1.", "1e", ".5", "[1 2]", "{1:2}", "'a'", "\"\n\"", "\\",
                           "\"\\x\"", "\"\\", "[", "{\"a\"", "NaN", "-", "\"\\u12"})
    EXPECT_FALSE(JsonView::parse(text)) << text;
}

TEST(JsonViewTest, DepthIsBounded) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(JsonView::parse(nested(kMostJsonDepth)));
  EXPECT_FALSE(JsonView::parse(nested(kMostJsonDepth + 1)));
  EXPECT_FALSE(JsonView::parse(std::string(size_t{1} << 20, '[')));
}

TEST(JsonViewTest, MembersAndElementsComeInTheirOrder) {
  const auto json = JsonView::parse(" { \"b\" : [ 1 , \"]\" , {} ] , \"a\\n\" : \"}\\\"\" } ");
  ASSERT_TRUE(json);
  auto members = json->items();
  ASSERT_TRUE(members.next());
  EXPECT_EQ(members.name(), "b");
  auto elements = members.value().items();
  ASSERT_TRUE(elements.next());
  EXPECT_EQ(elements.value().whole_number(), 1u);
  ASSERT_TRUE(elements.next());
  EXPECT_EQ(elements.value().string(), "]");
  ASSERT_TRUE(elements.next());
  EXPECT_EQ(elements.value().text(), "{}");
  EXPECT_FALSE(elements.next());
  ASSERT_TRUE(members.next());
  EXPECT_EQ(members.name(), "a\n");
  EXPECT_EQ(members.value().string(), "}\"");
  EXPECT_FALSE(members.next());
}

TEST(JsonViewTest, WhatIsPassedOnKeepsItsDigits) {
  std::string compact;
  const auto json = JsonView::parse("{ \"n\" : 12345678901234567890.10 , \"s\" : \" a\\u00e9 \" }");
  ASSERT_TRUE(json);
  EXPECT_EQ(append_compact(json->text(), compact), 1u);
  EXPECT_EQ(compact, "{\"n\":12345678901234567890.10,\"s\":\" a\\u00e9 \"}");
}

TEST(JsonViewTest, NumbersAreWholeOrNone) {
  EXPECT_EQ(JsonView::parse("18446744073709551615")->whole_number(), UINT64_MAX);
  EXPECT_EQ(JsonView::parse("18446744073709551616")->whole_number(), std::nullopt);
  EXPECT_EQ(JsonView::parse("1.0")->whole_number(), std::nullopt);
  EXPECT_EQ(JsonView::parse("1e2")->whole_number(), std::nullopt);
  EXPECT_EQ(JsonView::parse("-1")->whole_number(), std::nullopt);
  EXPECT_EQ(JsonView::parse("-9223372036854775808")->signed_number(), INT64_MIN);
  EXPECT_EQ(JsonView::parse("9223372036854775808")->signed_number(), std::nullopt);
}

TEST(JsonViewTest, TextsAreThoseOfTheOtherReader) {
  const uint64_t seed = random_seed();
  Random random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (int round = 0; round < 2000; ++round) {
    std::string text = "\"";
    for (uint64_t left = random.below(6); left > 0; --left) {
      constexpr const char* kParts[] = {"a",       "\\u0041", "\\ud83d\\ude00", "\\n",
                                        "\\u07ff", "\\uffff", "\xc3\xa9",       "\\\\"};
      text += kParts[random.below(std::size(kParts))];
    }
    text += "\"";
    const auto json = JsonView::parse(text);
    ASSERT_TRUE(json) << text;
    EXPECT_EQ(json->string(), nlohmann::json::parse(text).get<std::string>()) << text;
    std::string written;
    JsonWriter(written).text(json->string());
    EXPECT_EQ(JsonView::parse(written)->string(), json->string()) << written;
  }
}

TEST(TextFormsTest, Base64IsExact) {
  EXPECT_EQ(base64("\x01\x02"), "AQI=");
  for (const std::string bytes : {"", "a", "ab", "abc", "abcd"})
    EXPECT_EQ(from_base64(base64(bytes)), bytes);
  for (const char* text :
       {"A", "AB", "ABC", "====", "A===", "AB=C", "AB C", "AAAA=", "=AAA", "AA-_"})
    EXPECT_EQ(from_base64(text), std::nullopt) << text;
}

TEST(TextFormsTest, UuidsWithDashesOrWithout) {
  const auto uuid = parse_uuid("01234567-89AB-cdef-0123-456789abcdef");
  ASSERT_TRUE(uuid);
  EXPECT_EQ(uuid_text(*uuid), "01234567-89ab-cdef-0123-456789abcdef");
  EXPECT_EQ(parse_uuid("0123456789abcdef0123456789abcdef"), uuid);
  for (const char* text :
       {"", "0123", "01234567-89ab-cdef-0123-456789abcdeg", "0123456-789ab-cdef-0123-456789abcdef",
        "0123456789abcdef0123456789abcdef0"})
    EXPECT_EQ(parse_uuid(text), std::nullopt) << text;
  const std::string made = uuid_text(new_uuid(0x0123456789ab, UINT64_MAX, UINT64_MAX));
  EXPECT_EQ(made, "01234567-89ab-7fff-bfff-ffffffffffff");
}

TEST(TextFormsTest, TimesOfRfc3339) {
  EXPECT_EQ(parse_rfc3339_ns("1970-01-01T00:00:00Z"), 0u);
  EXPECT_EQ(parse_rfc3339_ns("2026-12-01T01:30:00.25+01:30"), 1796083200'250'000'000u);
  EXPECT_EQ(rfc3339_text(1796083200'250'000'000u), "2026-12-01T00:00:00.25Z");
  EXPECT_EQ(rfc3339_text(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(parse_rfc3339_ns(rfc3339_text(UINT64_MAX)), UINT64_MAX);
  for (const char* text :
       {"", "2026-12-01", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-12-01T24:00:00Z",
        "2026-12-01T00:00:00", "1969-12-31T23:59:59Z", "2026-12-01T00:00:00.Z",
        "9999-01-01T00:00:00Z", "2026-12-01T00:00:00Zx", "+026-12-01T00:00:00Z"})
    EXPECT_EQ(parse_rfc3339_ns(text), std::nullopt) << text;
}

TEST(TextFormsTest, DurationsNeedAUnit) {
  EXPECT_EQ(parse_duration_ms("30s"), 30'000u);
  EXPECT_EQ(parse_duration_ms("7 d"), 7 * 86'400'000u);
  EXPECT_EQ(parse_duration_ms("36500d"), 36500 * 86'400'000ull);
  for (const char* text : {"", "30", "s", "-1s", "1.5s", "36501d", "1w", "30 s "})
    EXPECT_EQ(parse_duration_ms(text), std::nullopt) << text;
}

TEST(TextFormsTest, TheNearestNameIsOneSlipAway) {
  constexpr std::string_view kNames[] = {"value", "key", "ttl"};
  EXPECT_EQ(nearest("vlaue", kNames), "value");
  EXPECT_EQ(nearest("something", kNames), std::nullopt);
  EXPECT_EQ(nearest(std::string(size_t{1} << 20, 'v'), kNames), std::nullopt);
}

}  // namespace
}  // namespace tailrace
