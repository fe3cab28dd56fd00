#pragma once
// Small files that are replaced whole: a reader finds the old content or the new, never a mixture.
//
// On disk: 32 bytes of header, then the content.
//   0  u32  magic       "TRAF"
//   4  u32  crc32c      of bytes 8..32 and of the content
//   8  u32  kind        whose file it is (four letters chosen by the owner)
//  12  u32  version     of the content's format, chosen by the owner
//  16  u64  content_bytes
//  24  u64  reserved    zero
//
// Replacing: write PATH.tmp, fdatasync, rename over PATH, sync the directory. A crash before the
// rename leaves the old file (and a PATH.tmp that the next replacement overwrites); after it, the
// new one.

#include <cstdint>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::storage {

struct AtomicFileFormat {
  uint32_t kind;     // four_letters("META")
  uint32_t version;  // of what is written; a greater one on disk is refused as kUnsupported
};

constexpr uint32_t four_letters(const char (&text)[5]) {
  return static_cast<uint32_t>(static_cast<unsigned char>(text[0])) |
         static_cast<uint32_t>(static_cast<unsigned char>(text[1])) << 8 |
         static_cast<uint32_t>(static_cast<unsigned char>(text[2])) << 16 |
         static_cast<uint32_t>(static_cast<unsigned char>(text[3])) << 24;
}

struct AtomicFileContent {
  uint32_t version = 0;
  std::vector<std::byte> bytes;
};

/// Durable when it returns. After an error the file holds the old or the new content.
Result<> replace_atomic_file(FileSystem& file_system, const Path& path, AtomicFileFormat format,
                             ByteSpan content);

/// kNotFound when absent, kCorruption (naming file and offset) when it does not check,
/// kUnsupported when its version is newer than `format.version`.
Result<AtomicFileContent> read_atomic_file(FileSystem& file_system, const Path& path,
                                           AtomicFileFormat format);

}  // namespace tailrace::storage
