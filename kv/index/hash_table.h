#pragma once
// One generation of the hash index: the buckets, the overflow buckets that hang on them, and the
// way to the generation that takes its place.
//
// A bucket is eight words: seven entries (hash_index.h) and a link:
//    0–47  number of the overflow bucket that goes on with this one, counted from 1; 0: none
//      62  moved (first bucket of a chain only): all entries are in the next table
//      63  frozen: no overflow bucket may be hung on any more
//
// Overflow buckets live in chunks whose size doubles, so that a number says where its bucket is.

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>

#include "core/mutex.h"
#include "core/result.h"
#include "observability/metrics.h"
#include "storage/aligned_buffer.h"

namespace tailrace::kv {

class HashTable {
 public:
  using Slot = std::atomic<uint64_t>;
  static constexpr size_t kEntries = 7;
  struct alignas(64) Bucket {
    Slot entries[kEntries];
    std::atomic<uint64_t> link;
  };
  static_assert(sizeof(Bucket) == 64);
  static constexpr uint64_t kBucketBytes = sizeof(Bucket);

  // Of an entry.
  static constexpr uint64_t kAddressMask = (1ull << 47) - 1;
  static constexpr uint64_t kFrozen = 1ull << 47;
  static constexpr unsigned kTagBits = 14;
  static constexpr unsigned kTagAt = 48;
  static constexpr uint64_t kTagMask = ((1ull << kTagBits) - 1) << kTagAt;
  static constexpr uint64_t kTentative = 1ull << 62;
  static constexpr uint64_t kOccupied = 1ull << 63;
  // Of a link.
  static constexpr uint64_t kNumberMask = (1ull << 48) - 1;
  static constexpr uint64_t kMoved = 1ull << 62;
  static constexpr uint64_t kLinkFrozen = 1ull << 63;

  static constexpr uint64_t kMostBuckets = 1ull << 40;

  /// Occupied and no longer tentative; frozen or not.
  static bool names(uint64_t entry, uint64_t entry_of_hash) {
    return (entry & (kOccupied | kTentative | kTagMask)) == entry_of_hash;
  }

  static Result<std::unique_ptr<HashTable>> create(uint64_t buckets, bool huge_pages);

  uint64_t bucket_count() const { return mask_ + 1; }
  Bucket& bucket(uint64_t hash) const { return buckets_[hash & mask_]; }
  Bucket* next_of(const Bucket& bucket) const {
    const uint64_t number = bucket.link.load(std::memory_order_seq_cst) & kNumberMask;
    return number == 0 ? nullptr : overflow(number);
  }
  /// The number is that of a bucket that was hung on, as a link that was loaded says.
  Bucket* overflow(uint64_t number) const {
    const Place place = place_of(number);
    return chunks_[place.chunk].load(std::memory_order_acquire) + place.offset;
  }
  static bool is_moved(const Bucket& first) {
    return (first.link.load(std::memory_order_acquire) & kMoved) != 0;
  }

  /// Hangs an empty bucket on the last one of a chain, or finds that somebody did, or that the
  /// chain is frozen: look again. False when there is no memory.
  bool append_overflow(Bucket& last);
  uint64_t overflow_count() const { return overflow_used_.load(std::memory_order_acquire); }
  uint64_t memory_bytes() const {
    return (bucket_count() + overflow_capacity_.load(std::memory_order_relaxed)) * sizeof(Bucket);
  }

  /// Before anybody uses the table: as many overflow buckets, empty.
  Result<> make_overflow(uint64_t count);

  // --- growth ---

  /// The table that takes this one's place; null while there is none.
  HashTable* next() const { return next_.load(std::memory_order_acquire); }
  /// Makes sure of the memory that moving everything to `next` may need, also for what is hung on
  /// meanwhile, and makes it the next one.
  Result<> begin_move(std::unique_ptr<HashTable> next);
  /// All is moved: the next table, to be the index's own.
  std::unique_ptr<HashTable> end_move();
  /// For whoever moves: one thread, and the bucket is nobody else's yet.
  void add_moved(uint64_t bucket_number, uint64_t entry);

  /// Entries made or moved here, minus those given up; any thread.
  observability::Counter entries;

 private:
  static constexpr uint64_t kFirstChunk = 1024;
  static constexpr size_t kMostChunks = 36;
  struct Place {
    size_t chunk;
    uint64_t offset;
  };
  static Place place_of(uint64_t number) {
    const uint64_t at = number - 1 + kFirstChunk;
    const auto width = static_cast<size_t>(std::bit_width(at));
    return {width - std::bit_width(kFirstChunk), at - (1ull << (width - 1))};
  }
  bool have_room(uint64_t count) TAILRACE_REQUIRES(mutex_);
  void hang_on(Bucket& last) TAILRACE_REQUIRES(mutex_);

  Bucket* buckets_ = nullptr;
  uint64_t mask_ = 0;
  storage::AlignedBuffer memory_;
  std::atomic<HashTable*> next_{nullptr};
  std::unique_ptr<HashTable> next_owner_;

  std::array<std::atomic<Bucket*>, kMostChunks> chunks_{};
  std::atomic<uint64_t> overflow_used_{0};
  std::atomic<uint64_t> overflow_capacity_{0};
  Mutex mutex_;
  std::array<storage::AlignedBuffer, kMostChunks> chunk_memory_ TAILRACE_GUARDED_BY(mutex_);
  // What the table before this one may still move here; writers leave it alone.
  uint64_t reserved_ TAILRACE_GUARDED_BY(mutex_) = 0;
};

}  // namespace tailrace::kv
