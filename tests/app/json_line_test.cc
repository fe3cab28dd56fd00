// The lines that tail, scan and `log dump` write: byte for byte what the JSON library writes.
#include "json/json_line.h"

#include <cstdlib>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "app/cli/json_text.h"
#include "app/cli/log_report.h"
#include "app/cli/record_json.h"
#include "core/random.h"
#include "statemachine/command/command_table.h"

namespace tailrace::app {
namespace {

using nlohmann::ordered_json;
using statemachine::Command;
using statemachine::Operation;

/// TAILRACE_SEED=N replays a run.
uint64_t seed_of_run() {
  const char* given = std::getenv("TAILRACE_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
}

std::string line_of(std::string_view bytes) {
  JsonLine line;
  line.text("v", bytes);
  return std::string(line.end());
}

/// What the library says is UTF-8.
bool library_takes(std::string_view text) {
  try {
    return !nlohmann::json(text).dump().empty();
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

void set_by_library(ordered_json& to, const std::string& name, std::string_view text) {
  if (library_takes(text)) {
    to[name] = text;
    return;
  }
  to[name] = base64(text);
  to[name + "_encoding"] = "base64";
}

std::string library_line_of(std::string_view bytes) {
  ordered_json out;
  set_by_library(out, "v", bytes);
  return out.dump() + "\n";
}

ordered_json library_record(const ShownRecord& record) {
  ordered_json out = {
      {"address", record.address.value}, {"end", record.end.value}, {"epoch", record.epoch.value}};
  const auto command = statemachine::decode(record.payload);
  if (record.kind != statemachine::kCommandRecord || !command) {
    out["kind"] = name_of(record.kind);
    if (record.kind != fasterlog::RecordKind::kEpochStart)
      set_by_library(out, "payload", as_text(record.payload));
    return out;
  }
  const auto carries = [&](uint8_t field) { return has(command->operation, field); };
  out["kind"] = info_of(command->operation).name;
  set_by_library(out, carries(statemachine::kHasStream) ? "stream" : "key", as_text(command->key));
  if (carries(statemachine::kHasDelta)) out["delta"] = command->delta;
  if (carries(statemachine::kHasExpected))
    set_by_library(out, "expected", as_text(command->expected));
  if (carries(statemachine::kHasValue) || !command->value.empty())
    set_by_library(out, "payload", as_text(command->value));
  if (command->expires_at_ns != 0) out["expires_at_ns"] = command->expires_at_ns;
  if (command->session) {
    const auto& session = *command->session;
    out["client"] = fmt::format("{:016x}{:016x}", session.client.high, session.client.low);
    out["serial"] = session.serial;
    if (session.begins_before_ns != 0) out["begins_before_ns"] = session.begins_before_ns;
  }
  return out;
}

// Dumps of older versions and the programs that read them know these bytes: none of them changes.
TEST(JsonLine, OddTextIsWrittenAsEver) {
  using namespace std::string_view_literals;
  const std::vector<std::pair<std::string_view, std::string_view>> lines{
      {""sv, R"({"v":""})"},
      {"plain"sv, R"({"v":"plain"})"},
      {"a \"quote\" and a \\"sv, R"({"v":"a \"quote\" and a \\"})"},
      {"a/b"sv, R"({"v":"a/b"})"},
      {"\b\t\n\f\r"sv, R"({"v":"\b\t\n\f\r"})"},
      {"\0\x01\x0b\x1f\x7f"sv, "{\"v\":\"\\u0000\\u0001\\u000b\\u001f\x7f\"}"},
      {"\xe2\x80\xa8\xe2\x80\xa9"sv, "{\"v\":\"\xe2\x80\xa8\xe2\x80\xa9\"}"},
      {"\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbf"sv,
       "{\"v\":\"\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbf\"}"},
      // A lone surrogate, an overlong slash, beyond U+10FFFF, a character that is cut off.
      {"\xed\xa0\x80"sv, R"({"v":"7aCA","v_encoding":"base64"})"},
      {"\xc0\xaf"sv, R"({"v":"wK8=","v_encoding":"base64"})"},
      {"\xf4\x90\x80\x80"sv, R"({"v":"9JCAgA==","v_encoding":"base64"})"},
      {"abc\xe2\x80"sv, R"({"v":"YWJj4oA=","v_encoding":"base64"})"},
      {"\xff"sv, R"({"v":"/w==","v_encoding":"base64"})"},
      {"\0\xff\0"sv, R"({"v":"AP8A","v_encoding":"base64"})"},
  };
  for (const auto& [bytes, expected] : lines)
    EXPECT_EQ(line_of(bytes), std::string(expected) + "\n");
}

// An object is whole whatever it holds, and the next one begins anew.
TEST(JsonLine, MembersOfAllKinds) {
  JsonLine line;
  EXPECT_EQ(line.end(), "{}\n");
  line.number("a", std::numeric_limits<uint64_t>::max());
  line.signed_number("b", std::numeric_limits<int64_t>::min());
  line.flag("c", true);
  line.flag("d", false);
  line.number("e", 0);
  EXPECT_EQ(line.end(),
            R"({"a":18446744073709551615,"b":-9223372036854775808,"c":true,"d":false,"e":0})"
            "\n");
  line.text("x", "y");
  EXPECT_EQ(line.end(), "{\"x\":\"y\"}\n");
}

/// Bytes of one of several sorts: any, ASCII, controls and quotes, UTF-8, and that with one byte
/// changed.
std::string any_bytes(Random& random) {
  static const std::vector<std::string> kCharacters{
      "a",    "\"",       "\\",           "\n",           "\x1f",
      "\x7f", "\xc2\x80", "\xe2\x80\xa8", "\xef\xbf\xbd", "\xf0\x9f\x98\x80"};
  const uint64_t sort = random.below(5);
  const uint64_t length = random.below(random.below(4) == 0 ? 300 : 40);
  std::string bytes;
  while (bytes.size() < length) {
    if (sort == 0)
      bytes += static_cast<char>(random.next());
    else if (sort == 1)
      bytes += static_cast<char>(0x20 + random.below(0x5f));
    else if (sort == 2)
      bytes += static_cast<char>(random.below(0x80));
    else
      bytes += kCharacters[random.below(kCharacters.size())];
  }
  if (sort == 4 && !bytes.empty())
    bytes[random.below(bytes.size())] = static_cast<char>(random.next());
  return bytes;
}

// Whatever bytes a payload has, they become the line that the library makes of them.
TEST(JsonLine, IsWhatTheLibraryWrites) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  Random random(seed);
  for (int i = 0; i < 20000; ++i) {
    const std::string bytes = any_bytes(random);
    ASSERT_EQ(line_of(bytes), library_line_of(bytes));
  }
  // Each byte at each place of the words that are looked at in one go.
  for (int byte = 0; byte < 256; ++byte) {
    for (size_t before = 0; before < 20; ++before) {
      const std::string bytes =
          std::string(before, 'x') + static_cast<char>(byte) + std::string(17, 'y');
      ASSERT_EQ(line_of(bytes), library_line_of(bytes));
    }
  }
}

// Payloads around the size that is escaped in one go, and long ones, of all that an escape is for.
TEST(JsonLine, LargePayloads) {
  for (const size_t size : {4095u, 16383u, 16384u, 16385u, 49152u, 3000000u}) {
    for (const std::string_view unit : {"a", "\x01", "\xe2\x80\xa8", "a\"", "\xff"}) {
      std::string bytes(size % 7, 'z');
      while (bytes.size() < size)
        bytes += unit;
      ASSERT_EQ(line_of(bytes), library_line_of(bytes)) << size;
    }
  }
}

Command any_command(Random& random, const std::vector<std::string>& parts) {
  Command command;
  command.operation =
      static_cast<Operation>(1 + random.below(static_cast<uint64_t>(Operation::kLast)));
  const auto carries = [&](uint8_t field) { return has(command.operation, field); };
  command.key = as_bytes(parts[0]);
  if (carries(statemachine::kHasValue) || random.below(2) == 0) command.value = as_bytes(parts[1]);
  if (carries(statemachine::kHasExpected)) command.expected = as_bytes(parts[2]);
  if (carries(statemachine::kHasDelta)) command.delta = static_cast<int64_t>(random.next());
  if (carries(statemachine::kHasTime) && random.below(2) == 0)
    command.expires_at_ns = 1 + random.below(uint64_t{1} << 62);
  if (random.below(2) == 0) {
    command.session.emplace();
    command.session->client = {random.next(), random.below(3)};
    command.session->serial = 1 + random.below(2);
    if (command.session->serial == 1 && random.below(2) == 0)
      command.session->begins_before_ns = 1 + random.next() / 2;
  }
  return command;
}

// Commands of every kind, and what is none, have the members that they always had, in their order.
TEST(JsonLine, RecordsHaveTheirMembers) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  Random random(seed);
  const fasterlog::RecordKind kinds[] = {
      statemachine::kCommandRecord, fasterlog::RecordKind::kEpochStart,
      fasterlog::RecordKind::kConfiguration, static_cast<fasterlog::RecordKind>(200)};
  JsonLine line;
  for (int i = 0; i < 20000; ++i) {
    const std::vector<std::string> parts{any_bytes(random), any_bytes(random), any_bytes(random)};
    std::vector<std::byte> payload;
    if (random.below(8) == 0)
      payload.assign(as_bytes(parts[1]).begin(), as_bytes(parts[1]).end());
    else
      statemachine::encode(any_command(random, parts), payload);
    const auto kind = random.below(4) == 0 ? kinds[random.below(4)] : statemachine::kCommandRecord;
    const ShownRecord record{Address{random.next()}, Address{random.next()}, Epoch{random.below(5)},
                             kind, payload};
    write_record(record, line);
    ASSERT_EQ(line.end(), library_record(record).dump() + "\n");
  }
}

// Base64 is written as RFC 4648 has it and read back as it was.
TEST(JsonText, Base64) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64("\xfb\xff\xfe"), "+//+");
  std::string bytes;
  for (int i = 0; i < 512; ++i) {
    bytes += static_cast<char>(i * 7);
    EXPECT_EQ(from_base64(base64(bytes)), bytes);
  }
}

}  // namespace
}  // namespace tailrace::app
