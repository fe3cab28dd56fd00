#pragma once
// Looks at every byte that a log claims to hold and lists what is bad, going on behind damage.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "fasterlog/offline/log_files.h"

namespace tailrace::fasterlog {

/// Where damage lies.
enum class Place {
  kFile,         // META, CONSUMERS, or a segment as such: no address
  kBelowProven,  // the log once was durable there: Log::open refuses
  kBelowEnd,     // behind proven, but whole batches follow: Log::open would discard those. Not
                 // told of a log in use, whose flushes arrive in any order
  kBeyond,       // nothing whole follows: a batch that was not finished, or a recycled segment's
                 // old bytes; Log::open clears them
};
std::string_view name_of(Place place);  // "file", "below_proven", "below_end", "beyond"

struct Finding {
  Place place = Place::kFile;
  Address first;  // first == end with kFile
  Address end;
  std::string file;     // the path
  uint64_t offset = 0;  // of `first` in the file
  std::string reason;
  bool holds_nothing = false;  // only zeros may stand there: repair writes them and loses nothing
  // Where the log ends when everything from the finding on is dropped, and what it then holds.
  Address whole_before;
  uint64_t records_before = 0;
};

struct CheckReport {
  LogMetadata metadata;                       // found from the segments with metadata_error
  std::optional<Error> metadata_error;        // META is missing or damaged
  std::vector<uint32_t> possible_page_bytes;  // see LogFiles

  Address checked_from, checked_to;
  uint64_t segments = 0;
  uint64_t records = 0;  // in whole batches, without padding and marks
  uint64_t batches = 0;  // whole ones
  uint64_t sound_bytes = 0;
  uint64_t bad_bytes = 0;              // of all findings but those beyond
  uint64_t records_outside = 0;        // sound ones in batches that are not whole
  uint64_t batches_behind_damage = 0;  // whole ones, behind the first finding
  std::vector<EpochStart> epochs;
  ConfigurationTable configurations;  // of whole batches, and the one in force at checked_from
  Address durable;                    // the end of the last whole batch before the first finding
  Address last_batch_end;             // the end of the last whole batch of all
  std::vector<Finding> findings;      // by address, those of files first
  /// Without META: the first place where a log can begin (none: 0), and the records before it,
  /// whose batch began in a segment that is gone.
  Address possible_begin;
  uint64_t records_before_possible_begin = 0;
  std::vector<std::string> notes;  // leftovers that harm nothing
  bool in_use = false;             // the log changed while it was looked at

  /// Something is bad that is not merely beyond.
  bool damaged() const;
};

struct CheckOptions {
  LogSizes sizes;
  /// Told from time to time: bytes looked at so far, and in all.
  std::function<void(uint64_t checked, uint64_t total)> progress;
};

/// Reads only, also while the log is in use. Fails as open_log_files does, and with kIo when the
/// file system refuses more than single blocks.
Result<CheckReport> check_log(storage::FileSystem& file_system, const storage::Path& directory,
                              const CheckOptions& options = {});

}  // namespace tailrace::fasterlog
