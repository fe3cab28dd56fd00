#include "kv/log/hybrid_log.h"

#include <algorithm>
#include <bit>

#include "core/check.h"
#include "kv/log/block_sums.h"
#include "kv/log/flusher.h"
#include "kv/log/format.h"
#include "kv/log/segments.h"

namespace tailrace::kv {

namespace {

constexpr uint64_t kLeastPages = 4;
// An index entry holds 47 bits of 8 bytes.
constexpr LogAddress kMostAddress = 1ull << 50;

uint64_t page_count(const HybridLog::Options& options) {
  return std::max(kLeastPages, options.memory_bytes / options.page_bytes);
}

// Two pages or a sixteenth; of very few pages one, for the others are worth more in use.
uint64_t spare_count(uint64_t pages) {
  return pages < 8 ? 1 : std::max<uint64_t>(2, pages / 16);
}

// Besides the spare ones at least one page is read-only: being flushed, or to be evicted next. So
// when no page is free there is one that will be.
uint64_t mutable_count(const HybridLog::Options& options) {
  const uint64_t pages = page_count(options);
  const auto wanted = static_cast<uint64_t>(static_cast<double>(pages) *
                                            std::clamp(options.mutable_fraction, 0., 1.));
  return std::clamp<uint64_t>(wanted, 1, pages - spare_count(pages) - 1);
}

Result<> check(const HybridLog::Options& options) {
  if (!std::has_single_bit(options.page_bytes) || options.page_bytes < kLeastPageBytes) {
    return make_error(ErrorCode::kInvalidArgument,
                      "page_bytes is a power of two, at least " + std::to_string(kLeastPageBytes));
  }
  if (!std::has_single_bit(options.segment_bytes) || options.segment_bytes < options.page_bytes) {
    return make_error(ErrorCode::kInvalidArgument,
                      "segment_bytes is a power of two, at least page_bytes");
  }
  return {};
}

}  // namespace

HybridLog::HybridLog(storage::FileSystem& file_system, const Options& options,
                     storage::EpochProtection& protection, LogProbe& probe)
    : file_system_(file_system),
      options_(options),
      protection_(protection),
      probe_(probe),
      page_bytes_(options.page_bytes),
      page_shift_(static_cast<uint64_t>(std::countr_zero(options.page_bytes))),
      first_offset_(page_header_bytes(options.page_bytes)),
      pages_(page_count(options)),
      spare_pages_(spare_count(pages_)),
      mutable_pages_(mutable_count(options)),
      frame_mask_(std::bit_ceil(pages_) - 1),
      frames_(frame_mask_ + 1, nullptr),
      page_waste_bytes_(first_offset_),
      segments_(
          std::make_unique<LogSegments>(file_system, options.directory, options.segment_bytes)),
      sums_(std::make_unique<BlockSums>(options.page_bytes)) {}

HybridLog::~HybridLog() = default;

Result<std::unique_ptr<HybridLog>> HybridLog::make(storage::FileSystem& file_system,
                                                   const Options& options,
                                                   storage::EpochProtection& protection,
                                                   LogProbe& probe) {
  TAILRACE_RETURN_IF_ERROR(check(options));
  std::unique_ptr<HybridLog> log(new HybridLog(file_system, options, protection, probe));
  // Touched only as pages are opened.
  TAILRACE_ASSIGN_OR_RETURN(log->memory_, storage::AlignedBuffer::allocate(
                                              log->pages_ * log->page_bytes_, options.huge_pages));
  {
    const MutexLock lock(log->mutex_);
    for (uint64_t frame = log->pages_; frame-- > 0;) {
      log->free_frames_.push_back(log->memory_.data() + frame * log->page_bytes_);
    }
  }
  TAILRACE_ASSIGN_OR_RETURN(log->flusher_, LogFlusher::create(file_system, *log));
  return log;
}

Result<std::unique_ptr<HybridLog>> HybridLog::create(storage::FileSystem& file_system,
                                                     const Options& options,
                                                     storage::EpochProtection& protection,
                                                     LogProbe& probe) {
  TAILRACE_ASSIGN_OR_RETURN(auto log, make(file_system, options, protection, probe));
  HybridLog& made = *log;
  TAILRACE_RETURN_IF_ERROR(made.segments_->clear());
  TAILRACE_RETURN_IF_ERROR(made.segments_->reserve(0, made.page_bytes_));
  {
    const MutexLock lock(made.mutex_);
    made.reserved_end_ = made.page_bytes_;
    made.frames_[0] = made.take_frame();
  }
  const LogAddress first = made.first_address();
  for (auto* mark : {&made.begin_, &made.head_, &made.flushed_, &made.safe_read_only_,
                     &made.read_only_, &made.tail_}) {
    mark->store(first);
  }
  made.flusher_->start();
  return log;
}

std::byte* HybridLog::take_frame() {
  if (free_frames_.empty()) return nullptr;
  std::byte* memory = free_frames_.back();
  free_frames_.pop_back();
  return memory;
}

bool HybridLog::is_in_budget(uint64_t page, Budget budget) const {
  const uint64_t kept = budget == Budget::kWrite ? reserve() : 0;
  return options_.disk_bytes == 0 || budget == Budget::kBeyond ||
         ((page + 1) << page_shift_) - disk_begin() + kept <= options_.disk_bytes;
}

// The disk space of a page beyond the budget is reserved because somebody asks for it.
void HybridLog::want(uint64_t page, Budget budget) {
  writing_.store(true, std::memory_order_relaxed);
  if (is_in_budget(page, budget)) wanted_page_ = std::max(wanted_page_, page);
}

void HybridLog::note_waste(uint64_t bytes) {
  const uint64_t average = page_waste_bytes_.load(std::memory_order_relaxed);
  page_waste_bytes_.store(average - average / 16 + bytes / 16, std::memory_order_relaxed);
}

uint64_t HybridLog::disk_bytes() const {
  const LogAddress begin = disk_begin();
  const LogAddress end = tail();
  return end > begin ? end - begin : 0;
}

uint64_t HybridLog::packed_bytes(uint64_t record_bytes) const {
  // Two pages that follow each other hold more than one page of records, whatever they waste.
  const uint64_t waste =
      std::min(page_waste_bytes_.load(std::memory_order_relaxed), page_bytes_ / 2);
  const double filled = static_cast<double>(page_bytes_ - waste) / static_cast<double>(page_bytes_);
  return static_cast<uint64_t>(static_cast<double>(record_bytes) / filled);
}

HybridLog::Room HybridLog::room_for(uint64_t page, Budget budget) const {
  const LogAddress end = (page + 1) << page_shift_;
  if (!is_in_budget(page, budget) || end > kMostAddress) return Room::kNoDisk;
  if (end > reserved_end_) return disk_is_full_ ? Room::kNoDisk : Room::kLater;
  return free_frames_.empty() ? Room::kLater : Room::kNow;
}

bool HybridLog::open_page(LogAddress tail, Budget budget) {
  const uint64_t page = next_page(tail);
  const LogAddress start = page << page_shift_;
  {
    const MutexLock lock(mutex_);
    tail = tail_.load(std::memory_order_acquire);
    if (tail > start) return true;  // another thread was faster
    want(page, budget);
    if (failure_) return false;
    if (room_for(page, budget) != Room::kNow) {
      // A recovered log may be mutable in all its pages: none would ever be evicted. The tail's
      // page still takes small records.
      const uint64_t mutable_pages = std::max<uint64_t>(mutable_pages_, 2);
      if (page + 1 > mutable_pages) raise_read_only((page + 1 - mutable_pages) << page_shift_);
      flusher_->wake();
      return false;
    }
    frames_[page & frame_mask_] = take_frame();
    // Small records may still go into the old page until this succeeds.
    while (!tail_.compare_exchange_weak(tail, start + first_offset_, std::memory_order_acq_rel)) {
    }
    note_waste(start - tail + first_offset_);
  }
  if (page + 1 > mutable_pages_) raise_read_only((page + 1 - mutable_pages_) << page_shift_);
  flusher_->wake();
  return true;
}

void HybridLog::raise_read_only(LogAddress to) {
  LogAddress seen = read_only_.load(std::memory_order_relaxed);
  while (seen < to && !read_only_.compare_exchange_weak(seen, to, std::memory_order_acq_rel)) {
  }
}

tl::unexpected<Error> HybridLog::no_disk() const {
  return make_error(ErrorCode::kResourceExhausted,
                    options_.directory.string() +
                        ": the log has no disk space left; delete keys and compact, or give it "
                        "more");
}

Result<> HybridLog::wait_for_room(uint64_t bytes, Budget budget) {
  TAILRACE_CHECK(bytes <= max_record_bytes(), "a record larger than a page");
  bool counted = false;
  MutexLock lock(mutex_);
  for (;;) {
    if (failure_) return tl::unexpected(*failure_);
    const LogAddress tail = tail_.load(std::memory_order_acquire);
    if (offset_of(tail) != 0 && offset_of(tail) + bytes <= page_bytes_) return {};
    switch (room_for(next_page(tail), budget)) {
      case Room::kNow:
        return {};
      case Room::kNoDisk:
        return no_disk();
      case Room::kLater:
        break;
    }
    if (!counted) probe_.room_waits.add();
    counted = true;
    want(next_page(tail), budget);
    flusher_->wake();
    room_.wait(lock);
  }
}

void HybridLog::wait_safe(LogAddress address) {
  if (safe_read_only() > address) return;
  flusher_->wake();
  MutexLock lock(mutex_);
  // Safety does not need the disk: it comes after a failure too.
  progress_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) { return safe_read_only() > address; });
}

