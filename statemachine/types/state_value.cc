#include "statemachine/types/state_value.h"

namespace tailrace::statemachine {

namespace {

constexpr std::byte kPlain{0}, kTimed{1};

}  // namespace

void encode_state_value(ByteSpan value, ExpiryTime expires_at_ns, std::string& into) {
  into.clear();
  into.reserve(kMostStateValueOverhead + value.size());
  into.push_back(static_cast<char>(expires_at_ns == 0 ? kPlain : kTimed));
  if (expires_at_ns != 0)
    into.append(reinterpret_cast<const char*>(&expires_at_ns), sizeof expires_at_ns);
  into.append(as_text(value));
}

std::optional<StateValue> decode_state_value(ByteSpan stored) {
  if (stored.empty()) return std::nullopt;
  if (stored[0] == kPlain) return StateValue{stored.subspan(1), 0};
  if (stored[0] != kTimed || stored.size() < kMostStateValueOverhead) return std::nullopt;
  const auto expires_at_ns = load<uint64_t>(stored.data() + 1);
  return StateValue{stored.subspan(kMostStateValueOverhead), expires_at_ns};
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
