#include "kv/hybrid_log.h"

#include <bit>

#include "core/check.h"

namespace tailrace::kv {

namespace {
// Address 0 means "no record", so the first page starts a little above it.
constexpr LogAddress kFirstAddress = 64;
// In page_ends_: not known yet. (Zero would be an end within page 0.)
constexpr LogAddress kNoEnd = ~uint64_t{0};

// Several threads raise one mark; it must never sink.
void raise(std::atomic<LogAddress>& mark, LogAddress to) {
  LogAddress seen = mark.load(std::memory_order_relaxed);
  while (seen < to && !mark.compare_exchange_weak(seen, to, std::memory_order_relaxed)) {
  }
}
}  // namespace

Result<std::unique_ptr<HybridLog>> HybridLog::create(const Options& options,
                                                     storage::EpochProtection& protection) {
  return std::unique_ptr<HybridLog>(new HybridLog(options, protection));
}

HybridLog::HybridLog(const Options& options, storage::EpochProtection& protection)
    : protection_(protection),
      page_bytes_(options.page_bytes),
      page_shift_(static_cast<uint64_t>(std::countr_zero(options.page_bytes))),
      pages_(options.memory_bytes / options.page_bytes),
      mutable_bytes_(static_cast<uint64_t>(static_cast<double>(pages_ * page_bytes_) *
                                           options.mutable_fraction)),
      huge_pages_(options.huge_pages),
      table_mask_(std::bit_ceil(pages_) - 1),
      table_(table_mask_ + 1, nullptr),
      page_ends_(std::make_unique<std::atomic<uint64_t>[]>(table_mask_ + 1)),
      begin_(kFirstAddress),
      read_only_(kFirstAddress),
      // The end of a page that does not exist: the first allocation opens page 0.
      tail_(0),
      page_limit_(pages_) {
  for (uint64_t page = 0; page <= table_mask_; ++page)
    page_ends_[page].store(kNoEnd, std::memory_order_relaxed);
}

std::optional<LogAddress> HybridLog::allocate(uint64_t bytes, Purpose purpose) {
  TAILRACE_CHECK(bytes <= page_bytes_ - kFirstAddress, "a record larger than a page");
  for (;;) {
    LogAddress tail = tail_.load(std::memory_order_acquire);
    const uint64_t offset = tail & (page_bytes_ - 1);
    // Offset 0 is the end of the page before: whoever comes there opens the next one.
    if (offset != 0 && offset + bytes <= page_bytes_) {
      if (!may_use(tail >> page_shift_, purpose)) return std::nullopt;
      if (tail_.compare_exchange_weak(tail, tail + bytes, std::memory_order_acq_rel)) return tail;
      continue;
    }
    const uint64_t page = align_up(tail, page_bytes_) >> page_shift_;
    if (!open_page(page, purpose)) return std::nullopt;
  }
}

bool HybridLog::has_room(uint64_t bytes) const {
  const LogAddress tail = tail_.load(std::memory_order_acquire);
  const uint64_t offset = tail & (page_bytes_ - 1);
  const bool fits = offset != 0 && offset + bytes <= page_bytes_;
  return may_use((fits ? tail : align_up(tail, page_bytes_)) >> page_shift_, Purpose::kWrite);
}

bool HybridLog::open_page(uint64_t page, Purpose purpose) {
  const std::lock_guard lock(mutex_);
  LogAddress tail = tail_.load(std::memory_order_acquire);
  const LogAddress start = page << page_shift_;
  if (tail > start) return true;  // another thread was faster
  if (!may_use(page, purpose)) return false;
  if (start >= (1ull << 50)) return false;  // an index entry holds 48 bits of 8 bytes
  std::byte* memory = nullptr;
  if (!free_.empty()) {
    memory = free_.back();
    free_.pop_back();
  } else {
    auto buffer = storage::AlignedBuffer::allocate(page_bytes_, huge_pages_);
    if (!buffer) return false;
    memory = buffer->data();
    memory_.push_back(std::move(*buffer));
  }
  table_[page & table_mask_] = memory;
  // Small records may still go into the old page until this succeeds.
  const LogAddress first = start + kFirstAddress;
  while (!tail_.compare_exchange_weak(tail, first, std::memory_order_acq_rel)) {
  }
  if (page > 0) {
    page_ends_[(page - 1) & table_mask_].store(tail, std::memory_order_release);
    waste_bytes_.fetch_add(start - tail + kFirstAddress, std::memory_order_relaxed);
  }
  if (first > mutable_bytes_) {
    raise(read_only_, align_down(first - mutable_bytes_, page_bytes_));
  }
  return true;
}

std::optional<LogAddress> HybridLog::end_of_first_page() const {
  const uint64_t page = begin_.load(std::memory_order_relaxed) >> page_shift_;
  const LogAddress tail = tail_.load(std::memory_order_acquire);
  if (tail <= (page + 1) << page_shift_) return std::nullopt;
  // The tail is moved before the end is noted.
  const LogAddress end = page_ends_[page & table_mask_].load(std::memory_order_acquire);
  if (end >> page_shift_ != page && end != (page + 1) << page_shift_) return std::nullopt;
  return end;
}

void HybridLog::freeze(LogAddress until) {
  raise(read_only_, until);
  raise(frozen_, until);
}

void HybridLog::release_first_page() {
  const uint64_t page = begin_.load(std::memory_order_relaxed) >> page_shift_;
  const LogAddress end = page_ends_[page & table_mask_].load(std::memory_order_acquire);
  const LogAddress begin = ((page + 1) << page_shift_) + kFirstAddress;
  begin_.store(begin, std::memory_order_seq_cst);
  raise(read_only_, begin);
  waste_bytes_.fetch_sub(((page + 1) << page_shift_) - end + kFirstAddress,
                         std::memory_order_relaxed);
  // Who enters from now on sees the new begin.
  released_.push_back({protection_.bump(), page});
}

void HybridLog::reclaim(bool wait) {
  while (!released_.empty()) {
    const Released oldest = released_.front();
    if (wait) protection_.wait_safe(oldest.epoch);
    if (!protection_.is_safe(oldest.epoch)) return;
    released_.erase(released_.begin());
    const std::lock_guard lock(mutex_);
    free_.push_back(table_[oldest.page & table_mask_]);
    page_limit_.store(oldest.page + 1 + pages_, std::memory_order_release);
  }
}

}  // namespace tailrace::kv
