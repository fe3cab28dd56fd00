// What each command does to the state.
#include <charconv>

#include "core/check.h"
#include "statemachine/applier.h"
#include "statemachine/command/command_table.h"

namespace tailrace::statemachine {
namespace {

std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

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
kv::Modification add_to(const std::optional<StateValue>& present, int64_t delta, Answer& answer,
                        std::string& next) {
  const std::optional<int64_t> before =
      present ? parse_integer(as_text(present->value)) : int64_t{0};
  int64_t sum = 0;
  if (!before || __builtin_add_overflow(*before, delta, &sum)) {
    answer.outcome = Outcome::kNotAnInteger;
    return kv::Modification::kKeep;
  }
  answer.has_value = true;
  answer.value = std::to_string(sum);
  encode_state_value(as_bytes(answer.value), present ? present->expires_at_ns : 0, next);
  return kv::Modification::kWrite;
}

}  // namespace

Result<Answer> Applier::apply_command(const Command& command, const std::string& key,
                                      kv::Serial at) {
  switch (info_of(command.operation).effect) {
    case Effect::kNothing:
      return Answer{};
    case Effect::kRules:
      return apply_rules(command.value, at);
    case Effect::kModifies:
      return modify(command, key, at);
    case Effect::kSets:
      break;
  }
  if (command.expires_at_ns != 0) expiries_.note(command.expires_at_ns);
  encode_state_value(command.value, command.expires_at_ns, value_);
  TAILRACE_RETURN_IF_ERROR(session_->upsert(as_bytes(key), as_bytes(value_), at));
  return Answer{};
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
        encode_state_value(present->value, command.expires_at_ns, next);
        return Modification::kWrite;
      case Operation::kCas:
        if (present && as_text(present->value) == as_text(command.expected)) {
          encode_state_value(command.value, present->expires_at_ns, next);
          return Modification::kWrite;
        }
        answer = mismatch(present);
        return Modification::kKeep;
      case Operation::kInsert:
        // What has expired is absent, and leaves nothing of its time.
        if (!present) {
          encode_state_value(command.value, command.expires_at_ns, next);
          return Modification::kWrite;
        }
        answer = mismatch(present);
        return Modification::kKeep;
      case Operation::kAdd:
        return add_to(present, command.delta, answer, next);
      case Operation::kEvent:
      case Operation::kPut:
      case Operation::kDigest:
      case Operation::kTime:
      case Operation::kCompare:
      case Operation::kRules:
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
