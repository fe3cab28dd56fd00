#pragma once
// The hash index: 64-byte buckets of seven entries and a link to an overflow bucket, after FASTER
// (SIGMOD 2018, section 3). An entry leads to a chain of records whose keys share the bucket and 14
// bits of the hash (the tag), so few chains hold two keys.
//
// An entry is one word:
//    0–46  address of the chain's newest record, in units of 8 bytes; 0 when there is none
//      47  frozen: this bucket is being, or was, moved to the next table; look there
//   48–61  tag
//      62  tentative: being inserted, not to be used yet
//      63  occupied
//
// Growth. The index doubles on line: a second table of twice the buckets is made, and the thread
// that called grow() moves bucket after bucket to it. Moving one freezes its entries first, empty
// ones too, so that no compare-and-swap on them can succeed any more: a tentative insert fails and
// starts again, a writer that held an entry starts again, and both are led to the next table as
// soon as the bucket is marked as moved, which is a microsecond later. Only then is anything of the
// bucket written there. Until then the frozen entries are the truth, and readers go on with them.
// The table is given up when the epoch after the last move is safe.
//
// The tag is the 14 bits of the hash above those that chose the bucket when the store was made
// (tag_shift). So to which of the two new buckets an entry belongs stands in its tag: no record is
// looked at, wherever it is, and a chain moves whole. (FASTER takes the bit from the records, and
// gives both buckets what is on disk; with most of the data on disk its entries double each time.)
// The price: each doubling makes one bit of the tag say what the bucket says already, so chains
// come to hold more keys. Ten doublings leave four bits; the store stops there, fourteen are
// possible.
//
// All calls but grow(), create(), the image's and the counts are made under the engine's epoch
// protection. Any number of threads; no lock but where an overflow bucket is hung on.

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "kv/index/hash_table.h"
#include "kv/log/record.h"
#include "storage/epoch_protection.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#if defined(__SANITIZE_THREAD__)
#define TAILRACE_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TAILRACE_THREAD_SANITIZER
#endif
#endif

namespace tailrace::kv {

class HashIndex {
 public:
  using Slot = HashTable::Slot;
  /// A place in a bucket and the entry that was seen in it.
  struct Found {
    Slot* slot = nullptr;
    uint64_t entry = 0;
  };
  struct Shape {
    uint64_t buckets = 0;    // a power of two
    unsigned tag_shift = 0;  // 2^tag_shift <= buckets <= 2^(tag_shift + 14)
  };
  static Shape new_shape(uint64_t buckets) {
    return {buckets, static_cast<unsigned>(std::countr_zero(buckets))};
  }
  static constexpr unsigned kMostTagShift = 64 - HashTable::kTagBits;

  /// `begin`: where the log begins, asked for by growth under protection: chains end below it.
  /// kResourceExhausted when the system has no memory.
  static Result<std::unique_ptr<HashIndex>> create(Shape shape, bool huge_pages,
                                                   storage::EpochProtection& protection,
                                                   std::function<LogAddress()> begin);
  ~HashIndex();

  /// The bucket's cache line.
  [[gnu::always_inline]] void prefetch(uint64_t hash) const {
    __builtin_prefetch(&current_.load(std::memory_order_acquire)->bucket(hash));
  }
  /// The same, as the first thing an operation does, before it is under protection: neither follows
  /// the table nor needs it to exist. Nothing is promised while the index grows.
  [[gnu::always_inline]] void prefetch_early(uint64_t hash) const {
    const uint64_t offset = (hash & early_mask_.load(std::memory_order_relaxed)) * sizeof(Bucket);
    __builtin_prefetch(early_buckets_.load(std::memory_order_relaxed) + offset);
  }
  /// The newest record's address that an unfrozen entry of the bucket names, 0 when there is none:
  /// for prefetching the record. May be wrong (a race, an overflow bucket); never dereferenced
  /// without a check.
  LogAddress peek(uint64_t hash) const;

  /// slot is null when no chain has the hash's tag.
  Found find(uint64_t hash) const {
    const HashTable* table = current_.load(std::memory_order_acquire);
    const Found found = find_in(table->bucket(hash), entry_of(hash));
    if (found.slot != nullptr) [[likely]]
      return found;
    return find_further(table, hash);
  }

  /// As find(), in the first bucket alone: a null slot says nothing.
  [[gnu::always_inline]] Found find_near(uint64_t hash) const {
    const HashTable* table = current_.load(std::memory_order_acquire);
    return find_in(table->bucket(hash), entry_of(hash));
  }

  /// Makes an entry with an empty chain when there is none. Entries whose chain lies wholly below
  /// `begin`, or is empty, are taken over. slot is null when no memory is left for an overflow
  /// bucket.
  Found find_or_create(uint64_t hash, LogAddress begin);

  /// Replaces the entry's address. False when the entry has changed: start again from the hash.
  static bool replace(const Found& found, LogAddress address) {
    uint64_t expected = found.entry;
    if (found.slot->compare_exchange_strong(expected, with_address(found.entry, address),
                                            std::memory_order_acq_rel)) {
      return true;
    }
    // Frozen: being moved this very moment, by a thread that may be waiting for this processor.
    if ((expected & HashTable::kFrozen) != 0) std::this_thread::yield();
    return false;
  }

  static LogAddress address_of(uint64_t entry) { return (entry & HashTable::kAddressMask) << 3; }
  /// The greatest address an entry can hold.
  static constexpr LogAddress kMostAddress = ((1ull << 47) - 1) << 3;

