#include "statemachine/session_table.h"

#include <algorithm>

#include "statemachine/state_value.h"

namespace tailrace::statemachine {
namespace {

// What an answer counts for beside its value.
constexpr size_t kAnswerHeader = 14;
constexpr size_t kSessionKeyBytes = 17, kAnswerKeyBytes = 25;
constexpr size_t kEntryBytes = 24, kBoundEntryBytes = 32;
constexpr size_t kEntryBytesOfFormat1 = 28;

template <typename T>
void append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string session_key(ClientId client) {
  std::string key(1, kSessionKey);
  append(key, client.high);
  append(key, client.low);
  return key;
}

std::string answer_key(ClientId client, uint64_t serial) {
  std::string key = session_key(client);
  key[0] = kAnswerKey;
  append(key, serial);
  return key;
}

ClientId client_in(ByteSpan key) {
  return {load<uint64_t>(key.data() + 1), load<uint64_t>(key.data() + 9)};
}

tl::unexpected<Error> unreadable() {
  return make_error(ErrorCode::kCorruption,
                    "session table: a session in the checkpoint does not parse; remove the newest "
                    "checkpoint or copy the state from a peer");
}

Result<> erase(kv::Session& session, const std::string& key, kv::Serial at) {
  if (auto erased = session.erase(as_bytes(key), at); !erased)
    return tl::unexpected(erased.error());
  return {};
}

}  // namespace

Result<> SessionTable::load_pair(ByteSpan key, ByteSpan value) {
  if (as_text(key).front() == kAnswerKey) {
    if (key.size() != kAnswerKeyBytes || value.size() < 2) return unreadable();
    Answer answer;
    answer.outcome = static_cast<Outcome>(load<uint8_t>(value.data()));
    answer.has_value = load<uint8_t>(value.data() + 1) != 0;
    answer.value = to_string(value.subspan(2));
    Entry& entry = sessions_[client_in(key)];
    entry.bytes += kAnswerHeader + answer.value.size();
    entry.answers.emplace_back(load<uint64_t>(key.data() + kSessionKeyBytes), std::move(answer));
    return {};
  }
  if (key.size() != kSessionKeyBytes ||
      (value.size() != kEntryBytes && value.size() != kBoundEntryBytes))
    return unreadable();
  Entry& entry = sessions_[client_in(key)];
  entry.loaded = true;
  entry.last_serial = load<uint64_t>(value.data());
  entry.last_time_ns = load<uint64_t>(value.data() + 8);
  entry.forgotten = load<uint64_t>(value.data() + 16);
  if (value.size() == kBoundEntryBytes) entry.begins_before_ns = load<uint64_t>(value.data() + 24);
  return {};
}

Result<> SessionTable::finish_loading() {
  by_age_.clear();
  held_.clear();  // those are found again when the log time moves next
  for (auto& [client, entry] : sessions_) {
    std::sort(entry.answers.begin(), entry.answers.end(),
              [](const auto& left, const auto& right) { return left.first < right.first; });
    // Answers without their session, or of serials that it has not seen.
    if (!entry.loaded) return unreadable();
    if (!entry.answers.empty() && entry.answers.back().first > entry.last_serial)
      return unreadable();
    by_age_.emplace(entry.last_time_ns, client);
  }
  count_.store(sessions_.size(), std::memory_order_relaxed);
  return {};
}

Result<> SessionTable::load_pair_of_format_1(ByteSpan key, ByteSpan value) {
  if (key.size() != kSessionKeyBytes || value.size() < kEntryBytesOfFormat1) return unreadable();
  Entry entry;
  entry.loaded = true;
  entry.last_serial = load<uint64_t>(value.data());
  entry.last_time_ns = load<uint64_t>(value.data() + 8);
  entry.forgotten = load<uint64_t>(value.data() + 16);
  uint32_t count = load<uint32_t>(value.data() + 24);
  size_t at = kEntryBytesOfFormat1;
  for (; count > 0; --count) {
    if (value.size() - at < kAnswerHeader) return unreadable();
    const auto serial = load<uint64_t>(value.data() + at);
    Answer answer;
    answer.outcome = static_cast<Outcome>(load<uint8_t>(value.data() + at + 8));
    answer.has_value = load<uint8_t>(value.data() + at + 9) != 0;
    const size_t bytes = load<uint32_t>(value.data() + at + 10);
    at += kAnswerHeader;
    if (value.size() - at < bytes) return unreadable();
    answer.value = to_string(value.subspan(at, bytes));
    at += bytes;
    entry.bytes += kAnswerHeader + bytes;
    entry.answers.emplace_back(serial, std::move(answer));
  }
  if (at != value.size()) return unreadable();
  sessions_[client_in(key)] = std::move(entry);
  return {};
}

Result<> SessionTable::write_all(kv::Session& session, kv::Serial at) {
  for (const auto& [client, entry] : sessions_) {
    TAILRACE_RETURN_IF_ERROR(write_entry(session, client, entry, at));
    for (const auto& [serial, answer] : entry.answers)
      TAILRACE_RETURN_IF_ERROR(write_answer(session, client, serial, answer, at));
  }
  return {};
}

void SessionTable::take_rules(const Rules& rules) {
  rules_ = rules;
  rules_in_log_ = true;
  // With another ttl they may not be too old.
  for (const auto& [bound, client] : std::exchange(held_, {}))
    by_age_.emplace(sessions_.at(client).last_time_ns, client);
}

std::optional<Answer> SessionTable::check(const SessionSerial& command,
                                          uint64_t log_time_ns) const {
  if (command.serial == 0) return Answer{Outcome::kSerialGap, false, {}};
  const auto it = sessions_.find(command.client);
  if (it == sessions_.end()) {
    // Without rules in the log nodes might judge a bound differently.
    const bool bound = rules_in_log_ && command.begins_before_ns != 0;
    if (command.serial == 1 && (!bound || may_begin(command.begins_before_ns, log_time_ns, rules_)))
      return std::nullopt;
    return Answer{Outcome::kSessionExpired, false, {}};
  }
  const Entry& entry = it->second;
  if (command.serial == entry.last_serial + 1) return std::nullopt;
  if (command.serial > entry.last_serial) return Answer{Outcome::kSerialGap, false, {}};
  const auto found =
      std::lower_bound(entry.answers.begin(), entry.answers.end(), command.serial,
                       [](const auto& answer, uint64_t serial) { return answer.first < serial; });
  if (found != entry.answers.end() && found->first == command.serial) return found->second;
  if (command.serial <= entry.forgotten) return Answer{Outcome::kAnswerForgotten, false, {}};
  return Answer{};
}

Result<> SessionTable::remember(kv::Session& session, const SessionSerial& command,
                                const Answer& answer, uint64_t log_time_ns, kv::Serial at) {
  Entry& entry = sessions_[command.client];
  if (by_age_.erase({entry.last_time_ns, command.client}) == 0)
    held_.erase({entry.begins_before_ns, command.client});
  if (command.serial == 1 && rules_in_log_) entry.begins_before_ns = command.begins_before_ns;
  entry.last_serial = command.serial;
  entry.last_time_ns = log_time_ns;
  by_age_.emplace(log_time_ns, command.client);
  count_.store(sessions_.size(), std::memory_order_relaxed);
  if (answer.outcome != Outcome::kDone || answer.has_value) {
    entry.bytes += kAnswerHeader + answer.value.size();
    entry.answers.emplace_back(command.serial, answer);
    while (entry.answers.size() > rules_.session_answers ||
           entry.bytes > rules_.session_answer_bytes) {
      const uint64_t oldest = entry.answers.front().first;
      entry.forgotten = oldest;
      entry.bytes -= kAnswerHeader + entry.answers.front().second.value.size();
      entry.answers.pop_front();
      // This one's own answer is not in the store yet: it may be too long to be kept at all.
      if (oldest != command.serial)
        TAILRACE_RETURN_IF_ERROR(erase(session, answer_key(command.client, oldest), at));
    }
    if (entry.forgotten != command.serial)
      TAILRACE_RETURN_IF_ERROR(write_answer(session, command.client, command.serial, answer, at));
  }
  return write_entry(session, command.client, entry, at);
}

Result<> SessionTable::write_entry(kv::Session& session, ClientId client, const Entry& entry,
                                   kv::Serial at) {
  std::string value;
  append(value, entry.last_serial);
  append(value, entry.last_time_ns);
  append(value, entry.forgotten);
  if (entry.begins_before_ns != 0) append(value, entry.begins_before_ns);
  return session.upsert(as_bytes(session_key(client)), as_bytes(value), at);
}

Result<> SessionTable::write_answer(kv::Session& session, ClientId client, uint64_t serial,
                                    const Answer& answer, kv::Serial at) {
  std::string value;
  append(value, static_cast<uint8_t>(answer.outcome));
  append(value, static_cast<uint8_t>(answer.has_value));
  value += answer.value;
  return session.upsert(as_bytes(answer_key(client, serial)), as_bytes(value), at);
}

Result<> SessionTable::log_time_moved(kv::Session& session, uint64_t from_ns, uint64_t to_ns,
                                      kv::Serial at) {
  // While a batch is applied the log time is still that of the mark before it, which may be long
  // ago (or never, in the first batch). Who has that time was used since, in this batch, so it is
  // dated anew; for a small step the expiry's slack does instead, and saves the write.
  if (to_ns - from_ns > session_slack_ns(rules_)) {
    // Not the mark's own time: that is what those have who are used after it.
    const uint64_t dated_ns = to_ns - 1;
    for (auto used = by_age_.lower_bound({from_ns, ClientId{}});
         used != by_age_.end() && used->first == from_ns; used = by_age_.erase(used)) {
      const ClientId client = used->second;
      Entry& entry = sessions_.at(client);
      entry.last_time_ns = dated_ns;
      by_age_.emplace(dated_ns, client);
      TAILRACE_RETURN_IF_ERROR(write_entry(session, client, entry, at));
    }
  }
  while (!by_age_.empty()) {
    const auto [time, client] = *by_age_.begin();
    if (!is_too_old(time, to_ns, rules_)) break;
    by_age_.erase(by_age_.begin());
    const uint64_t bound_ns = sessions_.at(client).begins_before_ns;
    if (is_held(bound_ns, to_ns))
      held_.emplace(bound_ns, client);
    else
      TAILRACE_RETURN_IF_ERROR(remove(session, client, at));
  }
  while (!held_.empty() && !is_held(held_.begin()->first, to_ns)) {
    const ClientId client = held_.begin()->second;
    held_.erase(held_.begin());
    TAILRACE_RETURN_IF_ERROR(remove(session, client, at));
  }
  return {};
}

Result<> SessionTable::remove(kv::Session& session, ClientId client, kv::Serial at) {
  for (const auto& [serial, answer] : sessions_.at(client).answers)
    TAILRACE_RETURN_IF_ERROR(erase(session, answer_key(client, serial), at));
  TAILRACE_RETURN_IF_ERROR(erase(session, session_key(client), at));
  sessions_.erase(client);
  count_.store(sessions_.size(), std::memory_order_relaxed);
  return {};
}

}  // namespace tailrace::statemachine
