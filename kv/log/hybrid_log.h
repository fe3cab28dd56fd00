#pragma once
// The log of the records: the newest pages in memory, all older ones on disk. Addresses only grow.
//
//   head <= flushed <= safe_read_only <= read_only <= tail
//   begin <= tail, and no later than where the first record at or above safe_read_only begins
//
//   below begin           gone: chains that lead there end, in memory or not. Compaction also
//   copies
//                         what has not been evicted or flushed yet, so begin may pass either mark
//   [begin, head)         on disk only; read block by block (cold_reader.h)
//   [head, safe_read_only) in memory and never written again; below `flushed` also on disk
//   [safe_read_only, read_only) a thread that has not seen the mark yet may still update in place:
//                         who wants to read and copy without a lost update waits (wait_safe)
//   [read_only, tail)     updated in place
//
// Pages. The log is cut into pages of page_bytes; a record never crosses one. The first blocks of a
// page hold the checksums of all its 4096-byte blocks (log_format.h), so records begin at
// first_offset(). Frames are zero where nothing was written: a zero word where a record would begin
// means that the next one begins at the next block (seal_tail) or page.
//
// Disk. Segment files of segment_bytes, sparse or preallocated, page for page as in memory. Blocks
// are written once they are below safe_read_only, in order, several writes in flight; `flushed`
// moves in order. A failed write or sync is final: `failure` is set, and nothing is allocated,
// flushed or evicted any more.
//
// A page is evicted (head moves) when its frame is wanted for the tail: only when flushed, and its
// frame is reused when the epoch after the move is safe.
//
// Who moves what: `tail` any writer (allocate) and seal_tail; read_only whoever opens a page, and
// seal_tail; safe_read_only, flushed and head the log's own thread; begin set_begin().

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/mutex.h"
#include "core/result.h"
#include "kv/log/record.h"
#include "kv/types/probe.h"
#include "storage/aligned_buffer.h"
#include "storage/epoch_protection.h"
#include "storage/file_system.h"

namespace tailrace::kv {

class LogSegments;  // log_segments.h: the files
class BlockSums;    // block_sums.h
class LogFlusher;   // log_flusher.h: the thread

class HybridLog {
 public:
  struct Options {
    storage::Path directory;     // of the segment files; made when absent
    uint64_t memory_bytes = 0;   // at least 4 pages are taken
    uint64_t page_bytes = 0;     // a power of two, at least 32 KiB
    uint64_t segment_bytes = 0;  // a power of two, at least a page
    uint64_t disk_bytes = 0;     // 0: no limit of our own
    double mutable_fraction = 0.9;
    bool huge_pages = true;
  };

  /// How much of disk_bytes an allocation may use.
  enum class Budget : uint8_t {
    kWrite,    // all but what is set aside for compaction (set_reserve)
    kReserve,  // all
    kBeyond,   // as much as the disk has: for what must not fail, and for what gives space back
  };

  /// Where a recovered log goes on. Of an empty one all are first_address().
  struct Start {
    LogAddress begin = 0;
    LogAddress flushed = 0;  // a multiple of kBlockBytes or begin; on disk below it
    LogAddress tail = 0;     // a multiple of kBlockBytes (seal_tail), or first_address()
  };

  /// An empty log; segment files of an earlier life are removed.
  static Result<std::unique_ptr<HybridLog>> create(storage::FileSystem& file_system,
                                                   const Options& options,
                                                   storage::EpochProtection& protection,
                                                   LogProbe& probe);
  /// A recovered one: loads the newest pages from disk, checking every block, with several reads in
  /// flight; [start.flushed, start.tail) is not on disk, `fill` puts it into the frames (null when
  /// flushed == tail). With `check_all` every block of [begin, tail) is read and checked first. All
  /// below `tail` is read-only but for [flushed, tail) which is mutable; that part and a page must
  /// fit in memory (kResourceExhausted names what is needed). Writes nothing to the disk.
  struct Loading {
    bool check_all = true;
    /// Called in ascending order of page with the frame's bytes from `address` on, to fill.
    std::function<Result<>(LogAddress address, MutableByteSpan into)> fill;
    /// Of `total` bytes. On the caller's thread.
    std::function<void(uint64_t done, uint64_t total)> progress;
    /// That check blocks, this one among them; each reads with buffers of its own, 8 MiB.
    unsigned threads = 1;
  };
  static Result<std::unique_ptr<HybridLog>> recover(storage::FileSystem& file_system,
                                                    const Options& options,
                                                    storage::EpochProtection& protection,
                                                    LogProbe& probe, const Start& start,
                                                    const Loading& loading);
  ~HybridLog();

