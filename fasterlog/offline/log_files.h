#pragma once
// What stands in a log's directory, opened for reading alone: for the tools that look at a log
// without opening it, also when META is lost.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fasterlog/format/log_metadata.h"
#include "fasterlog/format/segment_files.h"

namespace tailrace::fasterlog {

/// Sizes that the caller knows; 0: found from META, or else from the segments.
struct LogSizes {
  uint64_t page_bytes = 0;
  uint64_t segment_bytes = 0;
};

struct LogFiles {
  storage::Path directory;
  std::vector<std::string> names;  // all of the directory
  /// As META says. Without META: sizes from the segments, begin and proven where they begin.
  LogMetadata metadata;
  std::optional<Error> metadata_error;  // META is missing or damaged
  /// Without META: every page size that fits what the segments hold equally well. A log that has
  /// not filled a page yet fits several.
  std::vector<uint32_t> possible_page_bytes;
  std::unique_ptr<SegmentFiles> segments;
  std::vector<std::string> misplaced;  // segments that begin at no multiple of segment_bytes

  bool has(std::string_view name) const;
  std::string path_of(std::string_view name) const { return (directory / name).string(); }
  /// Where the greatest segment ends.
  Address end() const;
};

/// Changes nothing. kNotFound when there is neither META nor a segment, kUnsupported when META is
/// of a newer version, kInvalidArgument when sizes cannot be found (says which are to be given).
Result<LogFiles> open_log_files(storage::FileSystem& file_system, const storage::Path& directory,
                                LogSizes known = {});

}  // namespace tailrace::fasterlog
