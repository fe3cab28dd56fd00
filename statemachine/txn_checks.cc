// What a transaction asks of the state, and what stands in the way of its effects.
#include <algorithm>
#include <utility>

#include "statemachine/txn_applier.h"
#include "statemachine/types/number.h"

namespace tailrace::statemachine {
namespace {

/// What there is instead of the stream that was expected.
FailedCheck found_stream(const StreamPresence& presence, bool by_version) {
  using State = StreamPresence::State;
  FailedCheck failed;
  failed.found = FoundKind::kNoStream;
  if (presence.state == State::kTombstoned) {
    failed.found = FoundKind::kTombstoned;
  } else if (presence.last && (presence.state == State::kExists || by_version)) {
    failed.found = FoundKind::kVersion;
    failed.number = *presence.last;
  }
  return failed;
}

}  // namespace

Result<> TxnApplier::find_failed_checks(const Txn& txn) {
  for (size_t i = 0; i < txn.checks.size(); ++i) {
    TAILRACE_ASSIGN_OR_RETURN(auto found, failed(txn.checks[i]));
    if (read_too_much()) {
      fail_for_reading(TxnList::kChecks, i);
      return {};
    }
    if (!found) continue;
    found->list = TxnList::kChecks;
    found->index = static_cast<uint16_t>(i);
    result_.failed.push_back(*found);
  }
  return {};
}

Result<> TxnApplier::find_obstacles(const Txn& txn, TxnList list,
                                    const std::vector<TxnEffect>& effects) {
  for (size_t i = 0; i < effects.size(); ++i) {
    TAILRACE_ASSIGN_OR_RETURN(auto found, obstacle(txn, effects[i]));
    if (read_too_much()) {
      fail_for_reading(list, i);
      return {};
    }
    if (!found) continue;
    found->list = list;
    found->index = static_cast<uint16_t>(i);
    result_.failed.push_back(*found);
  }
  return {};
}

void TxnApplier::fail_for_reading(TxnList list, size_t index) {
  result_.failed.assign(
      1, {list, static_cast<uint16_t>(index), FoundKind::kReadLimit, {}, kMostTxnReadBytes});
}

// ---- Checks.

TxnApplier::Failed TxnApplier::failed(const TxnCheck& check) {
  switch (check.kind) {
    case CheckKind::kKeyEquals:
    case CheckKind::kKeyAbsent:
    case CheckKind::kKeyExists:
    case CheckKind::kKeyModifiedAt:
    case CheckKind::kKeyNumber:
      return failed_key(check);
    case CheckKind::kStreamAt:
    case CheckKind::kStreamAbsent:
    case CheckKind::kStreamExists:
      return failed_stream(check);
    case CheckKind::kBefore: {
      // The log time stands still while nothing is written; the leader has dated this one.
      if (now_ns_ < check.at) return std::nullopt;
      FailedCheck failed;
      failed.found = FoundKind::kLogTime;
      failed.number = now_ns_;
      return failed;
    }
  }
  return make_error(ErrorCode::kCorruption, "a transaction has a check of no kind");
}

TxnApplier::Failed TxnApplier::failed_key(const TxnCheck& check) {
  TAILRACE_ASSIGN_OR_RETURN(const auto present, look(check.name));
  bool holds = present.has_value();
  if (check.kind == CheckKind::kKeyAbsent) {
    holds = !holds;
  } else if (check.kind == CheckKind::kKeyEquals) {
    holds = holds && as_text(present->value) == as_text(check.value);
  } else if (check.kind == CheckKind::kKeyNumber) {
    const auto number = holds ? parse_integer(as_text(present->value)) : std::nullopt;
    holds = number && check.min <= *number && *number <= check.max;
  } else if (check.kind == CheckKind::kKeyModifiedAt) {
    // Zero is no position: the key was written before there were any.
    if (holds && check.at != 0 && present->modified_at == check.at) return std::nullopt;
    FailedCheck failed;
    if (holds) {
      failed.found = FoundKind::kPosition;
      failed.number = present->modified_at;
    }
    return failed;
  }
  if (holds) return std::nullopt;
  return found(present);
}

TxnApplier::Failed TxnApplier::failed_stream(const TxnCheck& check) {
  ExpectedVersion expected;
  if (check.kind == CheckKind::kStreamAt)
    expected = {ExpectedVersion::Kind::kExact, check.at};
  else if (check.kind == CheckKind::kStreamAbsent)
    expected.kind = ExpectedVersion::Kind::kNone;
  else
    expected.kind = ExpectedVersion::Kind::kExists;
  TAILRACE_ASSIGN_OR_RETURN(const auto checked, streams_->check(as_text(check.name), expected));
  if (checked.holds) return std::nullopt;
  return found_stream(checked.found, check.kind == CheckKind::kStreamAt);
}

FailedCheck TxnApplier::found(const std::optional<StateValue>& value) {
  FailedCheck failed;
  if (!value) return failed;
  failed = found_value(TxnList::kChecks, 0, value->value);
  if (failed.found != FoundKind::kValue) return failed;
  if (const auto kept = keep(value->value)) {
    failed.value = *kept;
    return failed;
  }
  failed.found = FoundKind::kWithheld;
  failed.value = {};
  failed.number = value->value.size();
  return failed;
}

// ---- What effects need.

TxnApplier::Failed TxnApplier::obstacle(const Txn& txn, const TxnEffect& effect) {
  switch (effect.kind) {
    case TxnEffectKind::kPut:
    case TxnEffectKind::kDelete:
    case TxnEffectKind::kExpire:
    case TxnEffectKind::kGet:
    case TxnEffectKind::kDeleteStream:
    case TxnEffectKind::kTombstone:
      return std::nullopt;
    case TxnEffectKind::kAdd:
      return obstacle_of_add(effect);
    case TxnEffectKind::kAppend:
      return obstacle_of_append(txn, effect);
    case TxnEffectKind::kPolicy: {
      TAILRACE_ASSIGN_OR_RETURN(const auto presence, streams_->presence(as_text(effect.name)));
      if (presence.state != StreamPresence::State::kTombstoned) return std::nullopt;
      return found_stream(presence, false);
    }
  }
  return make_error(ErrorCode::kCorruption, "a transaction has an effect of no kind");
}

TxnApplier::Failed TxnApplier::obstacle_of_add(const TxnEffect& effect) {
  TAILRACE_ASSIGN_OR_RETURN(const auto present, look(effect.name));
  if (!present || sum_of(as_text(present->value), effect.delta)) return std::nullopt;
  return found(present);
}

TxnApplier::Failed TxnApplier::obstacle_of_append(const Txn& txn, const TxnEffect& effect) {
  using Kind = AppendOutcome::Kind;
  TAILRACE_ASSIGN_OR_RETURN(const AppendOutcome outcome, streams_->preview(batch_of(txn, effect)));
  FailedCheck failed;
  switch (outcome.kind) {
    case Kind::kAppended:
    case Kind::kReplayed:
      return std::nullopt;
    case Kind::kWrongVersion:
    case Kind::kTombstoned:
      return found_stream(outcome.found, effect.expected == Expected::kExact);
    case Kind::kPartialMatch:
    case Kind::kRepeatedId:
      failed.found = FoundKind::kPartialIds;
      failed.number = outcome.index;
      return failed;
    case Kind::kFull:
      failed.found = FoundKind::kStreamFull;
      failed.number = outcome.found.last.value_or(0);
      return failed;
  }
  return make_error(ErrorCode::kCorruption, "an append came to nothing that is known");
}

}  // namespace tailrace::statemachine
