#pragma once
// What is read of an event file when it is opened: head, foot and the directory of blocks.
// Internal.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "history/format/event_entry.h"
#include "history/format/layout.h"
#include "storage/file_system.h"

namespace tailrace::history {

/// A block of entries.
struct BlockPlace {
  Address first_position;
  uint64_t at = 0;  // in the file, of its head
  uint32_t first_entry = 0, entries = 0;
  uint32_t stored_bytes = 0, raw_bytes = 0;
};

struct FileParts {
  FileHead head;
  FileFoot foot;
  uint64_t foot_at = 0;
  std::vector<BlockPlace> blocks;
};

/// kCorruption for what is not such a file, or is not whole; kUnsupported for a newer version.
/// What passes is possible: blocks and leaves lie one behind the other within the file. Memory: the
/// directory, which is not above kMostDirectoryBytes.
Result<FileParts> read_parts(storage::File& file);

/// The bytes of the block whose head stands at `at`, `stored_bytes` without it, which are within
/// the file. kCorruption naming file and byte when they do not check.
Result<std::vector<std::byte>> read_block(storage::File& file, BlockKind kind, uint64_t at,
                                          uint64_t stored_bytes, size_t most_bytes);

/// "the block of events", in messages.
std::string_view title_of(BlockKind kind);
/// kCorruption: "FILE: WHAT at byte N: WHY; drop …".
tl::unexpected<Error> damaged_part(const storage::File& file, std::string_view what, uint64_t at,
                                   std::string_view why);
/// The same of a kCorruption, which gets file and byte; any other error keeps its code.
tl::unexpected<Error> damaged_part(const storage::File& file, std::string_view what, uint64_t at,
                                   const Error& error);

}  // namespace tailrace::history
