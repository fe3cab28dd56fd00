#pragma once
// The log's small file META: what cannot be learnt from the records themselves.

#include <cstdint>
#include <string>
#include <vector>

#include "fasterlog/types/options.h"
#include "fasterlog/types/records.h"
#include "storage/file_system.h"

namespace tailrace::fasterlog {

inline constexpr const char* kMetadataName = "META";

struct LogMetadata {
  std::string owner;
  uint32_t page_bytes = 0;
  uint64_t segment_bytes = 0;
  Address begin = kFirstAddress;   // the end of a commit mark, or the first address
  Address proven = kFirstAddress;  // the end of a commit mark; all below was fsynced on this disk
  /// Not zero while truncate_after() removes what lies from here on: those bytes are dead, whatever
  /// they look like. The end of a commit mark, or the first address; equals proven.
  Address cut{};
  bool clean = false;                 // closed in order: nothing was ever written beyond proven
  std::vector<EpochStart> epochs;     // of what lies below proven
  ConfigurationTable configurations;  // likewise

  bool operator==(const LogMetadata&) const = default;
};

/// Durable when it returns.
Result<> write_log_metadata(storage::FileSystem& file_system, const storage::Path& directory,
                            const LogMetadata& metadata);
/// kNotFound, kCorruption or kUnsupported as read_atomic_file; also kCorruption when a field is
/// impossible.
Result<LogMetadata> read_log_metadata(storage::FileSystem& file_system,
                                      const storage::Path& directory);

/// kFailedPrecondition when the log is another's, or was made with other sizes than the options
/// say.
Result<> check_log_fits(const LogMetadata& metadata, const LogOptions& options);

/// Nothing, or what is wrong with these sizes (kInvalidArgument).
Result<> check_log_sizes(uint64_t page_bytes, uint64_t segment_bytes);

}  // namespace tailrace::fasterlog
