#pragma once
// The state that the log's entry points (log.cc) and its flusher share.

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "fasterlog/log.h"
#include "fasterlog/log_metadata.h"
#include "fasterlog/page_ring.h"
#include "fasterlog/probe.h"
#include "fasterlog/recovery.h"
#include "fasterlog/segment_files.h"
#include "storage/epoch_protection.h"

namespace tailrace::fasterlog {

/// Who may write. Between two roles, and before the first, nobody may.
enum class Mode : uint8_t { kNone, kWriter, kCopy, kClosed };

/// META in memory and on disk. Any thread.
class MetadataKeeper {
 public:
  MetadataKeeper(storage::FileSystem& file_system, storage::Path directory, LogMetadata metadata)
      : file_system_(file_system),
        directory_(std::move(directory)),
        metadata_(std::move(metadata)) {}

  /// Changes a copy, makes it durable, then takes it over. The mutex is held meanwhile, so updates
  /// follow each other.
  template <typename Change>
  Result<> update(Change change) {
    const std::lock_guard lock(mutex_);
    LogMetadata next = metadata_;
    change(next);
    TAILRACE_RETURN_IF_ERROR(write_log_metadata(file_system_, directory_, next));
    metadata_ = std::move(next);
    return {};
  }

 private:
  storage::FileSystem& file_system_;
  const storage::Path directory_;
  std::mutex mutex_;
  LogMetadata metadata_;  // guarded by mutex_
};

struct LogCore {
  LogCore(storage::FileSystem& fs, LogOptions log_options, const Clock& the_clock,
          LogMetadata metadata)
      : file_system(fs),
        options(std::move(log_options)),
        clock(the_clock),
        segments(fs, options.directory, options.segment_bytes),
        keeper(fs, options.directory, std::move(metadata)) {}

  storage::FileSystem& file_system;
  const LogOptions options;
  const Clock& clock;
  storage::EpochProtection protection;
  PageRing ring;
  SegmentFiles segments;
  MetadataKeeper keeper;
  LogProbe probe;

  std::atomic<Mode> mode{Mode::kNone};  // read inside the epoch, so a change can wait for readers
  std::atomic<uint64_t> epoch{0};       // of what is written now; set while nobody writes
  std::atomic<uint64_t> begin{0};
  std::atomic<uint64_t> durable{0};
  /// The next segment could not be made: the disk has not enough to spare.
  std::atomic<bool> disk_full{false};

  mutable std::mutex index_mutex;
  MarkIndex marks;                 // guarded by index_mutex; first entry <= begin
  std::vector<EpochStart> epochs;  // guarded by index_mutex

  // Waiters for durable, for room, and for the failure. A waiter counts itself, then looks; the
  // flusher changes, then looks at the count: one of them sees the other.
  std::mutex wait_mutex;
  std::condition_variable_any durable_moved;
  std::condition_variable_any room_made;
  std::atomic<uint32_t> durable_waiters{0};
  std::atomic<uint32_t> room_waiters{0};
  std::atomic<bool> failed{false};
  std::optional<Error> failure;  // guarded by wait_mutex, set once, before `failed`

  std::mutex listener_mutex;      // held while the listener runs
  Log::DurableListener listener;  // guarded by listener_mutex

  std::optional<Error> failure_copy() {
    if (!failed.load()) return std::nullopt;
    const std::lock_guard lock(wait_mutex);
    return failure;
  }
};

}  // namespace tailrace::fasterlog
