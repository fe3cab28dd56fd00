#include "statemachine/types/state_value.h"

#include <array>
#include <cstring>
#include <utility>

namespace tailrace::statemachine {

namespace {

constexpr uint8_t kTimeGiven = 1, kPositionGiven = 2;

}  // namespace

void encode_state_value(const StateValue& value, std::string& into) {
  std::array<char, kMostStateValueOverhead> head;
  size_t bytes = 1;
  uint8_t flags = 0;
  for (const auto& [number, flag] :
       {std::pair{value.expires_at_ns, kTimeGiven}, std::pair{value.modified_at, kPositionGiven}}) {
    if (number == 0) continue;
    flags |= flag;
    std::memcpy(head.data() + bytes, &number, sizeof number);
    bytes += sizeof number;
  }
  head[0] = static_cast<char>(flags);
  into.clear();
  into.reserve(bytes + value.value.size());
  into.append(head.data(), bytes);
  into.append(as_text(value.value));
}

std::optional<StateValue> decode_state_value(ByteSpan stored) {
  if (stored.empty()) return std::nullopt;
  const auto flags = std::to_integer<uint8_t>(stored[0]);
  if ((flags & ~(kTimeGiven | kPositionGiven)) != 0) return std::nullopt;
  const size_t numbers = (flags & kTimeGiven) + ((flags & kPositionGiven) >> 1);
  ByteSpan rest = stored.subspan(1);
  if (rest.size() < numbers * sizeof(uint64_t)) return std::nullopt;
  StateValue value;
  for (const auto& [number, flag] : {std::pair{&value.expires_at_ns, kTimeGiven},
                                     std::pair{&value.modified_at, kPositionGiven}}) {
    if ((flags & flag) == 0) continue;
    *number = load<uint64_t>(rest.data());
    rest = rest.subspan(sizeof(uint64_t));
  }
  value.value = rest;
  return value;
}

bool ExpiryHorizon::is_garbage(ByteSpan key, ByteSpan stored) const {
  const uint64_t horizon_ns = log_time_ns();
  if (horizon_ns == 0 || key.empty() || as_text(key).front() != kUserKey) return false;
  const auto value = decode_state_value(stored);
  return value && value->is_expired(horizon_ns);
}

void ExpiryHorizon::advance(uint64_t log_time_ns) {
  uint64_t seen = log_time_ns_.load(std::memory_order_relaxed);
  while (seen < log_time_ns &&
         !log_time_ns_.compare_exchange_weak(seen, log_time_ns, std::memory_order_release)) {
  }
}

}  // namespace tailrace::statemachine
