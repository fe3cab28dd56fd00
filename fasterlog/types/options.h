#pragma once
// How a log is opened and read, and what it says of its recovery and its consumers.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/address.h"
#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::fasterlog {

/// When a flush begins. Whatever it says, a flush also begins for whoever waits (wait_durable,
/// request_commit), when the buffer fills, and at close.
struct CommitPolicy {
  bool manual = false;                 // never by itself
  uint64_t every_bytes = 0;            // once so many bytes wait; 0: not by bytes
  std::chrono::microseconds every{0};  // once the oldest byte waits so long; zero: not by time

  /// Group commit: at once where no flush is under way; what arrives meanwhile is the next flush
  /// (LogOptions::overlap_bytes).
  static CommitPolicy natural() { return {}; }
  static CommitPolicy on_request() { return {true, 0, {}}; }
  static CommitPolicy each(uint64_t bytes, std::chrono::microseconds time) {
    return {false, bytes, time};
  }
  bool is_natural() const { return !manual && every_bytes == 0 && every.count() == 0; }
};

class LogTime;

struct LogOptions {
  storage::Path directory;
  /// Written at creation and compared at every open: the cluster and node the log belongs to.
  std::string owner;
  uint32_t page_bytes = 4u << 20;       // power of two, 64 KiB – 64 MiB; fixed at creation
  uint32_t buffer_pages = 16;           // memory = page_bytes * buffer_pages; at least 4
  uint64_t segment_bytes = 256u << 20;  // power of two, a multiple of page_bytes; fixed at creation
  /// Segments that truncation empties and keeps for reuse, at most; overwriting them is faster than
  /// filling new files.
  uint32_t spare_segments = 2;
  uint32_t flushes_in_flight = 4;
  /// Under the natural policy and beside a flush that is under way, the next one begins once so
  /// many bytes wait, or when nothing is under way any more. So the writes of many that wait for
  /// each other's flush share the next one. 0: at once, which writes more and smaller flushes.
  uint64_t overlap_bytes = 64u << 10;
  CommitPolicy commit;
  /// A thread in wait_durable(), without a deadline or a stop token, may write and sync a small
  /// flush itself while the flusher is idle: a lone commit then costs no change of threads.
  bool waiters_flush = true;
  /// A flush begins, whatever the policy, once this share of the buffer is not flushed yet.
  double pressure_fraction = 0.25;
  /// Enqueue is refused with kResourceExhausted while the disk has less than this to spare.
  uint64_t reserve_disk_bytes = 64u << 20;
  /// The proven watermark is at most this far behind durable.
  uint64_t proven_lag_bytes = 64u << 20;
  std::chrono::milliseconds proven_lag_time{1000};
  bool huge_pages = true;
  /// What commit marks are stamped with; null: what the wall clock says.
  std::shared_ptr<LogTime> time;
  /// Told while a long recovery scans: bytes scanned so far, and in all.
  std::function<void(uint64_t scanned, uint64_t total)> on_recovery_progress;
};

/// What recovery found.
struct RecoveryReport {
  Address begin, durable;
  Address discarded_end;  // > durable: bytes of unfinished batches were discarded
  bool valid_beyond_hole =
      false;  // complete batches stood beyond the first hole (see fasterlog.md)
  Epoch last_epoch;
  uint64_t scanned_bytes = 0;
};

struct ConsumerOptions {
  bool from_end = false;  // a new one: begin with what comes, not with what is there
  /// At most so many bytes of log are kept for it; further behind, its pin falls and it gets
  /// kTruncated once they are gone. 0: no bound. Stored with a new one.
  uint64_t most_pinned_bytes = 0;
};

struct ConsumerStatus {
  std::string name;
  Address position;
  uint64_t most_pinned_bytes = 0;
  bool pins = false;  // truncation stops at its position
};

struct ScanOptions {
  bool with_commit_marks = false;
  /// Also batches whose flush has begun and is not durable yet: what a replicator ships in
  /// parallel.
  bool with_unflushed = false;
  size_t read_ahead_bytes = 1 << 20;
};
/// Told of durable's moves, and of the failure that ended them (Log::add_durable_listener).
using DurableListener = std::function<void(Address durable, const Error* failure)>;

}  // namespace tailrace::fasterlog