Result<LogAddress> HybridLog::seal_tail(bool freeze) {
  {
    const MutexLock lock(mutex_);
    if (failure_) return tl::unexpected(*failure_);
  }
  // A page's end is a block's end: the tail then stays there until somebody opens the next page.
  LogAddress tail = tail_.load(std::memory_order_acquire);
  while (!tail_.compare_exchange_weak(tail, align_up(tail, kLogBlockBytes),
                                      std::memory_order_acq_rel, std::memory_order_acquire)) {
  }
  const LogAddress sealed = align_up(tail, kLogBlockBytes);
  if (freeze) {
    raise_read_only(sealed);
    flusher_->wake();
  }
  return sealed;
}

Result<> HybridLog::make_durable(LogAddress until, const std::function<void()>& progress) {
  TAILRACE_CHECK(until <= read_only(), "what is not frozen is never flushed");
  {
    MutexLock lock(mutex_);
    // Only the part of a recovered log that was not on disk may find none.
    const auto finds_no_disk = [&]() TAILRACE_REQUIRES(mutex_) {
      return disk_is_full_ && until > reserved_end_;
    };
    const auto is_over = [&]() TAILRACE_REQUIRES(mutex_) {
      return failure_ || flushed() >= until || finds_no_disk();
    };
    for (LogAddress seen = flushed(); !is_over(); seen = flushed()) {
      progress_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) {
        return is_over() || (progress && flushed() != seen);
      });
      if (!progress) continue;
      lock.unlock();
      progress();
      lock.lock();
    }
    if (failure_) return tl::unexpected(*failure_);
    if (flushed() < until) return no_disk();
  }
  auto synced = segments_->sync();
  if (!synced) set_failure(synced.error());
  return synced;
}