  // --- under protection, any thread ---

  /// Room for a record at the tail (a multiple of 16, at most max_record_bytes()); nothing when no
  /// page is to be had now: leave protection, wait_for_room() with the same budget, try again.
  std::optional<LogAddress> allocate(uint64_t bytes, Budget budget = Budget::kWrite);
  /// At or above head(), below tail().
  Record* record(LogAddress address) const {
    return reinterpret_cast<Record*>(frames_[address >> page_shift_ & frame_mask_] +
                                     (address & (page_bytes_ - 1)));
  }

  // --- outside protection ---

  /// Waits until a record of `bytes` may be allocated. kResourceExhausted at the disk budget (at
  /// once: the caller may compact), the failure after a failed write.
  Result<> wait_for_room(uint64_t bytes, Budget budget = Budget::kWrite);
  /// So much of the disk budget is left to those who ask for it: compaction must be able to move
  /// what lives in a segment before it can give the segment back.
  void set_reserve(uint64_t bytes) { reserve_bytes_.store(bytes, std::memory_order_relaxed); }
  uint64_t reserve() const { return reserve_bytes_.load(std::memory_order_relaxed); }
  /// Waits until safe_read_only() is above `address`, which is below read_only().
  void wait_safe(LogAddress address);
  /// Ends the tail's block: the next record begins at a block's start. Everything before becomes
  /// read-only (when `freeze`); returns the new tail, a multiple of kBlockBytes. Sealed again, it
  /// stays where it is.
  Result<LogAddress> seal_tail(bool freeze);
  /// Waits until flushed() >= until (sealed and frozen before), then syncs all files written since.
  /// Any thread. kResourceExhausted, and nothing has failed, when a recovered log's unflushed part
  /// finds no disk space. `progress` is called now and then while it waits, without a lock.
  Result<> make_durable(LogAddress until, const std::function<void()>& progress = nullptr);
  /// Chains that lead below `begin` end from now on. Never backwards. The disk space stays. At most
  /// what may be compacted: what can still change in place has not been copied as it will be.
  void set_begin(LogAddress begin);
  /// Gives segment files wholly below `address` (<= begin()) back.
  Result<> release_disk(LogAddress address);

  // --- marks ---

  LogAddress begin() const { return begin_.load(std::memory_order_seq_cst); }
  LogAddress head() const { return head_.load(std::memory_order_seq_cst); }
  LogAddress flushed() const { return flushed_.load(std::memory_order_acquire); }
  LogAddress safe_read_only() const { return safe_read_only_.load(std::memory_order_acquire); }
  LogAddress read_only() const { return read_only_.load(std::memory_order_acquire); }
  LogAddress tail() const { return tail_.load(std::memory_order_acquire); }
  /// The first byte that still has disk space.
  LogAddress disk_begin() const;

  uint64_t page_bytes() const { return page_bytes_; }
  /// Of a page; what comes before are checksums.
  uint64_t first_offset() const { return first_offset_; }
  /// Of the first record of an empty log.
  LogAddress first_address() const { return first_offset_; }
  uint64_t max_record_bytes() const { return page_bytes_ - first_offset_; }
  uint64_t disk_capacity_bytes() const;
  /// From disk_begin() to the tail.
  uint64_t disk_bytes() const;
  /// What `record_bytes` of records take of the log, as well as recent pages were filled: a page
  /// has a header, and where it ends depends on the record that did not fit any more.
  uint64_t packed_bytes(uint64_t record_bytes) const;
  std::optional<Error> failure() const;

  // --- walking, in the order of addresses ---

  /// The next record at or after `address` (a record's start, or what next_after() returned):
  /// passes over the zeros that end blocks and pages. `limit` when there is none before it.
  /// Addresses from head() on, under protection, all writers below `limit` done.
  LogAddress next_record(LogAddress address, LogAddress limit) const;

  LogSegments& segments() { return *segments_; }

 private:
  friend class LogFlusher;
  friend class LogLoader;
  friend class ColdReader;
  friend class LogWalker;

