#include "statemachine/session/session_records.h"

#include <utility>

#include "statemachine/types/state_value.h"

namespace tailrace::statemachine {
namespace {

constexpr size_t kSessionKeyBytes = 17, kAnswerKeyBytes = 25;
constexpr size_t kEntryBytes = 24, kEntryWithBoundBytes = 32, kEntryWithAddressBytes = 40;
constexpr size_t kEvictedBytes = 24;
constexpr size_t kEntryBytesOfFormat1 = 28, kAnswerHeaderOfFormat1 = 14;

// The second byte of an answer.
constexpr uint8_t kHasValue = 1;
constexpr uint8_t kIsWithheld = 2;  // u64: bytes of the value, which is not kept
constexpr uint8_t kHasAddress = 4;  // u64 before it: where the answer was made

template <typename T>
void append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

uint64_t number_at(ByteSpan bytes, size_t at) {
  return load<uint64_t>(bytes.data() + at);
}

tl::unexpected<Error> unreadable() {
  return make_error(ErrorCode::kCorruption,
                    "session table: a session in the checkpoint does not parse; remove the newest "
                    "checkpoint or copy the state from a peer");
}

}  // namespace

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

std::string encode_session(const ClientSession& session) {
  std::string value;
  append(value, session.last_serial);
  append(value, session.last_time_ns);
  append(value, session.forgotten);
  if (session.begins_before_ns != 0 || session.last_address != 0)
    append(value, session.begins_before_ns);
  if (session.last_address != 0) append(value, session.last_address);
  return value;
}

std::string encode_answer(const KeptAnswer& kept) {
  const Answer& answer = kept.answer;
  uint8_t flags = answer.has_value ? kHasValue : 0;
  if (answer.withheld_bytes != 0) flags |= kIsWithheld;
  if (kept.made_at != 0) flags |= kHasAddress;
  std::string value;
  append(value, static_cast<uint8_t>(answer.outcome));
  append(value, flags);
  if (kept.made_at != 0) append(value, kept.made_at);
  if (answer.withheld_bytes != 0)
    append(value, answer.withheld_bytes);
  else
    value += answer.value;
  return value;
}

std::string encode_evicted(const Evicted& evicted) {
  std::string value;
  append(value, evicted.bound_ns);
  append(value, uint64_t{evicted.unbound_ns.has_value()});
  append(value, evicted.unbound_ns.value_or(0));
  return value;
}

Result<ClientId> client_of_session(ByteSpan key) {
  if (key.size() != kSessionKeyBytes) return unreadable();
  return ClientId{number_at(key, 1), number_at(key, 9)};
}

Result<std::pair<ClientId, uint64_t>> client_and_serial_of_answer(ByteSpan key) {
  if (key.size() != kAnswerKeyBytes) return unreadable();
  return std::pair{ClientId{number_at(key, 1), number_at(key, 9)},
                   number_at(key, kSessionKeyBytes)};
}

Result<> decode_session(ByteSpan value, ClientSession& into) {
  if (value.size() != kEntryBytes && value.size() != kEntryWithBoundBytes &&
      value.size() != kEntryWithAddressBytes)
    return unreadable();
  into.last_serial = number_at(value, 0);
  into.last_time_ns = number_at(value, 8);
  into.forgotten = number_at(value, 16);
  if (value.size() >= kEntryWithBoundBytes) into.begins_before_ns = number_at(value, 24);
  if (value.size() >= kEntryWithAddressBytes) into.last_address = number_at(value, 32);
  return {};
}

Result<> decode_answer(ByteSpan value, KeptAnswer& into) {
  if (value.size() < 2) return unreadable();
  const auto flags = load<uint8_t>(value.data() + 1);
  if ((flags & ~(kHasValue | kIsWithheld | kHasAddress)) != 0) return unreadable();
  into.answer.outcome = static_cast<Outcome>(load<uint8_t>(value.data()));
  into.answer.has_value = (flags & kHasValue) != 0;
  value = value.subspan(2);
  if ((flags & kHasAddress) != 0) {
    if (value.size() < sizeof(uint64_t)) return unreadable();
    into.made_at = number_at(value, 0);
    value = value.subspan(sizeof(uint64_t));
  }
  if ((flags & kIsWithheld) == 0) {
    into.answer.value = to_string(value);
    return {};
  }
  if (value.size() != sizeof(uint64_t)) return unreadable();
  into.answer.withheld_bytes = number_at(value, 0);
  return {};
}

Result<Evicted> decode_evicted(ByteSpan value) {
  if (value.size() != kEvictedBytes || number_at(value, 8) > 1) return unreadable();
  Evicted evicted;
  evicted.bound_ns = number_at(value, 0);
  if (number_at(value, 8) == 1) evicted.unbound_ns = number_at(value, 16);
  return evicted;
}

Result<SessionOfFormat1> decode_session_of_format_1(ByteSpan value) {
  if (value.size() < kEntryBytesOfFormat1) return unreadable();
  SessionOfFormat1 found;
  TAILRACE_RETURN_IF_ERROR(decode_session(value.first(kEntryBytes), found.session));
  size_t at = kEntryBytesOfFormat1;
  for (auto count = load<uint32_t>(value.data() + kEntryBytes); count > 0; --count) {
    if (value.size() - at < kAnswerHeaderOfFormat1) return unreadable();
    KeptAnswer& kept = found.answers.emplace_back();
    kept.serial = number_at(value, at);
    kept.answer.outcome = static_cast<Outcome>(load<uint8_t>(value.data() + at + 8));
    kept.answer.has_value = load<uint8_t>(value.data() + at + 9) != 0;
    const size_t bytes = load<uint32_t>(value.data() + at + 10);
    at += kAnswerHeaderOfFormat1;
    if (value.size() - at < bytes) return unreadable();
    kept.answer.value = to_string(value.subspan(at, bytes));
    at += bytes;
  }
  if (at != value.size()) return unreadable();
  return found;
}

}  // namespace tailrace::statemachine
