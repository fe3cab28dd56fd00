#pragma once
// Load for FasterLog alone, and what it measured.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "app/bench/histogram.h"
#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::app {

struct LogLoadOptions {
  storage::Path directory;  // where the measured files go, below a folder of their own
  uint32_t record_bytes = 1024;
  uint32_t threads = 1;
  uint32_t gather_bytes = 0;  // of a BatchWriter for each thread; 0: each record by itself
  double seconds = 5;         // of the durable append; the other figures take less
};

/// The log's figures, and beside them what the disk did in turns with it.
struct LogLoadResult {
  double durable_bytes_per_s = 0;  // log bytes made durable, headers and marks included
  double durable_records_per_s = 0;
  double raw_bytes_per_s = 0, raw_fresh_bytes_per_s = 0;
  std::vector<double> durable_ratios;  // of each turn
  // Into memory, nothing flushed meanwhile: all threads into one log, one thread alone, and each
  // thread into a log of its own, which is what the machine can do for that many threads.
  double enqueue_records_per_s = 0;
  double enqueue_one_records_per_s = 0;
  double enqueue_apart_records_per_s = 0;
  double memcpy_bytes_per_s = 0;
  // One record, then wait, one after the other: into recycled segments, as in a log that is
  // truncated now and then, and into new ones, whose blocks were never written.
  Histogram commit_ns;
  double raw_commit_p50_us = 0;
  std::vector<double> commit_ratios;  // of the medians of each turn
  double fresh_commit_p50_us = 0;
  double recovery_bytes_per_s = 0;  // of opening a log that was not closed in order
  double raw_read_bytes_per_s = 0;
  double scan_records_per_s = 0;     // from memory
  double scan_disk_bytes_per_s = 0;  // from the files
};

/// `stage` is told what is measured now.
Result<LogLoadResult> run_log_load(storage::FileSystem& file_system, const LogLoadOptions& options,
                                   const std::function<void(const std::string&)>& stage);

/// The three figures of enqueueing into memory.
Result<> measure_enqueue(storage::FileSystem& file_system, const LogLoadOptions& options,
                         LogLoadResult& result);

}  // namespace tailrace::app
