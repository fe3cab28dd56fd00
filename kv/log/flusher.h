#pragma once
// The hybrid log's own thread: makes read-only pages safe, writes them out, evicts the oldest,
// zeroes their frames and reserves disk space, all ahead of the writers.

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "core/result.h"
#include "kv/log/hybrid_log.h"
#include "kv/log/segments.h"
#include "storage/aligned_buffer.h"
#include "storage/file_system.h"

namespace tailrace::kv {

class LogFlusher {
 public:
  static Result<std::unique_ptr<LogFlusher>> create(storage::FileSystem& file_system,
                                                    HybridLog& log);
  ~LogFlusher();
  LogFlusher(const LogFlusher&) = delete;
  LogFlusher& operator=(const LogFlusher&) = delete;

  void start();
  /// There may be something to do. Any thread.
  void wake() { queue_->wake(); }

 private:
  /// A page, or a part of one, on its way to the disk: its blocks and then its header.
  struct Job {
    LogAddress from = 0;  // from here on the log is flushed when the job is done
    LogAddress to = 0;
    LogAddress issued = 0;  // writes were started below it
    uint32_t writes_left = 0;
    LogSegments::FilePointer file;
    storage::AlignedBuffer header;
  };
  /// An evicted page whose frame is to be free again.
  struct Evicted {
    uint64_t epoch = 0;
    std::byte* frame = nullptr;
    uint64_t zeroed_bytes = 0;
  };

  LogFlusher(HybridLog& log, std::unique_ptr<storage::IoQueue> queue)
      : log_(log), queue_(std::move(queue)) {}

  void run();
  /// Each returns whether it has moved something.
  bool make_safe();
  bool flush();
  bool evict();
  bool recycle();
  bool reserve();
  bool begin_job();
  void write_piece(Job& job);
  bool complete(std::vector<storage::Completion>& completions);
  bool ends_job(const Job& job) const { return job.issued == job.to && job.writes_left == 0; }
  void announce(Condition& waiters);

  HybridLog& log_;

  // The thread's own.
  std::optional<uint64_t> awaited_epoch_;  // when it is safe, so is awaited_read_only_
  LogAddress awaited_read_only_ = 0;
  std::chrono::nanoseconds poll_{0};  // how long to wait for an epoch before the next look
  std::deque<Job> jobs_;              // in order; their numbers are the tokens of their writes
  uint64_t first_job_ = 0;
  uint32_t writes_in_flight_ = 0;
  std::vector<uint32_t> sums_;
  std::vector<storage::AlignedBuffer> headers_;  // to be used again
  std::deque<Evicted> evicted_;
  bool disk_was_full_ = false;  // at the last try

  // Before what it writes from: its end waits for what is in flight.
  std::unique_ptr<storage::IoQueue> queue_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace tailrace::kv
