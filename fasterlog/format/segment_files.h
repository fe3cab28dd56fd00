#pragma once
// The files that hold the log's bytes: segment k is [k * segment_bytes, (k+1) * segment_bytes), at
// the same offset within, named by its first address.

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/mutex.h"
#include "core/result.h"
#include "fasterlog/types/records.h"
#include "storage/file_system.h"

namespace tailrace::fasterlog {

/// A segment that truncation has emptied and a later one will be: its blocks are there and written,
/// which makes overwriting them faster than filling new ones. Its bytes are stale: every checksum
/// covers the record's address, so none passes at the new place. The name says the old address.
inline constexpr std::string_view kSpareSuffix = ".spare";

/// 16 hexadecimal digits and ".seg".
std::string segment_name(uint64_t first_address);
/// The first address a segment's name says; nothing for other names.
std::optional<uint64_t> parse_segment_name(std::string_view name);

/// Open segments. Any thread may call; a file that is handed out stays usable after its deletion.
class SegmentFiles {
 public:
  SegmentFiles(storage::FileSystem& file_system, storage::Path directory, uint64_t segment_bytes,
               uint32_t most_spares = 0)
      : file_system_(file_system),
        directory_(std::move(directory)),
        segment_bytes_(segment_bytes),
        most_spares_(most_spares) {}

  uint64_t segment_bytes() const { return segment_bytes_; }
  uint64_t index_of(Address address) const { return address.value / segment_bytes_; }
  storage::Path path_of(Address address) const;

  /// Opens what the directory has. `writable` as wanted; creates nothing.
  Result<> open_existing(bool writable);
  /// For tools, also on a damaged log or one in use: opens for reading whatever can be a segment.
  /// Returns the names of segments that begin at no multiple of segment_bytes and were left out.
  Result<std::vector<std::string>> open_readable();
  /// Makes a spare the segment, or else creates and allocates it; durable when it returns.
  /// kResourceExhausted, with nothing left behind, when the disk has no room.
  Result<> make(uint64_t index);
  bool has_spare() const;
  /// Makes the segments before `index` spares, or deletes them when there are enough, lowest first;
  /// syncs the directory if there were any.
  Result<> remove_before(uint64_t index);
  /// What remove_before(index) takes away, and how many bytes of it the disk gets back.
  size_t count_before(uint64_t index) const;
  uint64_t bytes_freed_by_removing(size_t segments) const;
  /// Deletes spares with bytes from before the segment `index`, and keeps no such ones from now on.
  Result<> discard_before(uint64_t index);
  /// Spares, and segments that were made of one and lie, in part, at or behind `end`. Of a segment
  /// that was there when the directory was opened it is not known what was there before: it counts,
  /// if anything was truncated.
  std::vector<OldBytes> old_bytes(Address end) const;
  /// Deletes the segments from `index` on, greatest first. They never become spares: their
  /// addresses will be used again, and their records would be sound there.
  Result<> remove_from(uint64_t index);

  /// The segment's bytes from `offset` on, a block's beginning, are zeros, and have their blocks;
  /// durable when it returns, with what was written to the segment before.
  Result<> zero_from(uint64_t index, uint64_t offset);

  /// Null when it is absent.
  std::shared_ptr<storage::File> file(uint64_t index) const;
  std::vector<uint64_t> indexes() const;
  /// Of segments and spares.
  uint64_t disk_bytes() const { return count_.load(std::memory_order_relaxed) * segment_bytes_; }

  /// Fills `into` (aligned, a multiple of the block) with the bytes from `from` (aligned) on. What
  /// lies beyond a file's end reads as zeros; kNotFound names a segment that is absent. kCorruption
  /// when a file ends within the first `written` bytes, which are known to have been there: zeros
  /// in their place could be written back over them.
  Result<> read_aligned(Address from, MutableByteSpan into, uint64_t written = 0) const;

 private:
  /// Takes these segments away one after the other, then syncs the directory.
  Result<> remove_in_order(const std::vector<uint64_t>& all, bool may_become_spares);
  Result<> create(const storage::Path& path);
  AddressRange addresses_of(const storage::Path& spare) const;
  void count() TAILRACE_REQUIRES(mutex_);

  storage::FileSystem& file_system_;
  const storage::Path directory_;
  const uint64_t segment_bytes_;
  const uint32_t most_spares_;
  mutable Mutex mutex_;
  std::map<uint64_t, std::shared_ptr<storage::File>> files_ TAILRACE_GUARDED_BY(mutex_);
  std::vector<storage::Path> spares_ TAILRACE_GUARDED_BY(mutex_);
  uint64_t no_spares_before_ TAILRACE_GUARDED_BY(mutex_) = 0;  // an index
  /// By index: which addresses a segment's file had before.
  std::map<uint64_t, AddressRange> made_of_ TAILRACE_GUARDED_BY(mutex_);
  std::atomic<uint64_t> count_{0};
};

}  // namespace tailrace::fasterlog
