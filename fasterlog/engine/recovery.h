#pragma once
// What the disk says about the log, found by reading alone; and the cleaning that follows.

#include <functional>
#include <string>
#include <vector>

#include "fasterlog/format/log_metadata.h"
#include "fasterlog/format/segment_files.h"
#include "fasterlog/types/options.h"
#include "fasterlog/types/records.h"

namespace tailrace::fasterlog {

/// Ends of commit marks, about one a page: where a search for a mark may begin.
using MarkIndex = std::vector<Address>;

struct RecoveredLog {
  RecoveryReport report;
  std::vector<EpochStart> epochs;     // of what is durable
  ConfigurationTable configurations;  // likewise
  MarkIndex marks;
  uint64_t newest_time_ns = 0;  // of the marks
  Address hole;                 // where the first bad or absent record stands
  std::string hole_reason;      // what is wrong there
};

/// Scans every record from `metadata.begin` on. Changes nothing. kCorruption when the log ends
/// below the proven watermark.
Result<RecoveredLog> scan_log(storage::FileSystem& file_system, const SegmentFiles& segments,
                              const LogMetadata& metadata,
                              const std::function<void(uint64_t, uint64_t)>& progress);

/// A process that was killed leaves bytes that were written and never synced: recovery finds them,
/// and a power cut would still take them. discard_beyond() syncs the segment of `durable`, this the
/// ones before it.
Result<> sync_unproven(const SegmentFiles& segments, Address proven, Address durable);

/// Makes everything from `durable` on zero, durably, so that no discarded batch can come back, and
/// deletes the segments before `begin` that an interrupted truncation left.
Result<> discard_beyond(SegmentFiles& segments, Address begin, Address durable);

}  // namespace tailrace::fasterlog
