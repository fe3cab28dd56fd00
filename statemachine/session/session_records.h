#pragma once
// How sessions stand in the store (docs/formats/command.md): a session under 's' and its client's
// id, each of its answers under 'a', the id and the serial; and what is left of sessions that were
// evicted, in one pair of the machine's own.

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "statemachine/session/kept_answers.h"
#include "statemachine/session/session_slab.h"

namespace tailrace::statemachine {

/// What the state remembers of all sessions that were evicted (rules.h).
struct Evicted {
  uint64_t bound_ns = 0;  // the greatest
  /// When the last command was applied of one that had no bound, if there was any.
  std::optional<uint64_t> unbound_ns;
  bool operator==(const Evicted&) const = default;
};
inline constexpr std::string_view kEvictedKey = "mevicted";

std::string session_key(ClientId client);
std::string answer_key(ClientId client, uint64_t serial);
std::string encode_session(const ClientSession& session);
std::string encode_answer(const KeptAnswer& answer);
std::string encode_evicted(const Evicted& evicted);

/// kCorruption for what the others would not have written. The key's first byte was looked at.
Result<ClientId> client_of_session(ByteSpan key);
Result<std::pair<ClientId, uint64_t>> client_and_serial_of_answer(ByteSpan key);
/// Into all fields but the client and the answers.
Result<> decode_session(ByteSpan value, ClientSession& into);
/// Into `made_at` and `answer`.
Result<> decode_answer(ByteSpan value, KeptAnswer& into);
Result<Evicted> decode_evicted(ByteSpan value);

/// Format 1: the answers of a session followed its entry.
struct SessionOfFormat1 {
  ClientSession session;
  std::vector<KeptAnswer> answers;
};
Result<SessionOfFormat1> decode_session_of_format_1(ByteSpan value);

}  // namespace tailrace::statemachine
