#pragma once
// What the machine can do without a log or a store: the limits that their figures stand beside.

#include <cstddef>
#include <memory>
#include <vector>

#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::app {

/// A file of 1 GiB, each block of it written once, opened with O_DIRECT; removed at the end. One
/// thread. The host's speed swings, so a figure is worth something beside one of the same moments:
/// measure in turns.
class RawDisk {
 public:
  static Result<RawDisk> create(storage::FileSystem& file_system, const storage::Path& directory,
                                size_t most_depth = 16);
  RawDisk(RawDisk&&) noexcept;
  ~RawDisk();

  /// Depth 8, fdatasync each 8 MiB, on blocks that were only allocated: taken by create().
  double fresh_write_bytes_per_s() const { return fresh_write_bytes_per_s_; }
  /// The same on blocks written before; goes on where the last call ended.
  Result<double> write_bytes_per_s(double seconds);
  /// Depth 8.
  Result<double> read_bytes_per_s(double seconds);
  /// Blocks of 4096 bytes at random places, `depth` of them in flight all the time.
  Result<double> random_reads_per_s(size_t depth, double seconds);
  /// 4 KiB pwrite and fdatasync, one after the other; what each took is added to `took_us`.
  Result<> commit(size_t times, std::vector<double>& took_us);

 private:
  class Impl;
  explicit RawDisk(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  double fresh_write_bytes_per_s_ = 0;
};

/// Between two buffers larger than any cache.
Result<double> memcpy_bytes_per_s(double seconds);

}  // namespace tailrace::app
