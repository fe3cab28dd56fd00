#include "statemachine/digest.h"

#include <algorithm>

#include <xxhash.h>

#include "statemachine/types/state_value.h"

namespace tailrace::statemachine {

void PairSum::add(ByteSpan key, ByteSpan value) {
  if (!key.empty() && as_text(key).front() == kUserKey) {
    const auto stored = decode_state_value(value);
    if (stored && stored->is_expired(log_time_ns_)) return;
  }
  // Length-prefixed, so that no two different pairs give the same bytes.
  pair_.resize(8 + key.size() + value.size());
  tailrace::store(pair_.data(), static_cast<uint32_t>(key.size()));
  std::copy(key.begin(), key.end(), pair_.begin() + 4);
  tailrace::store(pair_.data() + 4 + key.size(), static_cast<uint32_t>(value.size()));
  std::copy(value.begin(), value.end(), pair_.begin() + 8 + static_cast<ptrdiff_t>(key.size()));
  const XXH128_hash_t hash = XXH3_128bits(pair_.data(), pair_.size());
  high_ += hash.high64;
  low_ += hash.low64;
  ++pairs_;
}

Result<StateDigest> digest_of(kv::Store& store, Address address, uint64_t log_time_ns) {
  PairSum sum(log_time_ns);
  auto visited = store.for_each([&](ByteSpan key, ByteSpan value) { sum.add(key, value); });
  if (!visited) return tl::unexpected(with_context("state digest", visited.error()));
  return sum.digest(address);
}

Result<std::pair<uint64_t, uint64_t>> digest_of(fasterlog::Log& log, AddressRange range,
                                                const std::function<bool()>& go_on) {
  if (range.end < range.first)
    return make_error(ErrorCode::kInvalidArgument, "log digest: the range ends before it begins");
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                 XXH3_freeState);
  XXH3_128bits_reset(state.get());
  std::vector<std::byte> bytes;
  for (Address at = range.first; at < range.end;) {
    if (!go_on()) return make_error(ErrorCode::kCancelled, "log digest: nobody waits for it");
    TAILRACE_RETURN_IF_ERROR(log.read_raw(at, 4u << 20, bytes));
    if (bytes.empty())
      return make_error(ErrorCode::kOutOfRange,
                        "log digest: address " + std::to_string(at.value) + " is not durable yet");
    const size_t take = std::min<uint64_t>(bytes.size(), range.end - at);
    XXH3_128bits_update(state.get(), bytes.data(), take);
    at = at + take;
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return std::pair{hash.high64, hash.low64};
}

}  // namespace tailrace::statemachine
