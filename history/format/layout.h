#pragma once
// The fixed parts of an event file. docs/formats/event-file.md has the tables. Internal.
//
//   FileHead | blocks of entries | leaves of the index | blocks of floors | directory of blocks
//   | directory of leaves | FileFoot
//
// one behind the other, without a gap: so each byte is under a checksum.

#include <cstdint>
#include <type_traits>

#include "history/format/event_entry.h"
#include "storage/atomic_file.h"

namespace tailrace::history {

inline constexpr uint32_t kHeadMagic = storage::four_letters("TREV");
inline constexpr uint32_t kFootMagic = storage::four_letters("TREF");
inline constexpr uint32_t kEventFileVersion = 1;

struct FileHead {
  uint32_t magic;
  uint32_t crc;  // crc32c of the bytes from 8 on
  uint32_t version;
  uint32_t revision;
  uint64_t from;
  uint64_t cluster_high, cluster_low;  // zeros: not known when the file was written
};
static_assert(sizeof(FileHead) == 40 && std::is_trivially_copyable_v<FileHead>);

/// What is about entries is zero if there are none.
struct FileFoot {
  uint32_t magic;
  uint32_t crc;  // crc32c of the bytes from 8 on, then of the head
  uint32_t version;
  uint32_t revision;
  uint64_t from, to;
  uint64_t epoch;  // of the last record before `to`
  uint64_t first_position, last_position;
  uint64_t least_time_ns, greatest_time_ns;
  uint64_t entry_bytes;  // of all blocks of entries, not compressed
  uint64_t leaves_at, floors_at, blocks_directory_at, leaves_directory_at;
  uint64_t digest_high, digest_low;
  uint32_t entries, blocks, leaves, floors;
};
static_assert(sizeof(FileFoot) == 144 && std::is_trivially_copyable_v<FileFoot>);

/// Begins each block, leaf and directory; the bytes as they are stored follow.
struct BlockHead {
  uint32_t crc;  // crc32c of the bytes from 4 on, and of what is stored
  uint32_t stored_bytes;
  uint32_t raw_bytes;  // not compressed; not below stored_bytes
  uint8_t kind;        // BlockKind
  uint8_t codec;       // Compression
  uint16_t reserved;   // zero
};
static_assert(sizeof(BlockHead) == 16 && std::is_trivially_copyable_v<BlockHead>);

/// One in the directory of blocks; blocks stand in its order, the first behind the file's head.
struct BlockRow {
  uint64_t first_position;
  uint32_t entries;
  uint32_t stored_bytes;  // without its head
  uint32_t raw_bytes;
  uint32_t reserved;  // zero
};
static_assert(sizeof(BlockRow) == 24 && std::is_trivially_copyable_v<BlockRow>);

enum class BlockKind : uint8_t {
  kEntries = 1,
  kLeaf = 2,
  kBlockRows = 3,
  kLeafRows = 4,
  kFloors = 5
};

// Not compressed. Blocks and leaves end before what would make them longer, unless that is all
// they have: the digest rests on it.
inline constexpr size_t kBlockOfEntriesBytes = 64u << 10;
inline constexpr size_t kLeafBytes = 16u << 10;
inline constexpr size_t kBlockOfFloorsBytes = 64u << 10;
static_assert(kBlockOfFloorsBytes > kMostNameBytes + 32);
/// An item of the index has so many entries at most; a name with more has several.
inline constexpr size_t kMostPostings = 4096;

// What a reader accepts, whoever wrote the file: nothing longer is made room for.
/// An entry is no longer than its record, which is no longer than a page, and then as much as its
/// stream's name, type and tags.
inline constexpr size_t kMostEntryBytes = (64u << 20) + (1u << 20);
/// An item with the longest name and kMostPostings, each of two numbers.
inline constexpr size_t kMostLeafBytes = kMostNameBytes + 32 + kMostPostings * 15;
static_assert(kMostLeafBytes > kLeafBytes);
inline constexpr size_t kMostDirectoryBytes = 16u << 20;

// A file is full with more of either; then the next range begins.
inline constexpr uint32_t kMostEntries = 1u << 26;
/// What a writer keeps of the index and of floors in memory, about.
inline constexpr uint64_t kMostIndexBytes = 128u << 20;

}  // namespace tailrace::history
