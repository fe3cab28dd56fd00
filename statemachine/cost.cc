#include "statemachine/cost.h"

#include <algorithm>
#include <vector>

#include "statemachine/command/command_table.h"
#include "statemachine/once_keys.h"
#include "statemachine/streams/stream_index.h"
#include "statemachine/txn/txn.h"
#include "statemachine/txn/txn_result.h"
#include "statemachine/types/rules.h"

namespace tailrace::statemachine {
namespace {

// Of a record in the store beside the user's key and value: header, prefix, expiry, alignment.
constexpr uint64_t kStoreRecordBytes = 64;
// A session's entry, and what goes for it where sessions have limits: two others with their
// answers, four answers of others, whose entries are written again, and the floor (SessionTable).
constexpr uint64_t kSessionBytes = 1536;
constexpr uint64_t kNumberBytes = 20;  // the longest decimal integer

/// What `effects` may make the store write.
uint64_t store_bytes_of(const Txn& txn, const std::vector<TxnEffect>& effects,
                        uint64_t max_value_bytes) {
  uint64_t bytes = 0;
  for (const TxnEffect& effect : effects) {
    const uint64_t pair = kStoreRecordBytes + effect.name.size();
    switch (effect.kind) {
      case TxnEffectKind::kPut:
        bytes += pair + effect.value.size();
        break;
      case TxnEffectKind::kDelete:
        bytes += pair;
        break;
      case TxnEffectKind::kAdd:
        bytes += pair + kNumberBytes;
        break;
      case TxnEffectKind::kExpire:  // the whole value is written again
        bytes += pair + max_value_bytes;
        break;
      case TxnEffectKind::kGet:
        break;
      case TxnEffectKind::kAppend: {
        const auto events = txn.events_of(effect);
        const bool with_ids =
            std::ranges::any_of(events, [](const TxnEvent& event) { return event.id.has_value(); });
        bytes += most_store_bytes_of_append(effect.name.size(), events.size(), with_ids);
        break;
      }
      case TxnEffectKind::kPolicy:
      case TxnEffectKind::kDeleteStream:
      case TxnEffectKind::kTombstone:
        bytes += most_store_bytes_of_append(effect.name.size(), 1, true);
        break;
    }
  }
  return bytes;
}

/// What a result may say of `effects`, and of those whose conditions fail.
uint64_t answer_bytes_of(const std::vector<TxnEffect>& effects, uint64_t max_value_bytes) {
  constexpr uint64_t kMostItem = 32;  // of either, without a value
  uint64_t bytes = 0;
  for (const TxnEffect& effect : effects) {
    bytes += kMostItem;
    if (effect.kind == TxnEffectKind::kGet) bytes += max_value_bytes;
    if (effect.kind == TxnEffectKind::kAdd) bytes += kMaxFoundBytes;
  }
  return bytes;
}

struct TxnCost {
  uint64_t store_bytes = 0, answer_bytes = 0, read_bytes = 0;
};

/// Values that may be looked at count as 64 KiB each: how long they are is not known here, and most
/// are short. No transaction reads more than kMostTxnReadBytes.
uint64_t read_bytes_of(const Txn& txn) {
  constexpr uint64_t kEach = 64u << 10;
  const auto looks = [](const TxnEffect& effect) {
    return effect.kind == TxnEffectKind::kGet || effect.kind == TxnEffectKind::kAdd;
  };
  const auto checks = std::ranges::count_if(txn.checks, [](const TxnCheck& check) {
    return !check.name.empty() && !is_of_stream(check.kind);
  });
  const auto effects =
      std::max(std::ranges::count_if(txn.then, looks), std::ranges::count_if(txn.otherwise, looks));
  return std::min(static_cast<uint64_t>(checks + effects) * kEach, kMostTxnReadBytes);
}

TxnCost cost_of(const Txn& txn, uint64_t max_value_bytes) {
  TxnCost cost;
  cost.store_bytes = std::max(store_bytes_of(txn, txn.then, max_value_bytes),
                              store_bytes_of(txn, txn.otherwise, max_value_bytes));
  uint64_t answer = kStoreRecordBytes + txn.checks.size() * (32 + kMaxFoundBytes) +
                    std::max(answer_bytes_of(txn.then, max_value_bytes),
                             answer_bytes_of(txn.otherwise, max_value_bytes));
  if (txn.once) {
    // It may remove three that are over, as well; and be answered as another one was.
    cost.store_bytes += OnceKeys::kMostPairBytes + 4 * kStoreRecordBytes;
    answer = std::max<uint64_t>(answer, OnceKeys::kMostKeptBytes);
  }
  cost.answer_bytes = std::min<uint64_t>(answer, kMostTxnResultBytes);
  cost.read_bytes = read_bytes_of(txn);
  return cost;
}

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
    case Bytes::kOfBody:  // reckoned apart
      break;
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
  if (info.effect == Effect::kTxn) {
    thread_local Txn txn;  // keeps its room
    // One that is none is not taken, whatever it may cost.
    if (decode(command.value, txn)) {
      const TxnCost own = cost_of(txn, max_value_bytes);
      cost.store_bytes = own.store_bytes;
      cost.answer_bytes = own.answer_bytes;
      cost.read_bytes = own.read_bytes;
      for (const TxnEffect& effect : txn.then)
        cost.events += effect.event_count;
    }
  }
  if (command.session) {
    cost.store_bytes += kSessionBytes;
    if (cost.answer_bytes > 0)
      cost.store_bytes +=
          kStoreRecordBytes + std::min<uint64_t>(cost.answer_bytes, kMostAnswerBytes);
  }
  return cost;
}

}  // namespace tailrace::statemachine
