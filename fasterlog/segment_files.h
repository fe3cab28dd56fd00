#pragma once
// The files that hold the log's bytes: segment k is [k * segment_bytes, (k+1) * segment_bytes), at
// the same offset within, named by its first address.

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::fasterlog {

/// 16 hexadecimal digits and ".seg".
std::string segment_name(uint64_t first_address);
/// The first address a segment's name says; nothing for other names.
std::optional<uint64_t> parse_segment_name(std::string_view name);

/// Open segments. Any thread may call; a file that is handed out stays usable after its deletion.
class SegmentFiles {
 public:
  SegmentFiles(storage::FileSystem& file_system, storage::Path directory, uint64_t segment_bytes)
      : file_system_(file_system),
        directory_(std::move(directory)),
        segment_bytes_(segment_bytes) {}

  uint64_t segment_bytes() const { return segment_bytes_; }
  uint64_t index_of(Address address) const { return address.value / segment_bytes_; }
  storage::Path path_of(Address address) const;

  /// Opens what the directory has. `writable` as wanted; creates nothing.
  Result<> open_existing(bool writable);
  /// Creates the segment, allocates it and makes both durable. kResourceExhausted, with nothing
  /// left behind, when the disk has no room.
  Result<> create(uint64_t index);
  /// Deletes the segments before `index`, lowest first, and syncs the directory if there were any.
  Result<> remove_before(uint64_t index);
  /// Deletes the segments from `index` on, greatest first.
  Result<> remove_from(uint64_t index);

  /// Null when it is absent.
  std::shared_ptr<storage::File> file(uint64_t index) const;
  std::vector<uint64_t> indexes() const;
  uint64_t disk_bytes() const { return count_.load(std::memory_order_relaxed) * segment_bytes_; }

  /// Fills `into` (aligned, a multiple of the block) with the bytes from `from` (aligned) on. What
  /// lies beyond a file's end reads as zeros; kNotFound names a segment that is absent.
  Result<> read_aligned(Address from, MutableByteSpan into) const;

 private:
  /// Removes these segments one after the other, then syncs the directory.
  Result<> remove_in_order(const std::vector<uint64_t>& all);

  storage::FileSystem& file_system_;
  const storage::Path directory_;
  const uint64_t segment_bytes_;
  mutable std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<storage::File>> files_;  // guarded by mutex_
  std::atomic<uint64_t> count_{0};
};

}  // namespace tailrace::fasterlog
