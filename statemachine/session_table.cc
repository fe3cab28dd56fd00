#include "statemachine/session_table.h"

#include <algorithm>

namespace tailrace::statemachine {
namespace {

constexpr size_t kAnswerHeader = 14;

template <typename T>
void append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

std::string SessionTable::key_of(ClientId client) {
  std::string key = "s";
  append(key, client.high);
  append(key, client.low);
  return key;
}

std::string SessionTable::encode_entry(const Entry& entry) {
  std::string out;
  out.reserve(28 + entry.bytes);
  append(out, entry.last_serial);
  append(out, entry.last_time_ns);
  append(out, entry.forgotten);
  append(out, static_cast<uint32_t>(entry.answers.size()));
  for (const auto& [serial, answer] : entry.answers) {
    append(out, serial);
    append(out, static_cast<uint8_t>(answer.outcome));
    append(out, static_cast<uint8_t>(answer.has_value));
    append(out, static_cast<uint32_t>(answer.value.size()));
    out += answer.value;
  }
  return out;
}

Result<> SessionTable::load_pair(ByteSpan key, ByteSpan value) {
  const auto bad = [] {
    return make_error(ErrorCode::kCorruption,
                      "session table: a session in the checkpoint does not parse; remove the "
                      "newest checkpoint or copy the state from a peer");
  };
  if (key.size() != 17 || value.size() < 28) return bad();
  const ClientId client{load<uint64_t>(key.data() + 1), load<uint64_t>(key.data() + 9)};
  Entry entry;
  entry.last_serial = load<uint64_t>(value.data());
  entry.last_time_ns = load<uint64_t>(value.data() + 8);
  entry.forgotten = load<uint64_t>(value.data() + 16);
  uint32_t count = load<uint32_t>(value.data() + 24);
  size_t at = 28;
  for (; count > 0; --count) {
    if (value.size() - at < kAnswerHeader) return bad();
    const auto serial = load<uint64_t>(value.data() + at);
    Answer answer;
    answer.outcome = static_cast<Outcome>(load<uint8_t>(value.data() + at + 8));
    answer.has_value = load<uint8_t>(value.data() + at + 9) != 0;
    const size_t bytes = load<uint32_t>(value.data() + at + 10);
    at += kAnswerHeader;
    if (value.size() - at < bytes) return bad();
    answer.value = to_string(value.subspan(at, bytes));
    at += bytes;
    entry.bytes += kAnswerHeader + bytes;
    entry.answers.emplace_back(serial, std::move(answer));
  }
  if (at != value.size()) return bad();
  by_age_.emplace(entry.last_time_ns, client);
  sessions_[client] = std::move(entry);
  count_.store(sessions_.size(), std::memory_order_relaxed);
  return {};
}

std::optional<Answer> SessionTable::check(const SessionSerial& command) const {
  if (command.serial == 0) return Answer{Outcome::kSerialGap, false, {}};
  const auto it = sessions_.find(command.client);
  if (it == sessions_.end()) {
    if (command.serial == 1) return std::nullopt;
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
  by_age_.erase({entry.last_time_ns, command.client});
  entry.last_serial = command.serial;
  entry.last_time_ns = log_time_ns;
  by_age_.emplace(log_time_ns, command.client);
  if (answer.outcome != Outcome::kDone || answer.has_value) {
    entry.bytes += kAnswerHeader + answer.value.size();
    entry.answers.emplace_back(command.serial, answer);
    while (entry.answers.size() > answers_ || entry.bytes > kMostAnswerBytes) {
      entry.forgotten = entry.answers.front().first;
      entry.bytes -= kAnswerHeader + entry.answers.front().second.value.size();
      entry.answers.pop_front();
    }
  }
  count_.store(sessions_.size(), std::memory_order_relaxed);
  return write(session, command.client, entry, at);
}

Result<> SessionTable::write(kv::Session& session, ClientId client, const Entry& entry,
                             kv::Serial at) {
  return session.upsert(as_bytes(key_of(client)), as_bytes(encode_entry(entry)), at);
}

Result<> SessionTable::log_time_moved(kv::Session& session, uint64_t from_ns, uint64_t to_ns,
                                      kv::Serial at) {
  // While a batch is applied the log time is still that of the mark before it, which may be long
  // ago (or never, in the first batch). Who has that time was used since, in this batch, so it is
  // dated anew; for a small step the expiry's slack does instead, and saves the write.
  const uint64_t slack_ns = ttl_ns_ / 16;
  if (to_ns - from_ns > slack_ns) {
    // Not the mark's own time: that is what those have who are used after it.
    const uint64_t dated_ns = to_ns - 1;
    for (auto used = by_age_.lower_bound({from_ns, ClientId{}});
         used != by_age_.end() && used->first == from_ns; used = by_age_.erase(used)) {
      const ClientId client = used->second;
      Entry& entry = sessions_.at(client);
      entry.last_time_ns = dated_ns;
      by_age_.emplace(dated_ns, client);
      TAILRACE_RETURN_IF_ERROR(write(session, client, entry, at));
    }
  }
  while (!by_age_.empty()) {
    const auto [time, client] = *by_age_.begin();
    if (to_ns - time <= ttl_ns_ + slack_ns) break;
    if (auto erased = session.erase(as_bytes(key_of(client)), at); !erased)
      return tl::unexpected(erased.error());
    by_age_.erase(by_age_.begin());
    sessions_.erase(client);
    count_.store(sessions_.size(), std::memory_order_relaxed);
  }
  return {};
}

}  // namespace tailrace::statemachine