  HybridLog(storage::FileSystem& file_system, const Options& options,
            storage::EpochProtection& protection, LogProbe& probe);
  static Result<std::unique_ptr<HybridLog>> make(storage::FileSystem& file_system,
                                                 const Options& options,
                                                 storage::EpochProtection& protection,
                                                 LogProbe& probe);
  uint64_t offset_of(LogAddress address) const { return address & (page_bytes_ - 1); }
  std::byte* frame(uint64_t page) const { return frames_[page & frame_mask_]; }
  /// The page that a record which does not fit at `tail` opens.
  uint64_t next_page(LogAddress tail) const { return align_up(tail, page_bytes_) >> page_shift_; }
  /// Opens the page after the one of `tail`, unless another thread has. False: there is none now.
  bool open_page(LogAddress tail, Budget budget);
  enum class Room : uint8_t { kNow, kLater, kNoDisk };
  Room room_for(uint64_t page, Budget budget) const TAILRACE_REQUIRES(mutex_);
  bool is_in_budget(uint64_t page, Budget budget) const;
  void want(uint64_t page, Budget budget) TAILRACE_REQUIRES(mutex_);
  void note_waste(uint64_t bytes) TAILRACE_REQUIRES(mutex_);
  /// Null when there is none.
  std::byte* take_frame() TAILRACE_REQUIRES(mutex_);
  void raise_read_only(LogAddress to);
  void set_failure(Error error) TAILRACE_EXCLUDES(mutex_);
  tl::unexpected<Error> no_disk() const;

  storage::FileSystem& file_system_;
  const Options options_;
  storage::EpochProtection& protection_;
  LogProbe& probe_;
  const uint64_t page_bytes_;
  const uint64_t page_shift_;
  const uint64_t first_offset_;
  const uint64_t pages_;          // as many frames there are
  const uint64_t spare_pages_;    // to be free, so that a writer finds one
  const uint64_t mutable_pages_;  // the tail's included
  const uint64_t frame_mask_;     // of a table that is a power of two, at least pages_
  /// By page; set under mutex_ before the tail moves into the page, read by who got there.
  std::vector<std::byte*> frames_;

  // Read by every operation, written once a page.
  alignas(64) std::atomic<LogAddress> begin_{0};
  std::atomic<LogAddress> head_{0};
  std::atomic<LogAddress> flushed_{0};
  std::atomic<LogAddress> safe_read_only_{0};
  std::atomic<LogAddress> read_only_{0};
  std::atomic<bool> failed_{false};
  std::atomic<uint64_t> reserve_bytes_{0};  // of the disk budget
  alignas(64) std::atomic<LogAddress> tail_{0};

  alignas(64) mutable Mutex mutex_;
  Condition room_;      // a page can be opened, or never will be
  Condition progress_;  // safe_read_only_ or flushed_ has moved, or failure
  std::optional<Error> failure_ TAILRACE_GUARDED_BY(mutex_);
  std::vector<std::byte*> free_frames_ TAILRACE_GUARDED_BY(mutex_);  // zeroed
  /// Disk space is there below it.
  LogAddress reserved_end_ TAILRACE_GUARDED_BY(mutex_) = 0;
  /// The last try to reserve says so.
  bool disk_is_full_ TAILRACE_GUARDED_BY(mutex_) = false;
  /// Somebody may have it beyond the budget.
  uint64_t wanted_page_ TAILRACE_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> writing_{false};  // somebody wanted a page since the log was opened
  // Bytes of a page that no record has, a moving average. Written under mutex_, once a page.
  std::atomic<uint64_t> page_waste_bytes_;

  storage::AlignedBuffer memory_;
  std::unique_ptr<LogSegments> segments_;
  std::unique_ptr<BlockSums> sums_;
  std::unique_ptr<LogFlusher> flusher_;  // last: its thread ends first
};

inline std::optional<LogAddress> HybridLog::allocate(uint64_t bytes, Budget budget) {
  if (failed_.load(std::memory_order_relaxed)) [[unlikely]]
    return std::nullopt;
  LogAddress tail = tail_.load(std::memory_order_acquire);
  for (;;) {
    const uint64_t offset = offset_of(tail);
    // Offset 0 is the end of the page before: whoever comes there opens the next one, which begins
    // at first_offset().
    if (offset != 0 && offset + bytes <= page_bytes_) [[likely]] {
      if (tail_.compare_exchange_weak(tail, tail + bytes, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        return tail;
      }
      continue;
    }
    if (!open_page(tail, budget)) return std::nullopt;
    tail = tail_.load(std::memory_order_acquire);
  }
}

}  // namespace tailrace::kv
