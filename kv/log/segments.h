#pragma once
// The hybrid log's files (log_format.h says what is in them and how they are named).

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "core/result.h"
#include "kv/log/format.h"
#include "storage/file_system.h"

namespace tailrace::kv {

/// Any thread. A file that is handed out stays readable after its removal.
class LogSegments {
 public:
  using FilePointer = std::shared_ptr<storage::File>;

  LogSegments(storage::FileSystem& file_system, storage::Path directory, uint64_t segment_bytes)
      : file_system_(file_system),
        directory_(std::move(directory)),
        segment_bytes_(segment_bytes) {}

  /// For a new log: makes the directory, removes segments of an earlier life.
  Result<> clear();
  /// Opens what the directory has; a log whose pages begin at `begin`.
  Result<> open_existing(LogAddress begin, bool writable = true);

  /// Sees to it that [from, to), which lies in one segment, has room on disk. kResourceExhausted
  /// when there is none: nothing has failed, ask again later.
  Result<> reserve(LogAddress from, LogAddress to);
  /// Null when the segment is absent.
  FilePointer file_of(LogAddress address) const;
  uint64_t offset_of(LogAddress address) const { return address & (segment_bytes_ - 1); }
  /// A write to the segment is complete: the next sync() includes it.
  void note_written(LogAddress address);
  /// All that was noted before the call is on the device. One at a time; blocks.
  Result<> sync();
  /// Removes the segments wholly below `address`, lowest first. Returns the bytes given back.
  Result<uint64_t> release(LogAddress address);
  /// The first byte that has space on disk.
  LogAddress begin() const { return begin_.load(std::memory_order_acquire); }

  Result<storage::SpaceInfo> space() const { return file_system_.space(directory_); }
  uint64_t segment_bytes() const { return segment_bytes_; }
  storage::Path path_of(LogAddress address) const;
  /// "FILE, offset N", for messages.
  std::string place_of(LogAddress address) const;

 private:
  struct Segment {
    FilePointer file;
    bool written = false;  // since its last sync
  };
  Result<std::vector<LogAddress>> list() const;

  storage::FileSystem& file_system_;
  const storage::Path directory_;
  const uint64_t segment_bytes_;
  std::atomic<LogAddress> begin_{0};
  Mutex sync_mutex_;  // held during sync(): who finds nothing to do must not overtake
  mutable Mutex mutex_;
  std::map<LogAddress, Segment> segments_ TAILRACE_GUARDED_BY(mutex_);  // by first address
  bool made_ TAILRACE_GUARDED_BY(mutex_) = false;  // names the directory's sync misses
};

}  // namespace tailrace::kv
