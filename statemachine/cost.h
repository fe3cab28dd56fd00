#pragma once
// What a command may cost, known before it is taken: the leader admits nothing that the store could
// not apply (StateMachine::admit), and nothing whose answers could not be held.

#include <cstdint>

#include "statemachine/command/command.h"

namespace tailrace::statemachine {

struct CommandCost {
  uint64_t log_bytes = 0;
  uint64_t store_bytes = 0;   // at most, once it is applied
  uint64_t answer_bytes = 0;  // at most, until the client has it
  /// What looking at keys of a transaction is counted as, while it waits to be applied.
  uint64_t read_bytes = 0;
  uint64_t events = 0;      // that a transaction appends if its checks hold
  bool frees_room = false;  // an erase: a full store can be emptied
};

/// Of a command of `log_bytes` in the log, where no value is longer than `max_value_bytes`.
CommandCost cost_of(const Command& command, uint64_t log_bytes, uint64_t max_value_bytes);

/// A command makes the store write its pair, its session's entry and answer, and the tombstone of
/// an answer that is forgotten for it: of the shortest commands that is almost three times their
/// record in the log.
inline constexpr uint64_t kStoreBytesForLogByte = 3;

/// What it may cost the store beyond that.
constexpr uint64_t extra_store_bytes(const CommandCost& cost) {
  const uint64_t reckoned = cost.log_bytes * kStoreBytesForLogByte;
  return cost.store_bytes > reckoned ? cost.store_bytes - reckoned : 0;
}

}  // namespace tailrace::statemachine
