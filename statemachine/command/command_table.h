#pragma once
// The table of commands: what each is called, what it carries, and from when on it may be written.
// Checking, decoding, cost, the JSON of records, dumps and the server read it; only what a command
// does stands elsewhere (Applier). CONTRIBUTING.md says what adding one takes.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/cluster_version.h"
#include "statemachine/command/command.h"

namespace tailrace::statemachine {

/// What a command may carry, to be or-ed.
enum CommandFields : uint8_t {
  kNoFields = 0,
  kHasKey = 1,       // of the state; 1 to kMaxKeyBytes bytes
  kHasStream = 2,    // a stream's name, in the key's place
  kHasValue = 4,     // shown as the record's payload, also when it is empty
  kHasExpected = 8,  // any other command with one is refused
  kHasDelta = 16,    // likewise
  kHasTime = 32,     // likewise
};

/// What a command does to the state.
enum class Effect : uint8_t {
  kNothing,   // the log alone, or what a node says of its state
  kSets,      // the key's value, whatever it was
  kModifies,  // what becomes of the key depends on what it is
  kRules,     // by what applying goes from here on
  kTxn,       // what its body says
  kScavenge,  // notes where it stands
};

/// The most that a command leaves under its key, and the most of its answer that is kept.
enum class Bytes : uint8_t { kNone, kOfNumber, kOfValue, kOfAnyValue, kOfAnswer, kOfBody };

struct CommandInfo {
  Operation operation;
  std::string_view name;   // in JSON, in dumps
  std::string_view title;  // in messages
  uint8_t fields;
  /// The cluster's version from which on all members know it; an older node stops where it meets
  /// it, so before that it must not enter the log (core/cluster_version.h).
  uint32_t since;
  Effect effect;
  Bytes stored, answered;
  bool frees_room = false;  // admitted when there is no room for others
};

// clang-format off
inline constexpr std::array kCommands{
    CommandInfo{Operation::kEvent,   "event",   "an event",    kHasStream | kHasValue, 1, Effect::kNothing, Bytes::kNone, Bytes::kNone},
    CommandInfo{Operation::kPut,     "put",     "a put",       kHasKey | kHasValue | kHasTime, 1, Effect::kSets, Bytes::kOfValue, Bytes::kNone},
    CommandInfo{Operation::kDelete,  "delete",  "a delete",    kHasKey, 1, Effect::kModifies, Bytes::kNone, Bytes::kNone, true},
    CommandInfo{Operation::kAdd,     "add",     "an add",      kHasKey | kHasDelta, 1, Effect::kModifies, Bytes::kOfNumber, Bytes::kOfNumber},
    CommandInfo{Operation::kCas,     "cas",     "a compare-and-swap", kHasKey | kHasValue | kHasExpected, 1, Effect::kModifies, Bytes::kOfValue, Bytes::kOfAnswer},
    CommandInfo{Operation::kDigest,  "digest",  "a digest",    kNoFields, 1, Effect::kNothing, Bytes::kNone, Bytes::kNone},
    CommandInfo{Operation::kExpire,  "expire",  "an expire",   kHasKey | kHasTime, 1, Effect::kModifies, Bytes::kOfAnyValue, Bytes::kNone},
    CommandInfo{Operation::kTime,    "time",    "a time",      kNoFields, 1, Effect::kNothing, Bytes::kNone, Bytes::kNone},
    CommandInfo{Operation::kCompare, "compare", "a comparison", kNoFields, tailrace::since(Feature::kCompare), Effect::kNothing, Bytes::kNone, Bytes::kNone},
    CommandInfo{Operation::kRules,   "rules",   "rules",       kNoFields, tailrace::since(Feature::kRules), Effect::kRules, Bytes::kNone, Bytes::kNone},
    CommandInfo{Operation::kInsert,  "insert",  "a compare-and-swap against an absent key", kHasKey | kHasValue | kHasTime, tailrace::since(Feature::kInsert), Effect::kModifies, Bytes::kOfValue, Bytes::kOfAnswer},
    CommandInfo{Operation::kTxn,     "txn",     "a transaction", kHasValue, tailrace::since(Feature::kTxn), Effect::kTxn, Bytes::kOfBody, Bytes::kOfBody},
    CommandInfo{Operation::kScavenge, "scavenge", "a scavenge", kNoFields, tailrace::since(Feature::kScavenge), Effect::kScavenge, Bytes::kOfNumber, Bytes::kNone, true},
};
// clang-format on

/// A row for each, in the order of their numbers, which begin at 1.
constexpr bool rows_are_in_order() {
  for (size_t row = 0; row < kCommands.size(); ++row)
    if (static_cast<size_t>(kCommands[row].operation) != row + 1) return false;
  return kCommands.size() == static_cast<size_t>(Operation::kLast);
}
static_assert(rows_are_in_order());

constexpr const CommandInfo& info_of(Operation operation) {
  return kCommands[static_cast<size_t>(operation) - 1];
}
constexpr bool has(Operation operation, uint8_t field) {
  return (info_of(operation).fields & field) != 0;
}
constexpr bool is_known(uint8_t operation) {
  return operation != 0 && operation <= kCommands.size();
}
constexpr std::optional<Operation> operation_named(std::string_view name) {
  for (const CommandInfo& info : kCommands)
    if (info.name == name) return info.operation;
  return std::nullopt;
}

}  // namespace tailrace::statemachine
