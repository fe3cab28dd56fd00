#include "tests/statemachine/history/written.h"

#include <utility>

#include <fmt/format.h>

#include "storage/crc32c.h"

namespace tailrace::statemachine::history {
namespace {

constexpr size_t kMostShown = 40;
constexpr const char* kNames[] = {"nothing", "event",  "put",    "delete",  "add",
                                  "cas",     "digest", "expire", "time",    "compare",
                                  "rules",   "insert", "txn",    "scavenge"};

WrittenCommand on_key(uint8_t operation, std::string key, std::string value = {}) {
  WrittenCommand command;
  command.operation = operation;
  command.key = std::move(key);
  command.value = std::move(value);
  return command;
}

}  // namespace

std::string WrittenCommand::payload() const {
  std::string bytes;
  put_number(bytes, operation);
  put_number(bytes, static_cast<uint8_t>((has_session ? 1 : 0) | (expires_at != 0 ? 2 : 0) |
                                         (begins_before != 0 ? 4 : 0)));
  put_number(bytes, static_cast<uint16_t>(key.size()));
  put_number(bytes, static_cast<uint32_t>(value.size()));
  put_number(bytes, static_cast<uint32_t>(expected.size()));
  put_number(bytes, uint32_t{0});
  bytes += numbers({client_high, client_low, serial, static_cast<uint64_t>(delta)});
  if (expires_at != 0) put_number(bytes, expires_at);
  if (begins_before != 0) put_number(bytes, begins_before);
  return bytes + key + value + expected;
}

std::string WrittenCommand::words() const {
  const bool known = operation < std::size(kNames);
  std::string text = known ? kNames[operation] : fmt::format("operation {}", operation);
  const bool is_rules = operation == 10;
  const bool is_txn = operation == 12;
  if (is_txn) text += " " + in_hex(value);
  if (is_rules) text += value.empty() ? " of no bytes" : " " + in_hex(value);
  const bool has_key = operation >= 1 && operation != 6 && (operation < 8 || operation == 11);
  if (has_key || !key.empty()) text += " " + in_quotes(key);
  if (operation == 5 || !expected.empty()) text += " from " + in_quotes(expected);
  const bool has_value = operation == 1 || operation == 2 || operation == 5 || operation == 11;
  if (!is_rules && !is_txn && (has_value || !value.empty())) text += " to " + in_quotes(value);
  if (operation == 4 || delta != 0) text += fmt::format(" {:+}", delta);
  if (operation == 7 || expires_at != 0) text += fmt::format(" until {}", expires_at);
  if (has_session)
    text += fmt::format(", session {}/{} serial {}", client_high, client_low, serial);
  if (begins_before != 0) text += fmt::format(" before {}", begins_before);
  return text;
}

WrittenCommand WrittenCommand::until(uint64_t time) const {
  WrittenCommand command = *this;
  command.expires_at = time;
  return command;
}

WrittenCommand WrittenCommand::in_session(uint64_t client, uint64_t number, uint64_t bound) const {
  WrittenCommand command = *this;
  command.has_session = true;
  command.client_low = client;
  command.serial = number;
  command.begins_before = bound;
  return command;
}

WrittenCommand event(std::string stream, std::string value) {
  return on_key(1, std::move(stream), std::move(value));
}
WrittenCommand put(std::string key, std::string value) {
  return on_key(2, std::move(key), std::move(value));
}
WrittenCommand erase(std::string key) {
  return on_key(3, std::move(key));
}
WrittenCommand add(std::string key, int64_t delta) {
  WrittenCommand command = on_key(4, std::move(key));
  command.delta = delta;
  return command;
}
WrittenCommand cas(std::string key, std::string expected, std::string value) {
  WrittenCommand command = on_key(5, std::move(key), std::move(value));
  command.expected = std::move(expected);
  return command;
}
WrittenCommand digest() {
  return on_key(6, {});
}
WrittenCommand expire(std::string key, uint64_t time) {
  return on_key(7, std::move(key)).until(time);
}
WrittenCommand time_passes() {
  return on_key(8, {});
}
WrittenCommand compare() {
  return on_key(9, {});
}
WrittenCommand scavenge() {
  return on_key(13, {});
}
WrittenCommand rules(std::string bytes) {
  return on_key(10, {}, std::move(bytes));
}
WrittenCommand insert(std::string key, std::string value) {
  return on_key(11, std::move(key), std::move(value));
}

WrittenCommand txn(std::string body) {
  return on_key(12, {}, std::move(body));
}

std::string rules_bytes(uint64_t ttl, uint32_t answers, uint32_t answer_bytes) {
  std::string bytes;
  put_number(bytes, uint32_t{1});
  put_number(bytes, answers);
  put_number(bytes, ttl);
  put_number(bytes, answer_bytes);
  put_number(bytes, uint32_t{0});
  return bytes;
}

std::string rules_bytes(uint64_t ttl, uint32_t answers, uint32_t answer_bytes,
                        const WrittenLimits& limits) {
  std::string bytes = rules_bytes(ttl, answers, answer_bytes);
  bytes[0] = 2;
  put_number(bytes, limits.sessions);
  put_number(bytes, limits.answer_value_bytes);
  put_number(bytes, limits.answers_bytes);
  return bytes;
}

std::string rules_with_positions_bytes(uint64_t ttl, uint32_t answers, uint32_t answer_bytes,
                                       const WrittenLimits& limits) {
  std::string bytes = rules_bytes(ttl, answers, answer_bytes, limits);
  bytes[0] = 3;
  return bytes;
}

std::string in_hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes)
    text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

std::string in_quotes(std::string_view bytes) {
  std::string text = "\"";
  for (const char byte : bytes.substr(0, bytes.size() > kMostShown ? kMostShown / 2 : kMostShown)) {
    if (byte == '"' || byte == '\\') text += '\\';
    if (byte >= ' ' && byte <= '~')
      text += byte;
    else
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  }
  text += "\"";
  if (bytes.size() > kMostShown)
    text += fmt::format("… ({} bytes, crc32c {:08x})", bytes.size(), crc32c(as_bytes(bytes)));
  return text;
}

}  // namespace tailrace::statemachine::history
