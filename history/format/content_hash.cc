#include "history/format/content_hash.h"

#include <xxhash.h>

namespace tailrace::history {

void ContentHash::Free::operator()(XXH3_state_s* state) const {
  XXH3_freeState(state);
}

ContentHash::ContentHash() : state_(XXH3_createState()) {
  XXH3_128bits_reset(state_.get());
}

ContentHash::~ContentHash() = default;

void ContentHash::add(ByteSpan block) {
  XXH3_128bits_update(state_.get(), block.data(), block.size());
}

ContentDigest ContentHash::digest(const Rest& rest) {
  const uint64_t numbers[] = {rest.range.first.value, rest.range.end.value, rest.epoch.value,
                              rest.revision,          rest.entries,         rest.floors};
  XXH3_128bits_update(state_.get(), numbers, sizeof numbers);
  const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
  return {hash.high64, hash.low64};
}

}  // namespace tailrace::history
