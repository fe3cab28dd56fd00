#include "kv/log/flusher.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/thread.h"
#include "kv/log/block_sums.h"
#include "kv/log/format.h"

namespace tailrace::kv {

namespace {

constexpr uint64_t kWriteBytes = 1u << 20;
constexpr uint32_t kMostWrites = 8;
// Between two looks at the disk.
constexpr uint64_t kZeroBytes = 1u << 20;
constexpr uint64_t kReserveBytes = 1u << 20;

// Waiting for an epoch: nobody wakes this thread when it becomes safe.
constexpr std::chrono::nanoseconds kLeastPoll = std::chrono::microseconds(20);
constexpr std::chrono::nanoseconds kMostPoll = std::chrono::milliseconds(1);
constexpr std::chrono::nanoseconds kDiskFullRetry = std::chrono::milliseconds(200);
constexpr std::chrono::nanoseconds kIdle = std::chrono::seconds(1);

}  // namespace

Result<std::unique_ptr<LogFlusher>> LogFlusher::create(storage::FileSystem& file_system,
                                                       HybridLog& log) {
  TAILRACE_ASSIGN_OR_RETURN(auto queue, file_system.make_queue(kMostWrites + 2));
  return std::unique_ptr<LogFlusher>(new LogFlusher(log, std::move(queue)));
}

LogFlusher::~LogFlusher() {
  stop_.store(true);
  queue_->wake();
  if (thread_.joinable()) thread_.join();
}

void LogFlusher::start() {
  thread_ = named_thread("kv_flush", [this] { run(); });
}

void LogFlusher::run() {
  std::vector<storage::Completion> completions;
  while (!stop_.load() || queue_->in_flight() > 0) {
    bool moved = make_safe();
    if (!log_.failed_.load(std::memory_order_relaxed) && !stop_.load()) {
      moved |= flush();
      moved |= evict();
      moved |= recycle();
      moved |= reserve();
    }
    std::chrono::nanoseconds timeout = kIdle;
    if (moved) {
      timeout = std::chrono::nanoseconds::zero();
      poll_ = kLeastPoll;
    } else if (awaited_epoch_ || !evicted_.empty()) {
      timeout = poll_;
      poll_ = std::min(poll_ * 2, kMostPoll);
    } else if (disk_was_full_) {
      timeout = kDiskFullRetry;
    }
    completions.clear();
    const auto waited = queue_->wait(completions, timeout);
    if (!waited) {
      log_.set_failure(waited.error());
      // Nothing says what became of the writes; without a pause this would spin.
      std::this_thread::sleep_for(kMostPoll);
      if (stop_.load()) return;
    }
    if (complete(completions)) poll_ = kLeastPoll;
  }
}

void LogFlusher::announce(Condition& waiters) {
  // With the mutex a waiter is either before its look at the marks or already waiting.
  { const MutexLock lock(log_.mutex_); }
  waiters.notify_all();
}

bool LogFlusher::make_safe() {
  if (!awaited_epoch_) {
    const LogAddress read_only = log_.read_only();
    if (read_only <= log_.safe_read_only()) return false;
    awaited_read_only_ = read_only;
    awaited_epoch_ = log_.protection_.bump();
    poll_ = kLeastPoll;  // updates of this part wait for it
  }
  // Who was inside may have taken an older mark for true, or still fill in a record below it.
  if (!log_.protection_.is_safe(*awaited_epoch_)) return false;
  awaited_epoch_.reset();
  log_.safe_read_only_.store(awaited_read_only_, std::memory_order_release);
  announce(log_.progress_);
  return true;
}

bool LogFlusher::flush() {
  bool moved = false;
  while (writes_in_flight_ < kMostWrites) {
    if (jobs_.empty() || jobs_.back().issued == jobs_.back().to) {
      if (!begin_job()) break;
      moved = true;
      if (jobs_.empty()) continue;  // there was nothing to write
    }
    if (jobs_.back().issued < jobs_.back().to) write_piece(jobs_.back());
    moved = true;
  }
  return moved;
}

bool LogFlusher::begin_job() {
  const LogAddress from = jobs_.empty() ? log_.flushed() : jobs_.back().to;
  const LogAddress safe = log_.safe_read_only();
  if (from >= safe) return false;
  const LogAddress page_start = align_down(from, log_.page_bytes_);
  const LogAddress page_end = page_start + log_.page_bytes_;
  // Two writes of one header would have no order. The one before ends first.
  if (!jobs_.empty() && jobs_.back().from >= page_start) return false;
  {
    const MutexLock lock(log_.mutex_);
    if (page_end > log_.reserved_end_) return false;
  }
  Job job;
  job.from = from;
  job.to = std::min(safe, page_end);
  // The header's own blocks are no part of what is counted.
  job.issued = std::min(job.to, std::max(from, page_start + log_.first_offset_));
  if (job.issued < job.to) {
    job.file = log_.segments_->file_of(from);
    if (headers_.empty()) {
      auto header = storage::AlignedBuffer::allocate(log_.first_offset_);
      if (!header) {
        log_.set_failure(header.error());
        return false;
      }
      headers_.push_back(std::move(*header));
    }
    job.header = std::move(headers_.back());
    headers_.pop_back();
  }
  jobs_.push_back(std::move(job));
  if (ends_job(jobs_.front())) {
    std::vector<storage::Completion> none;
    complete(none);
  }
  return true;
}

void LogFlusher::write_piece(Job& job) {
  const uint64_t token = first_job_ + jobs_.size() - 1;
  const uint64_t page = job.issued >> log_.page_shift_;
  const LogAddress end = std::min(job.to, job.issued + kWriteBytes);
  const ByteSpan bytes{log_.frame(page) + log_.offset_of(job.issued), end - job.issued};
  sums_.clear();
  for (uint64_t at = 0; at < bytes.size(); at += kLogBlockBytes) {
    sums_.push_back(block_sum(job.issued + at, bytes.subspan(at, kLogBlockBytes)));
  }
  log_.sums_->put(job.issued, sums_);
  queue_->write(*job.file, log_.segments_->offset_of(job.issued), bytes, token);
  job.issued = end;
  ++job.writes_left;
  ++writes_in_flight_;
  if (job.issued < job.to) return;
  log_.sums_->fill_header(page, job.header.span());
  queue_->write(*job.file, log_.segments_->offset_of(page << log_.page_shift_),
                ByteSpan(job.header.span()), token);
  ++job.writes_left;
  ++writes_in_flight_;
}

bool LogFlusher::complete(std::vector<storage::Completion>& completions) {
  for (storage::Completion& completion : completions) {
    --writes_in_flight_;
    if (completion.bytes) {
      --jobs_[completion.token - first_job_].writes_left;
    } else {
      // The job never ends, so `flushed` stays below what may not be on the disk.
      log_.set_failure(std::move(completion.bytes).error());
    }
  }
  if (log_.failed_.load(std::memory_order_relaxed)) return false;
  bool moved = false;
  while (!jobs_.empty() && ends_job(jobs_.front())) {
    Job& job = jobs_.front();
    if (job.file != nullptr) {
      // First: whoever sees the mark and syncs must sync this file.
      log_.segments_->note_written(job.from);
      headers_.push_back(std::move(job.header));
    }
    log_.probe_.flushed_bytes.add(job.to - job.from);
    log_.flushed_.store(job.to, std::memory_order_release);
    jobs_.pop_front();
    ++first_job_;
    moved = true;
  }
  if (moved) announce(log_.progress_);
  return moved;
}

bool LogFlusher::evict() {
  uint64_t free = evicted_.size();
  {
    const MutexLock lock(log_.mutex_);
    free += log_.free_frames_.size();
  }
  const uint64_t first = log_.head() >> log_.page_shift_;
  uint64_t page = first;
  const uint64_t flushed = log_.flushed() >> log_.page_shift_;  // pages before it are
  while (free < log_.spare_pages_ && page < flushed) {
    ++page;
    ++free;
  }
  if (page == first) return false;
  TAILRACE_CHECK(page << log_.page_shift_ <= log_.flushed(), "evicted before it was on disk");
  log_.head_.store(page << log_.page_shift_, std::memory_order_seq_cst);
  // Who enters from now on sees the new head.
  const uint64_t epoch = log_.protection_.bump();
  for (uint64_t gone = first; gone < page; ++gone) {
    evicted_.push_back({epoch, log_.frame(gone), 0});
  }
  log_.probe_.evicted_pages.add(page - first);
  return true;
}

bool LogFlusher::recycle() {
  if (evicted_.empty()) return false;
  Evicted& oldest = evicted_.front();
  if (!log_.protection_.is_safe(oldest.epoch)) return false;
  const uint64_t bytes = std::min(kZeroBytes, log_.page_bytes_ - oldest.zeroed_bytes);
  std::memset(oldest.frame + oldest.zeroed_bytes, 0, bytes);
  oldest.zeroed_bytes += bytes;
  if (oldest.zeroed_bytes < log_.page_bytes_) return true;
  {
    const MutexLock lock(log_.mutex_);
    log_.free_frames_.push_back(oldest.frame);
  }
  log_.room_.notify_all();
  evicted_.pop_front();
  return true;
}

bool LogFlusher::reserve() {
  LogAddress from = 0;
  uint64_t wanted_page = 0;
  {
    const MutexLock lock(log_.mutex_);
    from = log_.reserved_end_;
    wanted_page = log_.wanted_page_;
  }
  // What the tail's page needs was promised when it was opened. Ahead of it only within the budget,
  // and only when somebody writes: a log that was merely opened is not written to.
  uint64_t page = log_.next_page(log_.tail());
  if (log_.writing_.load(std::memory_order_relaxed)) {
    const auto budget = HybridLog::Budget::kReserve;
    for (uint64_t ahead = 0; ahead <= log_.spare_pages_ && log_.is_in_budget(page, budget); ++ahead)
      ++page;
    page = std::max(page, wanted_page + 1);
  }
  const LogAddress wanted = page << log_.page_shift_;
  if (from >= wanted) return false;
  const LogAddress segment_end =
      align_down(from, log_.options_.segment_bytes) + log_.options_.segment_bytes;
  // Small pages are not asked for one by one.
  LogAddress to = std::min(segment_end, align_up(from + 1, kReserveBytes));
  if (to > wanted && log_.options_.disk_bytes != 0) to = wanted;
  to = std::max(to, from + log_.page_bytes_);
  const auto reserved = log_.segments_->reserve(from, to);
  if (!reserved && reserved.error().code != ErrorCode::kResourceExhausted) {
    log_.set_failure(reserved.error());
    return false;
  }
  disk_was_full_ = !reserved;
  {
    const MutexLock lock(log_.mutex_);
    log_.disk_is_full_ = !reserved;
    if (reserved) log_.reserved_end_ = to;
  }
  // The refused too.
  log_.room_.notify_all();
  log_.progress_.notify_all();
  return reserved.has_value();
}

}  // namespace tailrace::kv
