#pragma once
// What the machine can do without a log: the limits that the log's figures stand beside.

#include <cstdint>

#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::app {

struct RawLimits {
  double write_bytes_per_s = 0;  // O_DIRECT, depth 8, blocks written before, fdatasync each 8 MiB
  double fresh_write_bytes_per_s = 0;  // the same on blocks that were only allocated
  double read_bytes_per_s = 0;         // O_DIRECT, depth 8
  double commit_p50_us = 0;            // 4 KiB pwrite and fdatasync, one after the other
  double memcpy_bytes_per_s = 0;       // between two buffers larger than any cache
};

/// Works on one file in `directory`, which is removed again; about `seconds` for each figure.
Result<RawLimits> measure_raw_limits(storage::FileSystem& file_system,
                                     const storage::Path& directory, double seconds);

/// Blocks of 4096 bytes a second, O_DIRECT, at random places of a written file of 1 GiB, `depth` of
/// them in flight.
Result<double> measure_random_reads(storage::FileSystem& file_system,
                                    const storage::Path& directory, size_t depth, double seconds);

}  // namespace tailrace::app
