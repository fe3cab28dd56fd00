#pragma once
// Records as they stand in logs. Their bytes are made here and not by encode(): they stay what they
// are, whatever newer programs write. docs/formats/command.md has the tables.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/record_kind.h"

namespace tailrace::statemachine::history {

inline constexpr uint64_t kSecond = 1'000'000'000;

template <typename T>
void put_number(std::string& to, T number) {
  to.append(reinterpret_cast<const char*>(&number), sizeof number);
}
/// Eight bytes each.
inline std::string numbers(std::initializer_list<uint64_t> list) {
  std::string bytes;
  for (const uint64_t number : list)
    put_number(bytes, number);
  return bytes;
}

/// Any record of a log; `words` say in the page what it is.
struct Written {
  RecordKind kind = RecordKind::kData;
  std::string payload, words;
};

/// A command. The fields are those of the table, and any may be set for any operation.
struct WrittenCommand {
  uint8_t operation = 0;
  std::string key = {}, value = {}, expected = {};
  int64_t delta = 0;
  uint64_t expires_at = 0;
  uint64_t client_high = 0, client_low = 0, serial = 0, begins_before = 0;
  bool has_session = false;

  std::string payload() const;
  std::string words() const;
  operator Written() const { return {RecordKind::kData, payload(), words()}; }

  WrittenCommand until(uint64_t time) const;
  WrittenCommand in_session(uint64_t client, uint64_t number, uint64_t bound = 0) const;
};

WrittenCommand event(std::string stream, std::string value);
WrittenCommand put(std::string key, std::string value);
WrittenCommand erase(std::string key);
WrittenCommand add(std::string key, int64_t delta);
WrittenCommand cas(std::string key, std::string expected, std::string value);
WrittenCommand digest();
/// 0: the key does not expire any more.
WrittenCommand expire(std::string key, uint64_t time);
WrittenCommand time_passes();
WrittenCommand compare();
WrittenCommand scavenge();
WrittenCommand insert(std::string key, std::string value);
/// Of this body, which need not be a transaction.
WrittenCommand txn(std::string body);

struct WrittenLimits {
  uint32_t sessions = 100'000, answer_value_bytes = 1024;
  uint64_t answers_bytes = 1u << 20;
};
std::string rules_bytes(uint64_t ttl, uint32_t answers, uint32_t answer_bytes);
std::string rules_bytes(uint64_t ttl, uint32_t answers, uint32_t answer_bytes,
                        const WrittenLimits& limits);
/// Of version 3.
std::string rules_with_positions_bytes(uint64_t ttl, uint32_t answers, uint32_t answer_bytes,
                                       const WrittenLimits& limits);
/// Of these bytes, which need not be rules.
WrittenCommand rules(std::string bytes);
inline WrittenCommand rules(uint64_t ttl, uint32_t answers, uint32_t answer_bytes) {
  return rules(rules_bytes(ttl, answers, answer_bytes));
}
inline WrittenCommand rules(uint64_t ttl, uint32_t answers, uint32_t answer_bytes,
                            const WrittenLimits& limits) {
  return rules(rules_bytes(ttl, answers, answer_bytes, limits));
}

/// For pages: in quotes, and what is long as its beginning, its length and its checksum.
std::string in_quotes(std::string_view bytes);
std::string in_hex(std::string_view bytes);

}  // namespace tailrace::statemachine::history
