#include "statemachine/session/session_table.h"

#include <algorithm>
#include <tuple>

#include "statemachine/types/state_value.h"

namespace tailrace::statemachine {
namespace {

// A command evicts no more sessions, and forgets no more answers beyond the room of its own, when
// the limits were lowered. Each may be a read of the disk.
constexpr size_t kMostEvicted = 2, kMostForgotten = 4;

tl::unexpected<Error> inconsistent() {
  return make_error(ErrorCode::kCorruption,
                    "session table: the checkpoint has answers without their session, or of "
                    "serials that it has not seen; remove the newest checkpoint or copy the state "
                    "from a peer");
}

Result<> erase(kv::Session& session, const std::string& key, kv::Serial at) {
  TAILRACE_RETURN_IF_ERROR(session.erase(as_bytes(key), at));
  return {};
}

}  // namespace

// ---- From the store and into it.

Result<> SessionTable::load_pair(ByteSpan key, ByteSpan value) {
  const auto slot_of = [this](ClientId client) {
    const SessionSlot found = sessions_.find(client);
    return found != kNoSession ? found : sessions_.add(client);
  };
  if (as_text(key).front() == kSessionKey) {
    TAILRACE_ASSIGN_OR_RETURN(const auto client, client_of_session(key));
    return decode_session(value, sessions_[slot_of(client)]);
  }
  TAILRACE_ASSIGN_OR_RETURN(const auto whose, client_and_serial_of_answer(key));
  const SessionSlot slot = slot_of(whose.first);
  KeptAnswer answer{slot, whose.second, 0, {}};
  TAILRACE_RETURN_IF_ERROR(decode_answer(value, answer));
  answers_.add(sessions_[slot].answers, std::move(answer));
  return {};
}

Result<> SessionTable::finish_loading() {
  for (SessionSlot slot = sessions_.oldest(); slot != kNoSession;
       slot = sessions_.newer_than(slot)) {
    ClientSession& entry = sessions_[slot];
    if (entry.last_serial == 0) return inconsistent();
    if (!entry.answers) continue;
    KeptAnswers::sort_by_serial(*entry.answers);
    if (entry.answers->newest()->serial > entry.last_serial) return inconsistent();
  }
  sort();
  held_.clear();  // those are found again when the log time moves next
  young_ = sessions_.oldest();
  publish();
  return {};
}

/// As a node finds them that is started: sessions without an address were used, and answers made,
/// before there were limits.
void SessionTable::sort() {
  sessions_.sort([](const ClientSession& left, const ClientSession& right) {
    return std::tie(left.last_address, left.last_time_ns, left.client) <
           std::tie(right.last_address, right.last_time_ns, right.client);
  });
  answers_.sort([this](const KeptAnswer& left, const KeptAnswer& right) {
    return std::tie(left.made_at, sessions_[left.session].client, left.serial) <
           std::tie(right.made_at, sessions_[right.session].client, right.serial);
  });
}

Result<> SessionTable::load_evicted(ByteSpan value) {
  TAILRACE_ASSIGN_OR_RETURN(evicted_, decode_evicted(value));
  return {};
}

Result<> SessionTable::load_pair_of_format_1(ByteSpan key, ByteSpan value) {
  TAILRACE_ASSIGN_OR_RETURN(const auto client, client_of_session(key));
  TAILRACE_ASSIGN_OR_RETURN(auto found, decode_session_of_format_1(value));
  const SessionSlot slot = sessions_.add(client);
  ClientSession& entry = sessions_[slot];
  entry.last_serial = found.session.last_serial;
  entry.last_time_ns = found.session.last_time_ns;
  entry.forgotten = found.session.forgotten;
  for (KeptAnswer& answer : found.answers) {
    answer.session = slot;
    answers_.add(entry.answers, std::move(answer));
  }
  return {};
}

Result<> SessionTable::write_all(kv::Session& session, kv::Serial at) {
  for (SessionSlot slot = sessions_.oldest(); slot != kNoSession;
       slot = sessions_.newer_than(slot)) {
    const ClientSession& entry = sessions_[slot];
    TAILRACE_RETURN_IF_ERROR(write_entry(session, entry, at));
    if (!entry.answers) continue;
    for (const auto& answer : *entry.answers)
      TAILRACE_RETURN_IF_ERROR(session.upsert(as_bytes(answer_key(entry.client, answer->serial)),
                                              as_bytes(encode_answer(*answer)), at));
  }
  return {};
}

Result<> SessionTable::write_entry(kv::Session& session, const ClientSession& entry,
                                   kv::Serial at) {
  return session.upsert(as_bytes(session_key(entry.client)), as_bytes(encode_session(entry)), at);
}

Result<> SessionTable::write_evicted(kv::Session& session, kv::Serial at) {
  return session.upsert(as_bytes(kEvictedKey), as_bytes(encode_evicted(evicted_)), at);
}

void SessionTable::publish() {
  count_.store(sessions_.size(), std::memory_order_relaxed);
  answers_bytes_.store(answers_.bytes(), std::memory_order_relaxed);
  floor_ns_.store(evicted_.bound_ns, std::memory_order_release);
}

// ---- Commands.

void SessionTable::take_rules(const Rules& rules) {
  const bool begin_limits = rules.limits && !rules_.limits;
  rules_ = rules;
  rules_in_log_ = true;
  if (begin_limits) sort();
  // With another ttl they may not be too old.
  held_.clear();
  young_ = sessions_.oldest();
}

bool SessionTable::may_begin_now(const SessionSerial& command, uint64_t log_time_ns) const {
  if (command.serial != 1) return false;
  // Without rules in the log nodes might judge a bound differently.
  if (!rules_in_log_) return true;
  if (command.begins_before_ns != 0)
    return may_begin(command.begins_before_ns, log_time_ns, rules_, evicted_.bound_ns);
  return !evicted_.unbound_ns || is_too_old(*evicted_.unbound_ns, log_time_ns, rules_);
}

std::optional<Answer> SessionTable::check(const SessionSerial& command,
                                          uint64_t log_time_ns) const {
  if (command.serial == 0) return Answer{Outcome::kSerialGap, false, {}};
  const SessionSlot slot = sessions_.find(command.client);
  if (slot == kNoSession) {
    if (may_begin_now(command, log_time_ns)) return std::nullopt;
    return Answer{Outcome::kSessionExpired, false, {}};
  }
  const ClientSession& entry = sessions_[slot];
  if (command.serial == entry.last_serial + 1) return std::nullopt;
  if (command.serial > entry.last_serial) return Answer{Outcome::kSerialGap, false, {}};
  const KeptAnswer* kept = entry.answers ? entry.answers->find(command.serial) : nullptr;
  if (kept != nullptr) return kept->answer;
  if (command.serial <= entry.forgotten) return Answer{Outcome::kAnswerForgotten, false, {}};
  return Answer{};
}

void SessionTable::use(SessionSlot slot) {
  if (!held_.empty()) held_.erase({sessions_[slot].begins_before_ns, slot});
  if (slot == young_) young_ = sessions_.newer_than(slot);
  sessions_.use(slot);
  if (young_ == kNoSession) young_ = slot;
}

Result<> SessionTable::remember(kv::Session& session, const SessionSerial& command,
                                const Answer& answer, uint64_t log_time_ns, kv::Serial at) {
  const uint64_t answers_bytes_before = answers_.bytes();
  SessionSlot slot = sessions_.find(command.client);
  if (slot == kNoSession) slot = sessions_.add(command.client);
  use(slot);
  ClientSession& entry = sessions_[slot];
  if (command.serial == 1 && rules_in_log_) entry.begins_before_ns = command.begins_before_ns;
  entry.last_serial = command.serial;
  entry.last_time_ns = log_time_ns;
  if (rules_.limits) entry.last_address = at;
  if (answer.outcome != Outcome::kDone || answer.has_value)
    TAILRACE_RETURN_IF_ERROR(keep(session, slot, answer, at));
  TAILRACE_RETURN_IF_ERROR(write_entry(session, entry, at));
  if (rules_.limits) TAILRACE_RETURN_IF_ERROR(enforce_limits(session, answers_bytes_before, at));
  publish();
  return {};
}

Result<> SessionTable::keep(kv::Session& session, SessionSlot slot, const Answer& answer,
                            kv::Serial at) {
  ClientSession& entry = sessions_[slot];
  const uint64_t serial = entry.last_serial;
  KeptAnswer kept{slot, serial, 0, answer};
  if (rules_.limits) {
    kept.made_at = at;
    if (kept.answer.value.size() > rules_.limits->answer_value_bytes)
      kept.answer.withheld_bytes = std::exchange(kept.answer.value, {}).size();
  }
  // Without limits a value counts that does not come along: it is longer than all may be together.
  const bool too_long = !rules_.limits && answer.withheld_bytes != 0;
  const std::string key = answer_key(entry.client, serial), value = encode_answer(kept);
  answers_.add(entry.answers, std::move(kept));
  while (entry.answers && (too_long || entry.answers->size() > rules_.session_answers ||
                           entry.answers->bytes() > rules_.session_answer_bytes)) {
    entry.forgotten = entry.answers->oldest()->serial;
    answers_.remove_oldest(entry.answers);
    // This one's own answer is not in the store yet: it may be too long to be kept at all.
    if (entry.forgotten != serial)
      TAILRACE_RETURN_IF_ERROR(erase(session, answer_key(entry.client, entry.forgotten), at));
  }
  if (entry.forgotten == serial) return {};
  return session.upsert(as_bytes(key), as_bytes(value), at);
}

// ---- Limits.

Result<> SessionTable::enforce_limits(kv::Session& session, uint64_t answers_bytes_before,
                                      kv::Serial at) {
  const SessionLimits& limits = *rules_.limits;
  for (size_t i = 0; i < kMostEvicted && sessions_.size() > limits.sessions; ++i)
    TAILRACE_RETURN_IF_ERROR(evict(session, sessions_.oldest(), at));
  for (size_t i = 0; answers_.bytes() > limits.answers_bytes &&
                     (i < kMostForgotten || answers_.bytes() > answers_bytes_before);
       ++i)
    TAILRACE_RETURN_IF_ERROR(forget_oldest_of(session, sessions_[answers_.oldest().session], at));
  return {};
}

Result<> SessionTable::forget_oldest_of(kv::Session& session, ClientSession& entry, kv::Serial at) {
  entry.forgotten = entry.answers->oldest()->serial;
  answers_.remove_oldest(entry.answers);
  probe_.answers_forgotten.add();
  TAILRACE_RETURN_IF_ERROR(erase(session, answer_key(entry.client, entry.forgotten), at));
  return write_entry(session, entry, at);
}

Result<> SessionTable::evict(kv::Session& session, SessionSlot slot, kv::Serial at) {
  const ClientSession& entry = sessions_[slot];
  uint64_t bound_ns = entry.begins_before_ns;
  if (bound_ns == 0) {
    evicted_.unbound_ns = std::max(evicted_.unbound_ns.value_or(0), entry.last_time_ns);
    // Its command may have lost its bound at a leader that had not applied the rules yet.
    bound_ns = greatest_bound(entry.last_time_ns, rules_, 0);
  }
  evicted_.bound_ns = std::max(evicted_.bound_ns, bound_ns);
  probe_.sessions_evicted.add();
  TAILRACE_RETURN_IF_ERROR(write_evicted(session, at));
  return remove(session, slot, at);
}

Result<> SessionTable::log_time_moved(kv::Session& session, uint64_t from_ns, uint64_t to_ns,
                                      kv::Serial at) {
  // While a batch is applied the log time is still that of the mark before it, which may be long
  // ago (or never, in the first batch). Who has that time was used since, in this batch, so it is
  // dated anew; for a small step the expiry's slack does instead, and saves the write.
  if (to_ns - from_ns > session_slack_ns(rules_)) {
    // Not the mark's own time: that is what those have who are used after it.
    const uint64_t dated_ns = to_ns - 1;
    for (SessionSlot slot = sessions_.newest();
         slot != kNoSession && sessions_[slot].last_time_ns == from_ns;
         slot = sessions_.older_than(slot)) {
      sessions_[slot].last_time_ns = dated_ns;
      TAILRACE_RETURN_IF_ERROR(write_entry(session, sessions_[slot], at));
    }
    if (evicted_.unbound_ns == from_ns) {
      evicted_.unbound_ns = dated_ns;
      TAILRACE_RETURN_IF_ERROR(write_evicted(session, at));
    }
  }
  while (young_ != kNoSession && is_too_old(sessions_[young_].last_time_ns, to_ns, rules_)) {
    const SessionSlot slot = young_;
    const uint64_t bound_ns = sessions_[slot].begins_before_ns;
    if (is_held(bound_ns, to_ns)) {
      young_ = sessions_.newer_than(slot);
      held_.emplace(bound_ns, slot);
    } else {
      TAILRACE_RETURN_IF_ERROR(remove(session, slot, at));
    }
  }
  while (!held_.empty() && !is_held(held_.begin()->first, to_ns))
    TAILRACE_RETURN_IF_ERROR(remove(session, held_.begin()->second, at));
  publish();
  return {};
}

Result<> SessionTable::remove(kv::Session& session, SessionSlot slot, kv::Serial at) {
  ClientSession& entry = sessions_[slot];
  if (!held_.empty()) held_.erase({entry.begins_before_ns, slot});
  if (slot == young_) young_ = sessions_.newer_than(slot);
  TAILRACE_RETURN_IF_ERROR(erase(session, session_key(entry.client), at));
  while (entry.answers) {
    const uint64_t serial = entry.answers->oldest()->serial;
    answers_.remove_oldest(entry.answers);
    TAILRACE_RETURN_IF_ERROR(erase(session, answer_key(entry.client, serial), at));
  }
  sessions_.remove(slot);
  return {};
}

}  // namespace tailrace::statemachine
