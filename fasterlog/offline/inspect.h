#pragma once
// Looks at a log's files without opening the log: works on damaged ones and on ones in use.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/result.h"
#include "fasterlog/offline/log_files.h"
#include "storage/file_system.h"

namespace tailrace::fasterlog {

struct InspectReport {
  LogMetadata metadata;                 // sizes and begin from the segments with metadata_error
  std::optional<Error> metadata_error;  // META is missing or damaged
  struct Segment {
    std::string name;
    Address first;
    uint64_t file_bytes = 0;
  };
  std::vector<Segment> segments;
  struct Spare {
    std::string name;
    uint64_t file_bytes = 0;
  };
  std::vector<Spare> spares;  // segments that wait to be used again
  struct Totals {
    uint64_t records = 0;
    uint64_t payload_bytes = 0;
  };
  std::map<RecordKind, Totals> kinds;  // of `records`
  std::vector<ConsumerStatus> consumers;
  std::optional<Error> consumers_error;  // CONSUMERS is damaged, or of a newer version
  uint64_t records = 0;                  // in whole batches, without padding and marks
  uint64_t batches = 0;
  Address durable;  // the end of the last whole batch
  std::vector<EpochStart> epochs;
  Address first_bad;  // where the scan ended
  std::string first_bad_file;
  std::string first_bad_reason;  // "the log ends here" when nothing is written behind durable
  bool damaged = false;          // first_bad lies below the proven watermark
  bool in_use = false;           // the log changed while it was looked at
};

/// Reads only, up to the first bad record (check_log.h goes on behind it). A log in use that is
/// truncated meanwhile is looked at again, some times; what it has given away is never taken for
/// damage, and `durable` is then what META said. Fails as open_log_files.
Result<InspectReport> inspect(storage::FileSystem& file_system, const storage::Path& directory,
                              LogSizes sizes = {});

}  // namespace tailrace::fasterlog
