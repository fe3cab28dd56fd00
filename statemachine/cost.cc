#include "statemachine/cost.h"

#include "statemachine/command/command_table.h"
#include "statemachine/types/rules.h"

namespace tailrace::statemachine {
namespace {

// Of a record in the store beside the user's key and value: header, prefix, expiry, alignment.
constexpr uint64_t kStoreRecordBytes = 64;
// A session's entry, and what goes for it where sessions have limits: two others with their
// answers, four answers of others, whose entries are written again, and the floor (SessionTable).
constexpr uint64_t kSessionBytes = 1536;
constexpr uint64_t kNumberBytes = 20;  // the longest decimal integer

uint64_t most_of(Bytes bytes, const Command& command, uint64_t max_value_bytes) {
  switch (bytes) {
    case Bytes::kNone:
      break;
    case Bytes::kOfNumber:
      return kNumberBytes;
    case Bytes::kOfValue:
      return command.value.size();
    case Bytes::kOfAnyValue:  // the whole value is written again
      return max_value_bytes;
    case Bytes::kOfAnswer:
      return kMostAnswerBytes;
  }
  return 0;
}

}  // namespace

CommandCost cost_of(const Command& command, uint64_t log_bytes, uint64_t max_value_bytes) {
  CommandCost cost;
  cost.log_bytes = log_bytes;
  const CommandInfo& info = info_of(command.operation);
  cost.answer_bytes = most_of(info.answered, command, max_value_bytes);
  cost.frees_room = info.frees_room;
  if (!command.key.empty() && (info.fields & kHasStream) == 0)
    cost.store_bytes =
        command.key.size() + most_of(info.stored, command, max_value_bytes) + kStoreRecordBytes;
  if (command.session) {
    cost.store_bytes += kSessionBytes;
    if (cost.answer_bytes > 0) cost.store_bytes += kStoreRecordBytes + cost.answer_bytes;
  }
  return cost;
}

}  // namespace tailrace::statemachine
