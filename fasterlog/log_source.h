#pragma once
// The bytes of an open log for readers: from memory where they still are, else from the files.

#include <cstring>

#include "fasterlog/log_core.h"
#include "fasterlog/record_reader.h"

namespace tailrace::fasterlog {

/// Any thread. What is asked for must lie below durable, or what is being flushed (from rounds down
/// to its block); kOutOfRange when truncate_after() has moved those meanwhile.
class LogSource final : public ByteSource {
 public:
  explicit LogSource(LogCore& core) : core_(core) {}

  Result<> read(Address from, uint64_t wanted, MutableByteSpan into) override {
    for (uint64_t done = 0; done < wanted;) {
      const Address at = from + done;
      uint64_t disk_bytes = into.size() - done;
      {
        // A page that is in memory now stays there until this thread leaves the epoch.
        const storage::EpochProtection::Guard guard(core_.protection);
        const Address head = core_.ring.head();
        if (at >= head) {
          // A cut waits for all readers that came before it. This one may have its limit from
          // before and come after: behind the new end others are writing now.
          if (const Address end{core_.flushing.load()}; from + wanted > end)
            return make_error(ErrorCode::kOutOfRange,
                              "address " + std::to_string((from + wanted).value) +
                                  " is behind the log's end (" + std::to_string(end.value) +
                                  "): it was cut there meanwhile");
          core_.ring.copy_out(at, into.subspan(done, wanted - done));
          return {};
        }
        disk_bytes = std::min(disk_bytes, head - at);
      }
      TAILRACE_RETURN_IF_ERROR(core_.segments.read_aligned(at, into.subspan(done, disk_bytes)));
      done += disk_bytes;
    }
    return {};
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
};

/// See Log::scan.
std::unique_ptr<LogScanner> make_scanner(LogCore& core, Address from, Log::ScanOptions options);

}  // namespace tailrace::fasterlog
