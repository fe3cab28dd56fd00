#include "statemachine/cost.h"

#include "statemachine/rules.h"

namespace tailrace::statemachine {
namespace {

// Of a record in the store beside the user's key and value: header, prefix, expiry, alignment.
constexpr uint64_t kStoreRecordBytes = 64;
// A session's entry, and what goes for it where sessions have limits: two others with their
// answers, four answers of others, whose entries are written again, and the floor (SessionTable).
constexpr uint64_t kSessionBytes = 1536;
constexpr uint64_t kNumberBytes = 20;  // the longest decimal integer

struct Most {
  uint64_t stored;  // of the value that it can leave under its key
  uint64_t answer;
};

/// What each operation may come to.
Most most_of(const Command& command, uint64_t max_value_bytes) {
  switch (command.operation) {
    case Operation::kPut:
      return {command.value.size(), 0};
    case Operation::kCas:
    case Operation::kInsert:
      return {command.value.size(), kMostAnswerBytes};
    case Operation::kAdd:
      return {kNumberBytes, kNumberBytes};
    case Operation::kExpire:  // the whole value is written again
      return {max_value_bytes, 0};
    case Operation::kDelete:
    case Operation::kEvent:
    case Operation::kDigest:
    case Operation::kTime:
    case Operation::kCompare:
    case Operation::kRules:
      return {0, 0};
  }
  return {max_value_bytes, kMostAnswerBytes};
}

}  // namespace

CommandCost cost_of(const Command& command, uint64_t log_bytes, uint64_t max_value_bytes) {
  CommandCost cost;
  cost.log_bytes = log_bytes;
  const Most most = most_of(command, max_value_bytes);
  cost.answer_bytes = most.answer;
  cost.frees_room = command.operation == Operation::kDelete;
  if (!command.key.empty() && command.operation != Operation::kEvent)
    cost.store_bytes = command.key.size() + most.stored + kStoreRecordBytes;
  if (command.session) {
    cost.store_bytes += kSessionBytes;
    if (cost.answer_bytes > 0) cost.store_bytes += kStoreRecordBytes + cost.answer_bytes;
  }
  return cost;
}

}  // namespace tailrace::statemachine
