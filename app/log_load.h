#pragma once
// Load for FasterLog alone, and what it measured.

#include <cstdint>
#include <functional>
#include <string>

#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::app {

struct LogLoadOptions {
  storage::Path directory;  // where the measured files go, below a folder of their own
  uint32_t record_bytes = 1024;
  uint32_t threads = 1;
  double seconds = 5;  // of the durable append; the other figures take less
};

struct LogLoadResult {
  double durable_bytes_per_s = 0;  // log bytes made durable, headers and marks included
  double durable_records_per_s = 0;
  double enqueue_records_per_s = 0;  // into memory, nothing flushed meanwhile, one thread
  // One record, then wait, one after the other: into recycled segments, as in a log that is
  // truncated now and then, and into new ones, whose blocks were never written.
  double commit_p50_us = 0, commit_p99_us = 0;
  double fresh_commit_p50_us = 0;
  double recovery_bytes_per_s = 0;   // of opening a log that was not closed in order
  double scan_records_per_s = 0;     // from memory
  double scan_disk_bytes_per_s = 0;  // from the files
};

/// `stage` is told what is measured now.
Result<LogLoadResult> run_log_load(storage::FileSystem& file_system, const LogLoadOptions& options,
                                   const std::function<void(const std::string&)>& stage);

}  // namespace tailrace::app
