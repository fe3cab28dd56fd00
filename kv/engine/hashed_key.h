#pragma once
// The hash of a key, inlined for the keys that are numbers.

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "kv/engine/engine.h"

namespace tailrace::kv {

/// The same as HashedKey(text), in a third of the instructions where the key has 8 bytes.
[[gnu::always_inline]] inline HashedKey hashed(ByteSpan text) {
  if (text.size() == 8) [[likely]]
    return {text, XXH3_64bits(text.data(), 8)};
  return HashedKey(text);
}

}  // namespace tailrace::kv
