#pragma once
// The hybrid log on disk (docs/formats/fasterkv.md).
//
// Segment k holds the log's bytes [k * segment_bytes, (k + 1) * segment_bytes) at the same offset
// within, and has no header of its own. A page is a multiple of 4096-byte blocks:
//
//   header_bytes(page_bytes)   u32 sums[page_bytes / 4096], the rest zero
//   ..                         the records' blocks, exactly as they are in memory
//
// sums[i] is block_sum() of the page's block i; those of the header's own blocks and of blocks that
// were not written yet are 0. A page's blocks are written once and in order. When only some of them
// are (the tail was sealed in the middle), the header is written again later: what it said before
// stays the same, so a torn header still has the sums of all blocks that were durable.
//
// What lies beyond the log's end may be left over from an earlier life of the store. It never
// passes for something new: the end says what counts.

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "kv/log/record.h"
#include "storage/crc32c.h"
#include "storage/file_system.h"

namespace tailrace::kv {

inline constexpr uint64_t kLogBlockBytes = storage::kBlockBytes;
inline constexpr uint64_t kLeastPageBytes = 32u << 10;
inline constexpr std::string_view kSegmentSuffix = ".log";

static_assert(kLogBlockBytes == 4096);

/// What a page's checksums take at its start.
constexpr uint64_t page_header_bytes(uint64_t page_bytes) {
  return align_up(page_bytes / kLogBlockBytes * sizeof(uint32_t), kLogBlockBytes);
}

/// CRC-32C of the block's address (u64) and its bytes, 1 instead of 0: a block that stands where
/// another one belongs does not pass.
inline uint32_t block_sum(LogAddress address, ByteSpan block) {
  std::byte seed[sizeof address];
  store(seed, address);
  const uint32_t sum = crc32c(block, crc32c(seed));
  return sum == 0 ? 1 : sum;
}

/// The first address as 16 hexadecimal digits, and ".log".
inline std::string segment_file_name(LogAddress first) {
  std::string name(16, '0');
  for (size_t digit = 16; digit-- > 0; first >>= 4)
    name[digit] = "0123456789abcdef"[first & 15];
  return name.append(kSegmentSuffix);
}

/// The first address that a segment's name says; nothing for other names.
inline std::optional<LogAddress> parse_segment_file_name(std::string_view name) {
  if (name.size() != 16 + kSegmentSuffix.size() || !name.ends_with(kSegmentSuffix)) {
    return std::nullopt;
  }
  LogAddress first = 0;
  for (const char digit : name.substr(0, 16)) {
    if (digit >= '0' && digit <= '9') {
      first = first << 4 | static_cast<uint64_t>(digit - '0');
    } else if (digit >= 'a' && digit <= 'f') {
      first = first << 4 | static_cast<uint64_t>(digit - 'a' + 10);
    } else {
      return std::nullopt;
    }
  }
  return first;
}

}  // namespace tailrace::kv
