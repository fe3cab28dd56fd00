#pragma once

#include <cstdint>

#include "core/bytes.h"

namespace tailrace {

/// CRC32C (Castagnoli, as in iSCSI, RFC 3720) of `bytes`, continuing from `crc` (0 at the start):
/// crc32c(b, crc32c(a)) equals crc32c(a followed by b).
uint32_t crc32c(ByteSpan bytes, uint32_t crc = 0);

}  // namespace tailrace
