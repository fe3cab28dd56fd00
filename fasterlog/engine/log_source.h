#pragma once
// The bytes of an open log for readers: from memory where they still are, else from the files.

#include <algorithm>
#include <cstring>

#include "fasterlog/engine/log_core.h"
#include "fasterlog/format/record_reader.h"
#include "fasterlog/types/reader.h"

namespace tailrace::fasterlog {

/// Any thread. kCorruption when a file is shorter than what is durable. What is asked for must lie
/// below durable, or what is being flushed (from rounds down
/// to its block); kOutOfRange when truncate_after() has moved those meanwhile.
class LogSource final : public ByteSource {
 public:
  explicit LogSource(LogCore& core) : core_(core), cuts_(core.cut_count.load()) {}
  /// The reader has looked at so many cuts, and begins anew (RecordReader::forget).
  void pass_cuts(uint64_t cuts) { cuts_ = cuts; }

  Result<CheckedBytes> read(Address from, uint64_t wanted, MutableByteSpan into) override {
    for (uint64_t done = 0; done < wanted;) {
      const Address at = from + done;
      uint64_t disk_bytes = into.size() - done;
      {
        // A page that is in memory now stays there until this thread leaves the epoch.
        const storage::EpochProtection::Guard guard(core_.protection);
        const Address head = core_.ring.head();
        if (at >= head) {
          // What truncate_after() has cut meanwhile is somebody's to write. It reads as zeros, and
          // the reader finds the cut.
          const Address end{core_.flushing.load()};
          // Of another log than the reader came from: a record need not begin where it looks for
          // one. While this thread is here no cut that comes now changes a byte.
          const bool cut = core_.cut_count.load() != cuts_;
          const uint64_t there = std::min(wanted - done, end > at ? end - at : 0);
          const CheckedBytes checked = core_.ring.copy_out(at, into.subspan(done, there));
          std::memset(into.data() + done + there, 0, wanted - done - there);
          return cut ? CheckedBytes{} : checked;
        }
        disk_bytes = std::min(disk_bytes, head - at);
      }
      TAILRACE_RETURN_IF_ERROR(core_.segments.read_aligned(at, into.subspan(done, disk_bytes),
                                                           std::min(wanted - done, disk_bytes)));
      done += disk_bytes;
    }
    return CheckedBytes{};
  }

  Error truncated(Address address) const {
    return Error{ErrorCode::kTruncated, "address " + std::to_string(address.value) +
                                            " is below begin (" +
                                            std::to_string(core_.begin.load()) + ")"};
  }
  Error bad_record(Address at, std::string_view reason) const {
    return Error{ErrorCode::kCorruption, core_.segments.path_of(at).string() +
                                             ": bad record at address " + std::to_string(at.value) +
                                             " (" + std::string(reason) + ")"};
  }

 private:
  LogCore& core_;
  uint64_t cuts_;
};

class CutAwareScanner : public LogScanner {
 public:
  /// What next() would say of truncate_after(): kOutOfRange when the log was cut before the
  /// position. Reads nothing.
  virtual Result<> check_cuts() const = 0;
};

/// See Log::scan.
std::unique_ptr<CutAwareScanner> make_scanner(LogCore& core, Address from, ScanOptions options);

}  // namespace tailrace::fasterlog
