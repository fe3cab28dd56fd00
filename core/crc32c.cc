#include "core/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace tailrace {

uint32_t crc32c(ByteSpan bytes, uint32_t crc) {
  // ISA-L takes an int length and works on the inverted value.
  constexpr size_t kMostBytesACall = size_t{1} << 30;
  uint32_t state = ~crc;
  while (!bytes.empty()) {
    const size_t length = std::min(bytes.size(), kMostBytesACall);
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
    state = crc32_iscsi(data, static_cast<int>(length), state);
    bytes = bytes.subspan(length);
  }
  return ~state;
}

}  // namespace tailrace
