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
//
// That takes a new file and new blocks, which a full disk has not. A file that must be replaced
// there too keeps a second one, PATH.reserve, whose blocks it has already. The order, and what a
// crash leaves:
//
//   1. sync the directory, unless the reserve begins with four zeros
//   2. overwrite the reserve, cut it to the new length, fdatasync    PATH is the old file
//   3. exchange the names PATH and PATH.reserve                      the old file or the new one
//   4. sync the directory                                            from here on the new one
//   5. write four zeros to the reserve, which is the old file now, and make it a block longer than
//      the new one: both may fail, or get lost
//
// The zeros say that step 4 is over. Without them the names on the device may still be as before
// step 3, and the reserve's blocks those of PATH there: step 1 ends that before they change.
//
// So a content of the same number of blocks always finds room, and, once, one that has a block
// more. Where there is no reserve yet (a directory of an older version, a disk that was full then)
// the file is replaced as above, and gets one as soon as there is room. A file system that cannot
// exchange names gives PATH the reserve by a rename, and makes another one of the blocks that come
// free by that: another program may be quicker. One that writes elsewhere what it overwrites (ZFS,
// a snapshot of btrfs) can reserve nothing.

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

/// PATH.reserve: what it holds is of no account.
Path reserve_of(const Path& path);

/// As replace_atomic_file, with room that is kept for it: a full disk is not an error while the
/// content takes no more blocks than before. kResourceExhausted: there was no reserve, and nothing
/// was changed. One thread at a time for one path.
Result<> replace_reserved_file(FileSystem& file_system, const Path& path, AtomicFileFormat format,
                               ByteSpan content);

/// Keeps room for such a content beside `path`, which need not be there yet. False: the disk has
/// none now. A reserve that is there stays.
Result<bool> reserve_atomic_file(FileSystem& file_system, const Path& path, size_t content_bytes);

/// Removes both; neither need be there. Durable when it returns.
Result<> remove_reserved_file(FileSystem& file_system, const Path& path);

/// kNotFound when absent, kCorruption (naming file and offset) when it does not check,
/// kUnsupported when its version is newer than `format.version`.
Result<AtomicFileContent> read_atomic_file(FileSystem& file_system, const Path& path,
                                           AtomicFileFormat format);

}  // namespace tailrace::storage
