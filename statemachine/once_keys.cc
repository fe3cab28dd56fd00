#include "statemachine/once_keys.h"

#include <utility>

#include "statemachine/session/session_records.h"
#include "statemachine/types/state_value.h"

namespace tailrace::statemachine {
namespace {

constexpr size_t kOnceKeyBytes = 17;
// A new key removes more than one, so none stay behind.
constexpr size_t kRemovedByNew = 2;

std::string once_key(uint64_t high, uint64_t low) {
  std::string key(kOnceKeyBytes, kOnceKey);
  store(reinterpret_cast<std::byte*>(key.data()) + 1, high);
  store(reinterpret_cast<std::byte*>(key.data()) + 9, low);
  return key;
}

tl::unexpected<Error> unreadable_once() {
  return make_error(ErrorCode::kCorruption,
                    "a once key in the checkpoint does not parse; remove the newest checkpoint or "
                    "copy the state from a peer");
}

struct Remembered {
  uint64_t until_ns = 0;
  Answer answer;
};

Result<Remembered> decode_remembered(ByteSpan value) {
  if (value.size() < sizeof(uint64_t)) return unreadable_once();
  KeptAnswer kept;
  TAILRACE_RETURN_IF_ERROR(decode_answer(value.subspan(sizeof(uint64_t)), kept));
  return Remembered{load<uint64_t>(value.data()), std::move(kept.answer)};
}

std::string encode_remembered(uint64_t until_ns, const Answer& answer) {
  KeptAnswer kept;
  kept.answer = answer;
  if (answer.value.size() > OnceKeys::kMostKeptBytes)
    kept.answer.withheld_bytes = std::exchange(kept.answer.value, {}).size();
  return std::string(reinterpret_cast<const char*>(&until_ns), sizeof until_ns) +
         encode_answer(kept);
}

}  // namespace

Result<> OnceKeys::load_pair(ByteSpan key, ByteSpan value) {
  if (key.size() != kOnceKeyBytes) return unreadable_once();
  TAILRACE_ASSIGN_OR_RETURN(const Remembered remembered, decode_remembered(value));
  ends_.emplace(remembered.until_ns, load<uint64_t>(key.data() + 1),
                load<uint64_t>(key.data() + 9));
  return {};
}

Result<std::optional<Answer>> OnceKeys::find(kv::Session& session, const OnceKey& key,
                                             uint64_t log_time_ns, kv::Serial at) {
  auto read = session.read(as_bytes(once_key(key.high, key.low)), value_);
  if (!read && read.error().code == ErrorCode::kNotFound) return std::nullopt;
  TAILRACE_RETURN_IF_ERROR(read);
  TAILRACE_ASSIGN_OR_RETURN(Remembered remembered, decode_remembered(as_bytes(value_)));
  if (remembered.until_ns > log_time_ns) return std::optional(std::move(remembered.answer));
  TAILRACE_RETURN_IF_ERROR(remove(session, {remembered.until_ns, key.high, key.low}, at));
  return std::nullopt;
}

Result<> OnceKeys::remember(kv::Session& session, const OnceKey& key, const Answer& answer,
                            uint64_t log_time_ns, kv::Serial at) {
  TAILRACE_RETURN_IF_ERROR(remove_ended(session, log_time_ns, kRemovedByNew, at));
  ends_.emplace(key.until_ns, key.high, key.low);
  return session.upsert(as_bytes(once_key(key.high, key.low)),
                        as_bytes(encode_remembered(key.until_ns, answer)), at);
}

Result<> OnceKeys::log_time_moved(kv::Session& session, uint64_t log_time_ns, kv::Serial at) {
  return remove_ended(session, log_time_ns, kMostRemoved, at);
}

Result<> OnceKeys::remove_ended(kv::Session& session, uint64_t log_time_ns, size_t most,
                                kv::Serial at) {
  for (; most > 0 && !ends_.empty() && std::get<0>(*ends_.begin()) <= log_time_ns; --most) {
    const End first = *ends_.begin();
    TAILRACE_RETURN_IF_ERROR(remove(session, first, at));
  }
  return {};
}

Result<> OnceKeys::remove(kv::Session& session, const End& end, kv::Serial at) {
  TAILRACE_RETURN_IF_ERROR(
      session.erase(as_bytes(once_key(std::get<1>(end), std::get<2>(end))), at));
  ends_.erase(end);
  return {};
}

}  // namespace tailrace::statemachine
