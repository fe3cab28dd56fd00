#pragma once
// The hash index: 64-byte buckets of seven entries and a link to an overflow bucket, after FASTER
// (SIGMOD 2018, section 3). An entry leads to a chain of records whose keys share the bucket and 14
// more bits of the hash (the tag), so few chains hold two keys.
//
// An entry is one word:
//    0–47  address of the chain's newest record, in units of 8 bytes; 0 when there is none
//   48–61  tag
//      62  tentative: being inserted, not to be used yet
//      63  occupied
//
// All calls are made under the engine's epoch protection. No lock but where an overflow chunk is
// made; any number of threads.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/result.h"
#include "kv/record.h"
#include "storage/aligned_buffer.h"

namespace tailrace::kv {

class HashIndex {
 public:
  using Slot = std::atomic<uint64_t>;
  /// A place in a bucket and the entry that was seen in it.
  struct Found {
    Slot* slot = nullptr;
    uint64_t entry = 0;
  };

  /// `buckets`: a power of two. kResourceExhausted when the system has no memory for them.
  static Result<std::unique_ptr<HashIndex>> create(uint64_t buckets, bool huge_pages);

  void prefetch(uint64_t hash) const { __builtin_prefetch(&buckets_[hash & mask_]); }

  /// slot is null when no chain has the hash's tag.
  Found find(uint64_t hash) const;

  /// Makes an entry with an empty chain when there is none. Entries whose chain lies wholly below
  /// `begin`, or is empty, are taken over. slot is null when no memory is left for an overflow
  /// bucket.
  Found find_or_create(uint64_t hash, LogAddress begin);

  /// Replaces the entry's address. False when the entry has changed: start again from the hash.
  static bool replace(const Found& found, LogAddress address) {
    uint64_t expected = found.entry;
    return found.slot->compare_exchange_strong(expected, with_address(found.entry, address),
                                               std::memory_order_acq_rel);
  }

  static LogAddress address_of(uint64_t entry) { return (entry & kAddressMask) << 3; }
  /// The greatest address an entry can hold.
  static constexpr LogAddress kMostAddress = ((1ull << 48) - 1) << 3;

  uint64_t bucket_count() const { return mask_ + 1; }
  uint64_t overflow_bucket_count() const {
    return overflow_used_.load(std::memory_order_relaxed) - 1;
  }
  /// The addresses of all chains of one bucket.
  void chains_of(uint64_t bucket, std::vector<LogAddress>& into) const;

 private:
  static constexpr size_t kEntries = 7;
  static constexpr uint64_t kAddressMask = (1ull << 48) - 1;
  static constexpr uint64_t kTagShift = 48;
  static constexpr uint64_t kTagMask = (1ull << 14) - 1;
  static constexpr uint64_t kTentative = 1ull << 62;
  static constexpr uint64_t kOccupied = 1ull << 63;

  struct Bucket {
    Slot entries[kEntries];
    std::atomic<uint64_t> overflow;  // number of an overflow bucket, 0: none
  };
  static_assert(sizeof(Bucket) == 64);

  static uint64_t tag_bits(uint64_t hash) { return (hash >> 50 & kTagMask) << kTagShift; }
  static uint64_t with_address(uint64_t entry, LogAddress address) {
    return (entry & ~kAddressMask) | address >> 3;
  }
  /// Compares tag and occupied, whatever the address and the tentative bit.
  static bool has_tag(uint64_t entry, uint64_t tag) {
    return (entry & (kOccupied | kTagMask << kTagShift)) == (kOccupied | tag);
  }

  static constexpr uint64_t kChunkBuckets = 4096;
  static constexpr uint64_t kMostChunks = 1u << 16;

  HashIndex() = default;
  Bucket* overflow_bucket(uint64_t number) const {
    return &chunks_[number / kChunkBuckets].load(std::memory_order_acquire)[number % kChunkBuckets];
  }
  // Sequentially consistent as the announcements are: a thread that looks for rivals does not miss
  // the bucket that one of them has just added.
  Bucket* next_of(const Bucket& bucket) const {
    const uint64_t number = bucket.overflow.load(std::memory_order_seq_cst);
    return number == 0 ? nullptr : overflow_bucket(number);
  }
  bool append_overflow(Bucket& last);
  bool has_rival(uint64_t hash, const Slot* mine) const;

  storage::AlignedBuffer memory_;
  Bucket* buckets_ = nullptr;
  uint64_t mask_ = 0;

  std::atomic<uint64_t> overflow_used_{1};  // number 0 means none
  std::unique_ptr<std::atomic<Bucket*>[]> chunks_;
  std::mutex chunk_mutex_;
  std::vector<storage::AlignedBuffer> chunk_memory_;  // guarded by chunk_mutex_
};

}  // namespace tailrace::kv
