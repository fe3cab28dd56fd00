#include "history/format/parts.h"

#include "history/format/block.h"
#include "storage/crc32c.h"

namespace tailrace::history {

namespace {

constexpr size_t kHeadCheckedFrom = offsetof(FileHead, version);
constexpr size_t kFootCheckedFrom = offsetof(FileFoot, version);
constexpr std::string_view kHeadTitle = "the head", kFootTitle = "the foot";

tl::unexpected<Error> newer(const storage::File& file, uint32_t version) {
  return make_error(ErrorCode::kUnsupported, file.path().string() + ": the file has format " +
                                                 std::to_string(version) + ", this node knows " +
                                                 std::to_string(kEventFileVersion) +
                                                 "; upgrade this node");
}

/// One structure, whole.
template <typename Part>
Result<Part> read_part(storage::File& file, uint64_t at, std::string_view title) {
  std::byte bytes[sizeof(Part)];
  TAILRACE_ASSIGN_OR_RETURN(const size_t got, file.read_at(at, bytes));
  if (got != sizeof bytes) return damaged_part(file, title, at, "the file ends within it");
  return load<Part>(bytes);
}

Result<> check_sums(storage::File& file, const FileParts& parts) {
  const auto& [head, foot, foot_at, blocks] = parts;
  if (head.magic != kHeadMagic)
    return damaged_part(file, kHeadTitle, 0, "this is not an event file");
  const ByteSpan head_bytes = std::as_bytes(std::span(&head, 1));
  const uint32_t head_crc = crc32c(head_bytes.subspan(kHeadCheckedFrom));
  if (head_crc != head.crc) return damaged_part(file, kHeadTitle, 0, "its checksum is wrong");
  if (head.version > kEventFileVersion) return newer(file, head.version);
  if (foot.magic != kFootMagic)
    return damaged_part(file, kFootTitle, foot_at,
                        "the file does not end as an event file; it is not whole");
  const ByteSpan foot_bytes = std::as_bytes(std::span(&foot, 1));
  if (crc32c(head_bytes, crc32c(foot_bytes.subspan(kFootCheckedFrom))) != foot.crc)
    return damaged_part(file, kFootTitle, foot_at, "its checksum is wrong");
  if (head.version != kEventFileVersion)
    return damaged_part(file, kHeadTitle, 0, "there is no format " + std::to_string(head.version));
  return {};
}

/// Why head and foot cannot be of one file; empty: they can.
std::string_view contradiction(const FileHead& head, const FileFoot& foot, uint64_t foot_at) {
  if (foot.version != head.version || foot.revision != head.revision || foot.from != head.from)
    return "it is of another head";
  if (foot.from >= foot.to) return "its range is empty";
  if (foot.leaves_at < sizeof(FileHead) || foot.floors_at < foot.leaves_at ||
      foot.blocks_directory_at < foot.floors_at ||
      foot.leaves_directory_at < foot.blocks_directory_at + sizeof(BlockHead) ||
      foot_at < foot.leaves_directory_at + sizeof(BlockHead))
    return "its parts do not lie one behind the other";
  if (foot_at > uint64_t{1} << 60) return "the file is too long";
  if (foot.leaves_directory_at - foot.blocks_directory_at > kMostDirectoryBytes ||
      foot_at - foot.leaves_directory_at > kMostDirectoryBytes)
    return "a directory is too long";
  if (foot.entries > kMostEntries || (foot.entries == 0) != (foot.blocks == 0) ||
      (foot.entries == 0) != (foot.leaves == 0) || foot.floors > kMostEntries ||
      (foot.floors == 0) != (foot.floors_at == foot.blocks_directory_at))
    return "its numbers contradict each other";
  if (foot.entries == 0) {
    if ((foot.first_position | foot.last_position | foot.least_time_ns | foot.greatest_time_ns |
         foot.entry_bytes) != 0)
      return "it tells of events and has none";
    return {};
  }
  if (foot.first_position < foot.from || foot.last_position < foot.first_position ||
      foot.last_position >= foot.to || foot.greatest_time_ns < foot.least_time_ns)
    return "its positions or its times are out of order";
  return {};
}

/// Why a row cannot stand behind `blocks`; empty: it can.
std::string_view refusal(const BlockRow& row, const FileFoot& foot, uint64_t at,
                         const std::vector<BlockPlace>& blocks) {
  if (row.entries == 0) return "a block without events";
  if (row.raw_bytes > (row.entries == 1 ? kMostEntryBytes : kBlockOfEntriesBytes))
    return "a block that is too long";
  if (row.stored_bytes > row.raw_bytes) return "a block that is longer compressed";
  if (row.reserved != 0) return "bytes that are to be zero";
  if (sizeof(BlockHead) + row.stored_bytes > foot.leaves_at - at) return "blocks beyond their end";
  const bool ascends = blocks.empty() ? row.first_position == foot.first_position
                                      : row.first_position > blocks.back().first_position.value;
  if (!ascends || row.first_position > foot.last_position) return "positions out of order";
  return {};
}

Result<> read_directory(storage::File& file, FileParts& parts) {
  const FileFoot& foot = parts.foot;
  constexpr BlockKind kKind = BlockKind::kBlockRows;
  const uint64_t directory_at = foot.blocks_directory_at;
  const auto damaged = [&](std::string_view why) {
    return damaged_part(file, title_of(kKind), directory_at, why);
  };
  TAILRACE_ASSIGN_OR_RETURN(
      const auto raw,
      read_block(file, kKind, directory_at,
                 foot.leaves_directory_at - directory_at - sizeof(BlockHead), kMostDirectoryBytes));
  if (raw.size() != uint64_t{foot.blocks} * sizeof(BlockRow)) return damaged("its length");
  parts.blocks.reserve(foot.blocks);
  uint64_t at = sizeof(FileHead), entries = 0, raw_bytes = 0;
  for (size_t from = 0; from < raw.size(); from += sizeof(BlockRow)) {
    const auto row = load<BlockRow>(raw.data() + from);
    if (const auto why = refusal(row, foot, at, parts.blocks); !why.empty()) return damaged(why);
    parts.blocks.push_back({Address{row.first_position}, at, static_cast<uint32_t>(entries),
                            row.entries, row.stored_bytes, row.raw_bytes});
    at += sizeof(BlockHead) + row.stored_bytes;
    entries += row.entries;
    raw_bytes += row.raw_bytes;
    if (entries > foot.entries) return damaged("more events than the foot says");
  }
  if (at != foot.leaves_at || entries != foot.entries || raw_bytes != foot.entry_bytes)
    return damaged("its blocks are not those that the foot tells of");
  return {};
}

}  // namespace

std::string_view title_of(BlockKind kind) {
  switch (kind) {
    case BlockKind::kEntries:
      return "the block of events";
    case BlockKind::kLeaf:
      return "the leaf of the index";
    case BlockKind::kBlockRows:
      return "the directory of blocks";
    case BlockKind::kLeafRows:
      return "the directory of leaves";
    case BlockKind::kFloors:
      return "the block of floors";
  }
  return "a block";
}

tl::unexpected<Error> damaged_part(const storage::File& file, std::string_view what, uint64_t at,
                                   std::string_view why) {
  return make_error(ErrorCode::kCorruption,
                    file.path().string() + ": " + std::string(what) + " at byte " +
                        std::to_string(at) + ": " + std::string(why) +
                        "; drop the file, and fetch it again from another member");
}

tl::unexpected<Error> damaged_part(const storage::File& file, std::string_view what, uint64_t at,
                                   const Error& error) {
  if (error.code == ErrorCode::kCorruption) return damaged_part(file, what, at, error.message);
  return tl::unexpected(with_context(
      file.path().string() + ": " + std::string(what) + " at byte " + std::to_string(at), error));
}

Result<std::vector<std::byte>> read_block(storage::File& file, BlockKind kind, uint64_t at,
                                          uint64_t stored_bytes, size_t most_bytes) {
  std::vector<std::byte> stored(sizeof(BlockHead) + stored_bytes);
  TAILRACE_ASSIGN_OR_RETURN(const size_t got, file.read_at(at, stored));
  if (got != stored.size())
    return damaged_part(file, title_of(kind), at, "the file ends within it");
  std::vector<std::byte> raw;
  if (const auto opened = open_block(kind, stored, most_bytes, raw); !opened)
    return damaged_part(file, title_of(kind), at, opened.error());
  return raw;
}

Result<FileParts> read_parts(storage::File& file) {
  FileParts parts;
  TAILRACE_ASSIGN_OR_RETURN(const uint64_t bytes, file.size());
  if (bytes < sizeof(FileHead) + sizeof(FileFoot))
    return damaged_part(file, kFootTitle, bytes, "the file is too short to be whole");
  parts.foot_at = bytes - sizeof(FileFoot);
  TAILRACE_ASSIGN_OR_RETURN(parts.head, read_part<FileHead>(file, 0, kHeadTitle));
  TAILRACE_ASSIGN_OR_RETURN(parts.foot, read_part<FileFoot>(file, parts.foot_at, kFootTitle));
  TAILRACE_RETURN_IF_ERROR(check_sums(file, parts));
  if (const auto why = contradiction(parts.head, parts.foot, parts.foot_at); !why.empty())
    return damaged_part(file, kFootTitle, parts.foot_at, why);
  TAILRACE_RETURN_IF_ERROR(read_directory(file, parts));
  return parts;
}

}  // namespace tailrace::history
