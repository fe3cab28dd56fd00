// The JSON of transactions, of what they came to, and of events: what each form means, and that a
// mistake is told with its place.
#include <gtest/gtest.h>

#include "json/txn_json.h"
#include "json/txn_result_json.h"
#include "json/uuid.h"

namespace tailrace {
namespace {

using namespace statemachine;

std::string wrong(std::string_view text) {
  const auto parsed = parse_txn(text);
  return parsed ? "taken" : parsed.error().message;
}
std::string wrong_event(std::string_view text) {
  const auto parsed = parse_event(text);
  return parsed ? "taken" : parsed.error().message;
}
/// What one check or effect says, in a transaction of its own.
std::string wrong_check(const std::string& check) {
  return wrong("{\"if\":[" + check + "]}");
}
std::string wrong_effect(const std::string& effect) {
  return wrong("{\"then\":[" + effect + "]}");
}

TEST(TxnJsonTest, EachCheckIsUnderstood) {
  const auto owned = parse_txn(R"({"if":[
      {"stream":"a","at":1}, {"stream":"b","none":true}, {"stream":"c","exists":true},
      {"key":"d","absent":true}, {"key":"e","exists":true}, {"key":"f","equals":"v"},
      {"key_base64":"/w==","equals_base64":"AA=="}, {"key":"g","min":-1,"max":9}, {"key":"h","min":3},
      {"key":"i","modified_at":4711}, {"before":"1970-01-01T00:00:01Z"}]})");
  ASSERT_TRUE(owned) << owned.error().message;
  const auto& checks = owned->txn.checks;
  ASSERT_EQ(checks.size(), 11u);
  const CheckKind kinds[] = {
      CheckKind::kStreamAt,      CheckKind::kStreamAbsent, CheckKind::kStreamExists,
      CheckKind::kKeyAbsent,     CheckKind::kKeyExists,    CheckKind::kKeyEquals,
      CheckKind::kKeyEquals,     CheckKind::kKeyNumber,    CheckKind::kKeyNumber,
      CheckKind::kKeyModifiedAt, CheckKind::kBefore};
  for (size_t i = 0; i < checks.size(); ++i)
    EXPECT_EQ(checks[i].kind, kinds[i]) << i;
  EXPECT_EQ(checks[0].at, 1u);
  EXPECT_EQ(as_text(checks[5].value), "v");
  EXPECT_EQ(as_text(checks[6].name), "\xff");
  EXPECT_EQ(as_text(checks[6].value), std::string_view("\0", 1));
  EXPECT_EQ(checks[7].min, -1);
  EXPECT_EQ(checks[7].max, 9);
  EXPECT_EQ(checks[8].max, INT64_MAX);
  EXPECT_EQ(checks[9].at, 4711u);
  EXPECT_EQ(checks[10].at, 1'000'000'000u);
  EXPECT_TRUE(validate(owned->txn, {1 << 20, 1 << 20}));
}

TEST(TxnJsonTest, EachEffectIsUnderstood) {
  const auto owned = parse_txn(R"({
    "else":[{"append":{"stream":"z","events":[{"text":"last"}]}}],
    "once":"00112233-4455-6677-8899-aabbccddeeff",
    "then":[{"put":{"key":"a","value":"1","ttl":"30s"}}, {"put":{"key":"a2","value_base64":"/w=="}},
      {"add":{"key":"b","delta":-1}}, {"delete":{"key":"c"}}, {"expire":{"key":"d","ttl":null}},
      {"append":{"stream":"s","expected":1,"events":[
        {"id":"00112233445566778899aabbccddeeff","type":"t","data":{"x": 1.50},"meta":{"m": 1},"tags":["a:1","b"]},
        {"data_base64":"AAE=","content_type":"protobuf"}]}},
      {"append":{"stream":"s2","expected":"none","events":[{}]}}, {"get":{"key":"g"}},
      {"policy":{"stream":"p","max_count":5,"max_age":"7d","truncate_before":2}},
      {"delete_stream":{"stream":"q"}}, {"tombstone":{"stream":"r"}}]})");
  ASSERT_TRUE(owned) << owned.error().message;
  const Txn& txn = owned->txn;
  ASSERT_TRUE(txn.once);
  EXPECT_EQ(txn.once->high, 0x0011223344556677u);
  EXPECT_EQ(txn.once->low, 0x8899aabbccddeeffu);
  EXPECT_EQ(txn.once->until_ns, 86'400'000'000'000u);
  ASSERT_EQ(txn.then.size(), 11u);
  EXPECT_EQ(txn.then[0].expires_at_ns, 30'000'000'000u);
  EXPECT_EQ(as_text(txn.then[1].value), "\xff");
  EXPECT_EQ(txn.then[2].delta, -1);
  EXPECT_EQ(txn.then[4].expires_at_ns, 0u);
  EXPECT_EQ(txn.then[5].expected, Expected::kExact);
  EXPECT_EQ(txn.then[5].expected_version, 1u);
  EXPECT_EQ(txn.then[6].expected, Expected::kNone);
  EXPECT_EQ(txn.then[8].max_age_ns, 7ull * 86'400'000'000'000);
  EXPECT_EQ(txn.then[8].truncate_before, 2u);
  ASSERT_EQ(txn.events.size(), 4u);
  EXPECT_EQ(as_text(txn.events[0].data), "{\"x\":1.50}");
  EXPECT_EQ(txn.events[0].content_type, ContentType::kJson);
  EXPECT_EQ(as_text(txn.events[0].metadata), "{\"m\":1}");
  EXPECT_EQ(txn.tags_of(txn.events[0]).size(), 2u);
  EXPECT_EQ(uuid_text(*txn.events[0].id), "00112233-4455-6677-8899-aabbccddeeff");
  EXPECT_EQ(txn.events[1].content_type, ContentType::kProtobuf);
  EXPECT_EQ(as_text(txn.events[3].data), "last");  // of `else`, which stood in front
  EXPECT_TRUE(validate(txn, {1 << 20, 1 << 20}));
}

TEST(TxnJsonTest, AMistakeIsToldWithItsPlace) {
  EXPECT_EQ(
      wrong(
          R"({"then":[{"get":{"key":"a"}},{"get":{"key":"b"}},{"put":{"key":"a","vlaue":"b"}}]})"),
      "then[2].put.vlaue is not known; did you mean value?");
  EXPECT_EQ(wrong(R"({"than":[]})"), "than is not known; did you mean then?");
  EXPECT_EQ(wrong("[]"), "it is an array, it is to be an object");
  EXPECT_EQ(wrong(R"({"if":{}})"), "if is an object, it is to be an array");
  EXPECT_EQ(wrong(R"({"once":"12"})"),
            "once is not 128 bits: 32 hexadecimal digits, with a UUID's dashes or without");
  EXPECT_EQ(wrong(R"({"then":[],"then":[]})"), "then is there twice");
  EXPECT_EQ(wrong_effect(R"({"putt":{}})"), "then[0].putt is not known; did you mean put?");
  EXPECT_EQ(wrong_effect(R"({"put":{"key":"a"}})"), "then[0].put.value is missing");
  EXPECT_EQ(wrong_effect(R"({"put":{"value":"a"}})"), "then[0].put.key is missing");
  EXPECT_EQ(wrong_effect(R"({"put":{"key":1,"value":"a"}})"),
            "then[0].put.key is a number, it is to be text");
  EXPECT_EQ(wrong_effect(R"({"put":{"key":"a","key_base64":"YQ==","value":""}})"),
            "then[0].put.key_base64 and key are both there; give one of them");
  EXPECT_EQ(wrong_effect(R"({"put":{"key":"a","value":"b","ttl":"30"}})"),
            "then[0].put.ttl is not a time from 1ms to 36500d with a unit, such as 250ms, 30s, 5m, "
            "1h or 7d");
  EXPECT_EQ(wrong_effect(R"({"expire":{"key":"a"}})"),
            "then[0].expire.ttl is missing; with null the key lives until it is deleted");
  EXPECT_EQ(wrong_effect(R"({"add":{"key":"a","delta":1.5}})"),
            "then[0].add.delta is not a whole number of 64 bits");
  EXPECT_EQ(wrong_effect(R"({"get":{"key":"a"},"put":{}})"),
            "then[0] is to have one member, which names the effect");
  EXPECT_EQ(wrong_effect(R"({"ack":{"group":"g","positions":[1]}})"),
            "then[0].ack is not supported yet");
  EXPECT_EQ(wrong_effect(R"({"append":{"stream":"s","expected":-1,"events":[]}})"),
            "then[0].append.expected is to be a version, any, none or exists");
  EXPECT_EQ(
      wrong_effect(R"({"append":{"stream":"s","events":[{},{"id":"1"}]}})"),
      "then[0].append.events[1].id is not a UUID: 32 hexadecimal digits, with dashes or without");
  EXPECT_EQ(wrong_effect(R"({"policy":{"stream":"s","max_age":7}})"),
            "then[0].policy.max_age is to be a time with a unit, such as 30s or 7d, or 0: none");
}

TEST(TxnJsonTest, AMistakeInACheckIsToldToo) {
  EXPECT_EQ(wrong_check(R"({"group":"g","unacknowledged":4711})"),
            "if[0].group is not supported yet");
  EXPECT_EQ(wrong_check(R"({"key":"k"})"),
            "if[0] says no condition: one of absent, exists, equals, modified_at, or min and max");
  EXPECT_EQ(wrong_check(R"({"key":"k","absent":false})"),
            "if[0].absent is to be true, or left out");
  EXPECT_EQ(wrong_check(R"({"key":"k","absent":true,"equals":"v"})"),
            "if[0].equals is one condition too many; give each a check of its own");
  EXPECT_EQ(
      wrong_check(R"({"key":"k","at":1})"),
      "if[0].at is not for key checks; one of absent, exists, equals, modified_at, or min and "
      "max is");
  EXPECT_EQ(wrong_check(R"({"stream":"s","at":"1"})"),
            "if[0].at is not a whole number from 0 to 18446744073709551615");
  EXPECT_EQ(wrong_check(R"({"before":"soon"})"),
            "if[0].before is not a time from 1970 on, such as 2026-12-01T00:00:00Z");
  EXPECT_EQ(wrong_check(R"({"absent":true})"),
            "if[0] names neither a key, nor a stream, nor a time (before)");
}

TEST(TxnJsonTest, ItemsAreBounded) {
  std::string many = "{\"then\":[";
  for (size_t i = 0; i <= kMaxTxnItems; ++i)
    many += std::string(i > 0 ? "," : "") + "{\"get\":{\"key\":\"k\"}}";
  EXPECT_EQ(wrong(many + "]}"), "then[4096] is one too many: a transaction has at most 4096 items");
}

TEST(EventJsonTest, AMistakeIsToldWithItsPlace) {
  EXPECT_EQ(wrong_event(R"({"typ":"t"})"), "typ is not known; did you mean type?");
  EXPECT_EQ(wrong_event(R"({"data":1,"text":"a"})"),
            "data has more than one form; give one of data, text, data_base64");
  EXPECT_EQ(wrong_event(R"({"meta":[]})"), "meta is an array, it is to be an object");
  EXPECT_EQ(wrong_event(R"({"tags":["a",1]})"), "tags[1] is a number, it is to be text");
  EXPECT_EQ(wrong_event(R"({"data_base64":"a"})"), "data_base64 is not base64 with its padding");
  EXPECT_EQ(wrong_event(R"({"text":"a","content_type":"json"})"),
            "content_type is for data_base64 only: data is JSON, text is text");
  EXPECT_EQ(wrong_event(R"({"data_base64":"","content_type":"xml"})"),
            "content_type is to be bytes, json, text or protobuf");
  EXPECT_EQ(wrong_event("{"), "line 1, column 2: a member's name in quotes is expected");
  const std::string deep = std::string(65, '[') + std::string(65, ']');
  EXPECT_EQ(wrong_event("{\"data\":" + deep + "}"),
            "data has more than 64 objects and arrays within each other");
}

TEST(EventJsonTest, AnEventIsWrittenAsItWasRead) {
  for (
      const char* line :
      {R"({"type":"t","id":"00112233-4455-6677-8899-aabbccddeeff","meta":{"a":1},"tags":["x","y"],"data":{"n":1.10}})",
       R"({"text":"line\nanother"})", R"({"data_base64":"AAE="})",
       R"({"data_base64":"AAE=","content_type":"protobuf"})", R"({"data":null})"}) {
    auto event = parse_event(line);
    ASSERT_TRUE(event) << line;
    OwnedTxn owned;
    TxnEffect append;
    owned.add_event(append, *event);
    std::string written;
    JsonWriter to(written);
    to.begin_object();
    write_event(owned.txn.events[0], owned.txn.tags_of(owned.txn.events[0]), to);
    to.end_object();
    EXPECT_EQ(written, line);
  }
}

TEST(EventJsonTest, WhatOnlySaysThatItIsJsonGoesAsBytes) {
  std::string written;
  JsonWriter to(written);
  TxnEvent event;
  event.content_type = ContentType::kJson;
  event.data = as_bytes("{broken");
  to.begin_object();
  write_event(event, {}, to);
  to.end_object();
  EXPECT_EQ(written, R"({"data_base64":"e2Jyb2tlbg==","content_type":"json"})");
}

TEST(TxnResultJsonTest, SaysWhatCameOfEach) {
  TxnResult result;
  result.succeeded = true;
  result.position = 4711;
  result.results = {{.kind = EffectResultKind::kNothing},
                    {.kind = EffectResultKind::kNumber, .number = -5},
                    {.kind = EffectResultKind::kValue, .value = as_bytes("\xff")},
                    {.kind = EffectResultKind::kAbsent},
                    {.kind = EffectResultKind::kWithheld, .withheld_bytes = 9},
                    {.kind = EffectResultKind::kAppended, .first_version = 4, .last_version = 5}};
  std::string text;
  JsonWriter to(text);
  write_txn_result(result, to);
  EXPECT_EQ(
      text,
      R"({"succeeded":true,"position":4711,"results":[{},{"number":-5},{"value_base64":"/w=="},)"
      R"({"absent":true},{"withheld_bytes":9},{"first":4,"last":5,"replayed":false}]})");
}

TEST(TxnResultJsonTest, SaysWhatIsThereInstead) {
  TxnResult result;
  result.position = 8;
  result.failed = {{.index = 2, .found = FoundKind::kVersion, .number = 3},
                   {.list = TxnList::kThen, .index = 1, .found = FoundKind::kTombstoned},
                   {.found = FoundKind::kValue, .value = as_bytes("v")},
                   {.found = FoundKind::kLogTime, .number = 1'500'000'000}};
  std::string text;
  JsonWriter to(text);
  write_txn_result(result, to);
  EXPECT_EQ(text, R"({"succeeded":false,"position":8,"failed":[{"index":2,"found":{"version":3}},)"
                  R"({"list":"then","index":1,"found":{"tombstoned":true}},)"
                  R"({"index":0,"found":{"value":"v"}},)"
                  R"({"index":0,"found":{"log_time":"1970-01-01T00:00:01.5Z"}}]})");
}

}  // namespace
}  // namespace tailrace