  unsigned tag_shift() const { return tag_shift_; }
  uint64_t bucket_count() const;
  uint64_t overflow_bucket_count() const;
  /// Entries ever made, minus those taken over: what growth is decided by. A little behind.
  uint64_t entry_count() const;
  uint64_t memory_bytes() const;

  /// Doubles the table; returns when all is moved. Outside protection, one thread at a time, not
  /// while an image is taken. kResourceExhausted when there is no memory, kFailedPrecondition when
  /// the tags have no bit left for it: nothing has changed.
  Result<> grow();
  bool growing() const;

  /// The addresses of all chains of one bucket of the present table; while growing, of none.
  void chains_of(uint64_t bucket, std::vector<LogAddress>& into) const;

  // --- image, for checkpoints (index_image.h has the file) ---

  /// Fuzzy: entries change while it runs. Every entry as it was at some moment between the call's
  /// beginning and its end, without tentative ones. Not while growing. Outside protection; `put`
  /// receives whole buckets, first all of the table, then the overflow buckets in their order.
  Result<> write_image(const std::function<Result<>(ByteSpan buckets)>& put) const;
  /// Into an empty index that nobody uses yet, with as many buckets as the image was taken of.
  /// `get` fills the span.
  Result<> load_image(uint64_t overflow_buckets,
                      const std::function<Result<>(MutableByteSpan buckets)>& get);

 private:
  using Bucket = HashTable::Bucket;

  HashIndex(std::unique_ptr<HashTable> table, unsigned tag_shift, bool huge_pages,
            storage::EpochProtection& protection, std::function<LogAddress()> begin);

  /// An entry of the hash with an empty chain.
  uint64_t entry_of(uint64_t hash) const {
    return HashTable::kOccupied | ((hash >> tag_shift_ << HashTable::kTagAt) & HashTable::kTagMask);
  }
  static uint64_t with_address(uint64_t entry, LogAddress address) {
    return (entry & ~HashTable::kAddressMask) | address >> 3;
  }
  // What is equal in an entry that may be used and the one of its hash.
  static constexpr uint64_t kIdentity =
      HashTable::kOccupied | HashTable::kTentative | HashTable::kFrozen | HashTable::kTagMask;

  // Nearly every entry that is looked for is in the first bucket. All seven are compared without a
  // branch: a branch on the place where the tag stands could not be foretold, and would keep the
  // processor from beginning the next operation's cache misses before this bucket has come.
  [[gnu::always_inline]] static Found find_in(Bucket& bucket, uint64_t wanted) {
    const unsigned matches = likely_matches(bucket, wanted);
    if (matches == 0) return {};
    Slot& slot = bucket.entries[std::countr_zero(matches)];
    const uint64_t entry = slot.load(std::memory_order_acquire);
    if ((entry & kIdentity) != wanted) return {};  // it has just been taken over, or frozen
    return {&slot, entry};
  }
  // A bit for each entry that seems to be the wanted one. A hint, both ways: what is found is
  // looked at again, and what is not is looked for once more by the callers, entry after entry.
#if defined(__SSE2__) && !defined(TAILRACE_THREAD_SANITIZER)
  [[gnu::always_inline]] static unsigned likely_matches(const Bucket& bucket, uint64_t wanted) {
    // The identity stands in the upper halves.
    static_assert(kIdentity << 32 == 0 && offsetof(Bucket, entries) == 0);
    const auto* words = reinterpret_cast<const float*>(&bucket);
    const auto upper = [words](size_t at) {
      return _mm_castps_si128(
          _mm_shuffle_ps(_mm_load_ps(words + at), _mm_load_ps(words + at + 4), 0xdd));
    };
    const __m128i mask = _mm_set1_epi32(static_cast<int>(kIdentity >> 32));
    const __m128i sought = _mm_set1_epi32(static_cast<int>(wanted >> 32));
    const auto equal = [&](__m128i entries) {
      return static_cast<unsigned>(
          _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(_mm_and_si128(entries, mask), sought))));
    };
    return (equal(upper(0)) | equal(upper(8)) << 4) & ((1u << HashTable::kEntries) - 1);
  }
#else
  static unsigned likely_matches(const Bucket& bucket, uint64_t wanted) {
    unsigned matches = 0;
#pragma GCC unroll 7
    for (unsigned at = 0; at < HashTable::kEntries; ++at) {
      const uint64_t entry = bucket.entries[at].load(std::memory_order_relaxed);
      matches |= static_cast<unsigned>((entry & kIdentity) == wanted) << at;
    }
    return matches;
  }
#endif
  Found find_further(const HashTable* table, uint64_t hash) const;
  bool has_rival(const HashTable& table, uint64_t hash, const Slot* mine) const;
  Found find_while_growing(const HashTable* table, uint64_t hash) const;

  void set_early(const HashTable& table);

  // index_growth.cc
  void move_bucket(HashTable& from, HashTable& to, uint64_t number);

  // Where the buckets are is read with every call, and changes once a growth.
  alignas(64) std::atomic<HashTable*> current_;
  const unsigned tag_shift_;
  // Of the table that current_ points to, or of another one for a moment: what is asked for then is
  // of no use, and does no harm.
  std::atomic<const std::byte*> early_buckets_{nullptr};
  std::atomic<uint64_t> early_mask_{0};
  alignas(64) std::atomic<bool> growing_{false};
  std::unique_ptr<HashTable> table_;  // what current_ points to; of the growing thread
  std::vector<uint64_t> moving_;      // the entries of one bucket; of the growing thread
  const bool huge_pages_;
  storage::EpochProtection& protection_;
  const std::function<LogAddress()> begin_;
};

}  // namespace tailrace::kv
