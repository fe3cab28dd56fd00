#pragma once
// What the log's tests on the fault disk share.

#include "fasterlog/log.h"

namespace tailrace::fasterlog {

/// Sweeps over every operation take only every so many-th under the sanitizers.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr uint64_t kSweepStep = 7;
#else
inline constexpr uint64_t kSweepStep = 1;
#endif

/// The smallest log, whose segments change often, below /log.
inline LogOptions fault_options() {
  LogOptions result;
  result.directory = "/log";
  result.owner = "test/1";
  result.page_bytes = 64u << 10;
  result.buffer_pages = 4;
  result.segment_bytes = 64u << 10;
  result.reserve_disk_bytes = 0;
  result.overlap_bytes = 0;  // the most steps that a crash can come between
  result.huge_pages = false;
  return result;
}

}  // namespace tailrace::fasterlog
