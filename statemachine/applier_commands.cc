// What each command does to the state.
#include "core/check.h"
#include "statemachine/applier.h"
#include "statemachine/command/command_table.h"
#include "statemachine/types/number.h"

namespace tailrace::statemachine {
namespace {

/// Whoever lost a compare-and-swap wants to know to what.
Answer mismatch(const std::optional<StateValue>& present) {
  Answer answer;
  answer.outcome = Outcome::kCasMismatch;
  answer.has_value = present.has_value();
  if (present && present->value.size() > kMostAnswerBytes)
    answer.withheld_bytes = present->value.size();
  else if (present)
    answer.value = to_string(present->value);
  return answer;
}

/// The present value and the command's delta; its outcome and the sum are the answer's.
kv::Modification add_to(const std::optional<StateValue>& present, int64_t delta, uint64_t position,
                        Answer& answer, std::string& next) {
  const std::optional<int64_t> sum = sum_of(present ? as_text(present->value) : "0", delta);
  if (!sum) {
    answer.outcome = Outcome::kNotAnInteger;
    return kv::Modification::kKeep;
  }
  answer.has_value = true;
  answer.value = std::to_string(*sum);
  encode_state_value({as_bytes(answer.value), present ? present->expires_at_ns : 0, position},
                     next);
  return kv::Modification::kWrite;
}

}  // namespace

Result<Answer> Applier::apply_command(const RecordsAhead::Item& item) {
  const Command& command = *item.command;
  const std::string& key = item.key;
  const kv::Serial at = item.record.end.value;
  switch (info_of(command.operation).effect) {
    case Effect::kNothing:
      return Answer{};
    case Effect::kRules:
      return apply_rules(command.value, at);
    case Effect::kModifies:
      return modify(command, key, at);
    case Effect::kScavenge:
      return apply_scavenge(item.record);
    case Effect::kTxn:
      return txns_.apply(item.txn, {item.record.address.value, at, log_time_ns(), positions_});
    case Effect::kSets:
      break;
  }
  if (command.expires_at_ns != 0) expiries_.note(command.expires_at_ns);
  encode_state_value({command.value, command.expires_at_ns, position_}, value_);
  TAILRACE_RETURN_IF_ERROR(session_->upsert(as_bytes(key), as_bytes(value_), at));
  return Answer{};
}

Result<Answer> Applier::apply_scavenge(const fasterlog::Record& record) {
  ScavengePoint point = scavenge_point();
  point = {point.count + 1, record.end, log_time_ns()};
  TAILRACE_RETURN_IF_ERROR(
      session_->upsert(as_bytes(kScavengeKey), encode(point), record.end.value));
  if (outcomes_) {
    recorder_.begin_record(record.address.value);
    recorder_.stretch_ends(record.end.value);
  }
  const MutexLock lock(mutex_);
  scavenge_ = point;
  return Answer{};
}

Result<> Applier::load_scavenge_point() {
  std::string value;
  auto read = store_.read(as_bytes(kScavengeKey), value);
  if (!read && read.error().code == ErrorCode::kNotFound) return {};
  TAILRACE_RETURN_IF_ERROR(read);
  const auto point = decode_scavenge_point(as_bytes(value));
  if (!point)
    return make_error(ErrorCode::kCorruption, "the store's note of the last scavenge is damaged");
  const MutexLock lock(mutex_);
  scavenge_ = *point;
  return {};
}

Result<Answer> Applier::modify(const Command& command, const std::string& key, kv::Serial at) {
  using kv::Modification;
  Answer answer;
  bool readable = true;
  const auto decide = [&](const ByteSpan* stored, std::string& next) {
    // It may be called again.
    answer = Answer{};
    std::optional<StateValue> present;
    if (stored != nullptr) {
      present = decode_state_value(*stored);
      readable = present.has_value();
      if (!readable) return Modification::kKeep;
      if (present->is_expired(log_time_ns())) present.reset();
    }
    switch (command.operation) {
      case Operation::kDelete:
        if (!present) answer.outcome = Outcome::kAbsent;
        return present ? Modification::kErase : Modification::kKeep;
      case Operation::kExpire:
        if (!present) {
          answer.outcome = Outcome::kAbsent;
          return Modification::kKeep;
        }
        encode_state_value({present->value, command.expires_at_ns, position_}, next);
        return Modification::kWrite;
      case Operation::kCas:
        if (present && as_text(present->value) == as_text(command.expected)) {
          encode_state_value({command.value, present->expires_at_ns, position_}, next);
          return Modification::kWrite;
        }
        answer = mismatch(present);
        return Modification::kKeep;
      case Operation::kInsert:
        // What has expired is absent, and leaves nothing of its time.
        if (!present) {
          encode_state_value({command.value, command.expires_at_ns, position_}, next);
          return Modification::kWrite;
        }
        answer = mismatch(present);
        return Modification::kKeep;
      case Operation::kAdd:
        return add_to(present, command.delta, position_, answer, next);
      case Operation::kEvent:
      case Operation::kPut:
      case Operation::kDigest:
      case Operation::kTime:
      case Operation::kCompare:
      case Operation::kRules:
      case Operation::kTxn:
      case Operation::kScavenge:
        break;
    }
    TAILRACE_FATAL("a command that modifies no key came to where keys are modified");
  };
  TAILRACE_RETURN_IF_ERROR(session_->rmw(as_bytes(key), decide, at));
  if (!readable)
    return make_error(ErrorCode::kCorruption, "the store holds a value that does not parse");
  if (command.expires_at_ns != 0 && answer.outcome == Outcome::kDone)
    expiries_.note(command.expires_at_ns);
  return answer;
}

}  // namespace tailrace::statemachine
