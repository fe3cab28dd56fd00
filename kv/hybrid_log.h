#pragma once
// The memory of the records: a log of pages, of which a fixed number is in memory. Addresses only
// grow; a page given back at the low end becomes one at the tail.
//
//   begin <= read_only <= tail     frozen <= read_only     tail - begin <= pages * page_bytes
//
// Records at or above read_only are updated in place, those below are copied to the tail. Records
// below begin are gone: chains that lead there end. Memory is taken from the system page by page as
// the tail first reaches it.
//
// A released page is written again only when no thread can still be inside it: release_first_page()
// moves begin, and the memory is free once the epoch that was current then is safe.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "core/result.h"
#include "kv/record.h"
#include "storage/aligned_buffer.h"
#include "storage/epoch_protection.h"

namespace tailrace::kv {

class HybridLog {
 public:
  struct Options {
    uint64_t memory_bytes = 0;
    uint64_t page_bytes = 0;  // a power of two
    double mutable_fraction = 0.9;
    bool huge_pages = true;
  };
  enum class Purpose {
    kWrite,    // keeps out of the last page that can be had
    kCompact,  // may use it: as no writer does, the live records of the first page always fit
  };

  static Result<std::unique_ptr<HybridLog>> create(const Options& options,
                                                   storage::EpochProtection& protection);

  /// Room for a record at the tail; nothing when the memory is full. Under protection, any thread.
  std::optional<LogAddress> allocate(uint64_t bytes, Purpose purpose);

  /// Whether allocate(bytes, kWrite) would succeed now.
  bool has_room(uint64_t bytes) const;

  Record* record(LogAddress address) const {
    return reinterpret_cast<Record*>(table_[address >> page_shift_ & table_mask_] +
                                     (address & (page_bytes_ - 1)));
  }

  LogAddress begin() const { return begin_.load(std::memory_order_seq_cst); }
  LogAddress tail() const { return tail_.load(std::memory_order_acquire); }
  LogAddress read_only() const { return read_only_.load(std::memory_order_relaxed); }
  /// Records below it are never updated in place, however scarce memory is.
  LogAddress frozen() const { return frozen_.load(std::memory_order_relaxed); }

  uint64_t page_bytes() const { return page_bytes_; }
  /// What writers can fill.
  uint64_t capacity_bytes() const { return (pages_ - 1) * page_bytes_; }
  /// Between begin and tail.
  uint64_t used_bytes() const {
    const LogAddress low = begin();
    const LogAddress high = tail();
    return high > low ? high - low : 0;
  }
  /// Ends of pages that no record fitted into.
  uint64_t waste_bytes() const { return waste_bytes_.load(std::memory_order_relaxed); }

  /// Where the records of begin's page end; nothing while the tail is still in it.
  std::optional<LogAddress> end_of_first_page() const;
  /// Raises frozen() and read_only(). Every writer knows once the epoch after the call is safe.
  void freeze(LogAddress until);
  /// Gives the memory of begin's page back. One thread at a time, outside protection.
  void release_first_page();
  /// Makes released pages usable whose readers have left. With `wait`, waits for them (outside
  /// protection). The same thread as release_first_page().
  void reclaim(bool wait);

 private:
  HybridLog(const Options& options, storage::EpochProtection& protection);
  bool open_page(uint64_t page, Purpose purpose);
  /// Whether there may be a record for `purpose` in that page.
  bool may_use(uint64_t page, Purpose purpose) const {
    const uint64_t spare = purpose == Purpose::kWrite ? 1 : 0;
    return page + spare < page_limit_.load(std::memory_order_acquire);
  }

  storage::EpochProtection& protection_;
  const uint64_t page_bytes_;
  const uint64_t page_shift_;
  const uint64_t pages_;  // how many may be in memory
  const uint64_t mutable_bytes_;
  const bool huge_pages_;

  // By page number modulo a power of two not below pages_. An entry is set before the tail enters
  // its page, when no reader of the page that had it before is left.
  const uint64_t table_mask_;
  std::vector<std::byte*> table_;
  std::unique_ptr<std::atomic<uint64_t>[]> page_ends_;  // of closed pages; by the same number

  std::atomic<LogAddress> begin_;
  std::atomic<LogAddress> read_only_;
  std::atomic<LogAddress> frozen_{0};
  std::atomic<uint64_t> waste_bytes_{0};
  alignas(64) std::atomic<LogAddress> tail_;
  // Written under mutex_: pages below it may exist. Apart from the tail, which every writer moves.
  alignas(64) std::atomic<uint64_t> page_limit_;

  std::mutex mutex_;
  std::vector<storage::AlignedBuffer> memory_;  // guarded by mutex_
  std::vector<std::byte*> free_;                // guarded by mutex_

  struct Released {
    uint64_t epoch;
    uint64_t page;
  };
  std::vector<Released> released_;  // only release_first_page() and reclaim(); oldest first
};

}  // namespace tailrace::kv