void HybridLog::set_begin(LogAddress begin) {
  // Marks only grow, so what held when the caller chose still holds.
  const LogAddress safe = safe_read_only();
  const LogAddress most = std::max(safe, align_down(safe, page_bytes_) + first_offset_);
  TAILRACE_CHECK(begin <= most && begin <= tail(),
                 "the log would begin at " + std::to_string(begin) + ", it is read-only up to " +
                     std::to_string(safe) + " and ends at " + std::to_string(tail()));
  LogAddress seen = begin_.load(std::memory_order_relaxed);
  while (seen < begin && !begin_.compare_exchange_weak(seen, begin, std::memory_order_seq_cst)) {
  }
}

Result<> HybridLog::release_disk(LogAddress address) {
  // What is not flushed yet will still be written.
  const LogAddress until = std::min({address, begin(), flushed()});
  const auto bytes = segments_->release(until);
  if (!bytes) {
    // A name that may or may not come back after a crash is harmless, but the disk is not well.
    set_failure(bytes.error());
    return tl::unexpected(bytes.error());
  }
  sums_->drop_before(disk_begin());
  probe_.released_bytes.add(*bytes);
  {
    const MutexLock lock(mutex_);
    disk_is_full_ = false;
  }
  room_.notify_all();
  flusher_->wake();
  return {};
}

LogAddress HybridLog::disk_begin() const {
  return segments_->begin();
}

uint64_t HybridLog::disk_capacity_bytes() const {
  if (options_.disk_bytes != 0) return options_.disk_bytes;
  const auto space = segments_->space();
  LogAddress reserved = 0;
  {
    const MutexLock lock(mutex_);
    reserved = reserved_end_;
  }
  const uint64_t used = reserved > disk_begin() ? reserved - disk_begin() : 0;
  return used + (space ? space->available_bytes : 0);
}

std::optional<Error> HybridLog::failure() const {
  const MutexLock lock(mutex_);
  return failure_;
}

void HybridLog::set_failure(Error error) {
  {
    const MutexLock lock(mutex_);
    if (!failure_) failure_ = std::move(error);
    failed_.store(true, std::memory_order_relaxed);
  }
  room_.notify_all();
  progress_.notify_all();
}

LogAddress HybridLog::next_record(LogAddress address, LogAddress limit) const {
  while (address < limit) {
    if (offset_of(address) < first_offset_) {
      address = align_down(address, page_bytes_) + first_offset_;
    } else if (record(address)->is_present()) {
      return address;
    } else {
      address = align_down(address, kLogBlockBytes) + kLogBlockBytes;
    }
  }
  return limit;
}

}  // namespace tailrace::kv
