#include "statemachine/txn_applier.h"

#include <algorithm>
#include <utility>

#include "statemachine/types/number.h"

// Applying as a whole, and the effects; the checks stand in txn_checks.cc.

namespace tailrace::statemachine {
namespace {

static_assert(kMaxTxnDedupe == kMostDedupe);

tl::unexpected<Error> unreadable_state() {
  return make_error(ErrorCode::kCorruption, "the store holds a value that does not parse");
}

/// What was looked at before has said that it would be done.
tl::unexpected<Error> contradiction() {
  return make_error(ErrorCode::kCorruption, "a transaction has two effects of one stream");
}

}  // namespace

Result<> TxnApplier::open(kv::Session& session, OutcomeRecorder* recorder) {
  session_ = &session;
  recorder_ = recorder;
  TAILRACE_ASSIGN_OR_RETURN(streams_, StreamIndex::open(store_, session));
  streams_->set_recorder(recorder);
  return {};
}

void TxnApplier::close() {
  streams_.reset();
  session_ = nullptr;
}

Result<Answer> TxnApplier::apply(const Txn& txn, const TxnMoment& moment) {
  moment_ = moment;
  if (recorder_) recorder_->begin_record(moment.address);
  if (txn.once) {
    TAILRACE_ASSIGN_OR_RETURN(auto first,
                              once_.find(*session_, *txn.once, moment.log_time_ns, moment.at));
    if (first) return std::move(*first);
  }
  result_.clear();
  result_.position = moment.address;
  kept_.clear();
  kept_bytes_ = read_bytes_ = 0;
  now_ns_ = std::max(moment.log_time_ns, txn.time_ns);
  const bool has_no_room = txn.once && once_.is_full();
  if (has_no_room)
    result_.failed.push_back({TxnList::kOnce, 0, FoundKind::kOnceFull, {}, once_.size()});
  else
    TAILRACE_RETURN_IF_ERROR(run(txn));
  result_.succeeded = result_.failed.empty();
  limit_bytes(result_);
  encode(result_, encoded_);
  Answer answer;
  answer.outcome = result_.succeeded ? Outcome::kDone : Outcome::kTxnFailed;
  answer.has_value = true;
  answer.value = to_string(encoded_);
  if (txn.once && !has_no_room && txn.once->until_ns > moment.log_time_ns)
    TAILRACE_RETURN_IF_ERROR(
        once_.remember(*session_, *txn.once, answer, moment.log_time_ns, moment.at));
  return answer;
}

Result<> TxnApplier::run(const Txn& txn) {
  TAILRACE_RETURN_IF_ERROR(find_failed_checks(txn));
  if (read_too_much()) return {};
  const bool holds = result_.failed.empty();
  const std::vector<TxnEffect>& effects = holds ? txn.then : txn.otherwise;
  const size_t failed = result_.failed.size();
  TAILRACE_RETURN_IF_ERROR(find_obstacles(txn, holds ? TxnList::kThen : TxnList::kElse, effects));
  if (read_too_much() || result_.failed.size() > failed) return {};
  for (size_t i = 0; i < effects.size(); ++i) {
    if (recorder_) recorder_->begin_effect(holds ? i : txn.then.size() + i);
    TAILRACE_ASSIGN_OR_RETURN(EffectResult came_to, apply(txn, effects[i]));
    result_.results.push_back(came_to);
  }
  return {};
}

Result<EffectResult> TxnApplier::apply(const Txn& txn, const TxnEffect& effect) {
  switch (effect.kind) {
    case TxnEffectKind::kPut:
      return put(effect);
    case TxnEffectKind::kDelete:
    case TxnEffectKind::kAdd:
    case TxnEffectKind::kExpire:
      return modify(effect);
    case TxnEffectKind::kGet:
      return get(effect);
    case TxnEffectKind::kAppend:
      return append(txn, effect);
    case TxnEffectKind::kPolicy:
      return set_policy(effect);
    case TxnEffectKind::kDeleteStream: {
      TAILRACE_ASSIGN_OR_RETURN(const StreamPresence before,
                                streams_->remove(as_text(effect.name), moment_.at));
      const bool existed = before.state == StreamPresence::State::kExists;
      return EffectResult{existed ? EffectResultKind::kNothing : EffectResultKind::kAbsent};
    }
    case TxnEffectKind::kTombstone:
      TAILRACE_RETURN_IF_ERROR(streams_->tombstone(as_text(effect.name), moment_.at));
      return EffectResult{};
  }
  return make_error(ErrorCode::kCorruption, "a transaction has an effect of no kind");
}

// ---- Keys.

Result<EffectResult> TxnApplier::put(const TxnEffect& effect) {
  if (effect.expires_at_ns != 0) expiries_.note(effect.expires_at_ns);
  encode_state_value({effect.value, effect.expires_at_ns, moment_.positions ? moment_.address : 0},
                     next_);
  key_.assign(1, kUserKey).append(as_text(effect.name));
  TAILRACE_RETURN_IF_ERROR(session_->upsert(as_bytes(key_), as_bytes(next_), moment_.at));
  return EffectResult{};
}

Result<EffectResult> TxnApplier::modify(const TxnEffect& effect) {
  using kv::Modification;
  EffectResult result;
  bool readable = true;
  const auto decide = [&](const ByteSpan* stored, std::string& next) {
    // It may be called again.
    result = {};
    std::optional<StateValue> present;
    if (stored != nullptr) {
      present = decode_state_value(*stored);
      readable = present.has_value();
      if (!readable) return Modification::kKeep;
      if (present->is_expired(moment_.log_time_ns)) present.reset();
    }
    if (!present && effect.kind != TxnEffectKind::kAdd) {
      result.kind = EffectResultKind::kAbsent;
      return Modification::kKeep;
    }
    if (effect.kind == TxnEffectKind::kDelete) return Modification::kErase;
    StateValue changed = present.value_or(StateValue{});
    changed.modified_at = moment_.positions ? moment_.address : 0;
    std::string sum;
    if (effect.kind == TxnEffectKind::kExpire) {
      changed.expires_at_ns = effect.expires_at_ns;
    } else {
      result.kind = EffectResultKind::kNumber;
      // That it can be added was looked at before.
      result.number = sum_of(present ? as_text(present->value) : "0", effect.delta).value_or(0);
      sum = std::to_string(result.number);
      changed.value = as_bytes(sum);
    }
    encode_state_value(changed, next);
    return Modification::kWrite;
  };
  key_.assign(1, kUserKey).append(as_text(effect.name));
  TAILRACE_RETURN_IF_ERROR(session_->rmw(as_bytes(key_), decide, moment_.at));
  if (!readable) return unreadable_state();
  if (effect.expires_at_ns != 0 && result.kind != EffectResultKind::kAbsent)
    expiries_.note(effect.expires_at_ns);
  return result;
}

Result<EffectResult> TxnApplier::get(const TxnEffect& effect) {
  EffectResult result;
  if (read_too_much()) {
    result.kind = EffectResultKind::kWithheld;
    return result;
  }
  TAILRACE_ASSIGN_OR_RETURN(const auto present, look(effect.name));
  if (!present) {
    result.kind = EffectResultKind::kAbsent;
  } else if (const auto kept = keep(present->value)) {
    result.kind = EffectResultKind::kValue;
    result.value = *kept;
  } else {
    result.kind = EffectResultKind::kWithheld;
    result.withheld_bytes = present->value.size();
  }
  return result;
}

Result<std::optional<StateValue>> TxnApplier::look(ByteSpan key) {
  key_.assign(1, kUserKey).append(as_text(key));
  auto read = session_->read(as_bytes(key_), stored_);
  if (!read && read.error().code == ErrorCode::kNotFound) return std::nullopt;
  TAILRACE_RETURN_IF_ERROR(read);
  read_bytes_ += stored_.size();
  std::optional<StateValue> value = decode_state_value(as_bytes(stored_));
  if (!value) return unreadable_state();
  if (value->is_expired(moment_.log_time_ns)) value.reset();
  return value;
}

std::optional<ByteSpan> TxnApplier::keep(ByteSpan value) {
  if (value.size() > kMostTxnResultBytes - kept_bytes_) return std::nullopt;
  kept_bytes_ += value.size();
  return as_bytes(kept_.emplace_back(as_text(value)));
}

// ---- Streams.

StreamAppend TxnApplier::batch_of(const Txn& txn, const TxnEffect& effect) {
  using Kind = ExpectedVersion::Kind;
  StreamAppend batch;
  batch.stream = as_text(effect.name);
  batch.time_ns = txn.time_ns;
  switch (effect.expected) {
    case Expected::kAny:
      break;
    case Expected::kNone:
      batch.expected.kind = Kind::kNone;
      break;
    case Expected::kExists:
      batch.expected.kind = Kind::kExists;
      break;
    case Expected::kExact:
      batch.expected = {Kind::kExact, effect.expected_version};
      break;
  }
  ids_.clear();
  places_.clear();
  bool has_ids = false;
  for (const TxnEvent& event : txn.events_of(effect)) {
    const auto ordinal = static_cast<uint16_t>(effect.first_event + places_.size());
    places_.push_back({moment_.address, ordinal});
    EventId& id = ids_.emplace_back();
    if (event.id) id = {load<uint64_t>(event.id->data()), load<uint64_t>(event.id->data() + 8)};
    has_ids |= id.is_given();
  }
  batch.places = places_;
  if (has_ids) batch.ids = ids_;
  return batch;
}

Result<EffectResult> TxnApplier::append(const Txn& txn, const TxnEffect& effect) {
  TAILRACE_ASSIGN_OR_RETURN(const AppendOutcome outcome,
                            streams_->append(batch_of(txn, effect), moment_.at));
  if (!outcome.is_done()) return contradiction();
  EffectResult result;
  result.kind = EffectResultKind::kAppended;
  result.first_version = outcome.first;
  result.last_version = outcome.last;
  result.replayed = outcome.kind == AppendOutcome::Kind::kReplayed;
  return result;
}

Result<EffectResult> TxnApplier::set_policy(const TxnEffect& effect) {
  PolicyChange change;
  change.max_count = effect.max_count;
  change.max_age_ns = effect.max_age_ns;
  change.truncate_before = effect.truncate_before;
  if (effect.dedupe) change.dedupe = static_cast<uint32_t>(*effect.dedupe);
  TAILRACE_RETURN_IF_ERROR(streams_->set_policy(as_text(effect.name), change, moment_.at));
  return EffectResult{};
}

}  // namespace tailrace::statemachine
