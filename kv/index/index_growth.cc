// Doubling the index on line, and its image for checkpoints.

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "kv/index/hash_index.h"

namespace tailrace::kv {

namespace {
// Buckets that are moved without leaving protection, for that holds up eviction.
constexpr uint64_t kChunkBuckets = 64;
constexpr size_t kImagePieceBuckets = 8192;
}  // namespace

Result<> HashIndex::grow() {
  HashTable& from = *table_;
  if (from.bucket_count() >> tag_shift_ >> HashTable::kTagBits != 0) {
    return make_error(ErrorCode::kFailedPrecondition,
                      "the index has grown 2^14-fold: its tags have no bit left to grow by");
  }
  auto next = HashTable::create(from.bucket_count() * 2, huge_pages_);
  if (!next) return tl::unexpected(with_context("a larger hash index", std::move(next.error())));
  HashTable& to = **next;
  TAILRACE_RETURN_IF_ERROR(from.begin_move(std::move(*next)));
  growing_.store(true, std::memory_order_release);
  for (uint64_t chunk = 0; chunk < from.bucket_count(); chunk += kChunkBuckets) {
    const storage::EpochProtection::Guard guard(protection_);
    const uint64_t end = std::min(chunk + kChunkBuckets, from.bucket_count());
    for (uint64_t number = chunk; number < end; ++number) {
      move_bucket(from, to, number);
    }
  }
  current_.store(&to, std::memory_order_seq_cst);
  set_early(to);
  const std::unique_ptr<HashTable> old = std::exchange(table_, from.end_move());
  // Threads that came in earlier may still be on their way through the old table.
  protection_.wait_safe(protection_.bump());
  growing_.store(false, std::memory_order_release);
  return {};
}

void HashIndex::move_bucket(HashTable& from, HashTable& to, uint64_t number) {
  // Which entries there are is known when all are frozen: until then a writer may still come in.
  const LogAddress begin = std::max<LogAddress>(begin_(), 1);
  moving_.clear();
  Bucket& first = from.bucket(number);
  for (Bucket* bucket = &first; bucket != nullptr;) {
    for (Slot& slot : bucket->entries) {
      const uint64_t entry = slot.fetch_or(HashTable::kFrozen, std::memory_order_acq_rel);
      if ((entry & HashTable::kOccupied) == 0 || (entry & HashTable::kTentative) != 0) continue;
      // An empty chain, or one that is gone: who holds the entry will make a new one.
      if (address_of(entry) >= begin) moving_.push_back(entry);
    }
    const uint64_t link = bucket->link.fetch_or(HashTable::kLinkFrozen, std::memory_order_acq_rel);
    const uint64_t overflow = link & HashTable::kNumberMask;
    bucket = overflow == 0 ? nullptr : from.overflow(overflow);
  }
  // The bit of the hash that chooses the side is in the tag.
  const uint64_t side_bit = (from.bucket_count() >> tag_shift_) << HashTable::kTagAt;
  for (const uint64_t entry : moving_) {
    to.add_moved((entry & side_bit) != 0 ? number + from.bucket_count() : number, entry);
  }
  first.link.fetch_or(HashTable::kMoved, std::memory_order_acq_rel);
}

namespace {

uint64_t clean(uint64_t entry) {
  if ((entry & HashTable::kOccupied) == 0 || (entry & HashTable::kTentative) != 0) return 0;
  return entry & ~HashTable::kFrozen;
}

}  // namespace

// An overflow bucket that is hung on while the table's own buckets are copied is in the image; one
// that comes later holds entries that were made after the call began, and is left out.
Result<> HashIndex::write_image(const std::function<Result<>(ByteSpan buckets)>& put) const {
  const HashTable& table = *current_.load(std::memory_order_acquire);
  TAILRACE_CHECK(table.next() == nullptr, "an image of an index that grows");
  constexpr size_t kWords = HashTable::kEntries + 1;
  std::vector<uint64_t> words(kImagePieceBuckets * kWords);
  const auto write = [&](uint64_t first, uint64_t end, uint64_t most_link,
                         const auto& bucket_of) -> Result<> {
    while (first < end) {
      const uint64_t count = std::min<uint64_t>(kImagePieceBuckets, end - first);
      uint64_t* word = words.data();
      for (uint64_t number = first; number < first + count; ++number) {
        const Bucket& bucket = bucket_of(number);
        for (const Slot& slot : bucket.entries) {
          *word++ = clean(slot.load(std::memory_order_acquire));
        }
        const uint64_t link = bucket.link.load(std::memory_order_acquire) & HashTable::kNumberMask;
        *word++ = link <= most_link ? link : 0;
      }
      TAILRACE_RETURN_IF_ERROR(put(std::as_bytes(std::span(words.data(), count * kWords))));
      first += count;
    }
    return {};
  };
  TAILRACE_RETURN_IF_ERROR(
      write(0, table.bucket_count(), UINT64_MAX,
            [&](uint64_t number) -> const Bucket& { return table.bucket(number); }));
  const uint64_t overflow = table.overflow_count();
  return write(1, overflow + 1, overflow,
               [&](uint64_t number) -> const Bucket& { return *table.overflow(number); });
}

Result<> HashIndex::load_image(uint64_t overflow_buckets,
                               const std::function<Result<>(MutableByteSpan buckets)>& get) {
  HashTable& table = *table_;
  TAILRACE_RETURN_IF_ERROR(table.make_overflow(overflow_buckets));
  constexpr size_t kWords = HashTable::kEntries + 1;
  std::vector<uint64_t> words(kImagePieceBuckets * kWords);
  std::vector<bool> linked(overflow_buckets + 1);
  const auto damaged = [] {
    return make_error(ErrorCode::kCorruption, "the index image's buckets do not hang together");
  };
  const auto read = [&](uint64_t first, uint64_t end, const auto& bucket_of) -> Result<> {
    while (first < end) {
      const uint64_t count = std::min<uint64_t>(kImagePieceBuckets, end - first);
      const std::span piece(words.data(), count * kWords);
      TAILRACE_RETURN_IF_ERROR(get(std::as_writable_bytes(piece)));
      const uint64_t* word = words.data();
      for (uint64_t number = first; number < first + count; ++number) {
        Bucket& bucket = bucket_of(number);
        for (Slot& slot : bucket.entries) {
          slot.store(clean(*word++), std::memory_order_relaxed);
        }
        const uint64_t link = *word++ & HashTable::kNumberMask;
        if (link > overflow_buckets || (link != 0 && linked[link])) return damaged();
        if (link != 0) linked[link] = true;
        bucket.link.store(link, std::memory_order_relaxed);
      }
      first += count;
    }
    return {};
  };
  TAILRACE_RETURN_IF_ERROR(read(0, table.bucket_count(),
                                [&](uint64_t number) -> Bucket& { return table.bucket(number); }));
  TAILRACE_RETURN_IF_ERROR(read(1, overflow_buckets + 1, [&](uint64_t number) -> Bucket& {
    return *table.overflow(number);
  }));

  // A tag that lost its place to another one and got a second while the image was taken may be
  // there twice. The greater address is the newer one; the other chain was below the log's
  // beginning.
  uint64_t entries = 0;
  std::vector<Slot*> slots;
  for (uint64_t number = 0; number < table.bucket_count(); ++number) {
    slots.clear();
    for (Bucket* bucket = &table.bucket(number); bucket != nullptr;
         bucket = table.next_of(*bucket)) {
      for (Slot& slot : bucket->entries) {
        if (slot.load(std::memory_order_relaxed) != 0) slots.push_back(&slot);
      }
    }
    std::sort(slots.begin(), slots.end(), [](const Slot* left, const Slot* right) {
      return left->load(std::memory_order_relaxed) > right->load(std::memory_order_relaxed);
    });
    uint64_t last = 0;
    for (Slot* slot : slots) {
      const uint64_t tag = slot->load(std::memory_order_relaxed) & HashTable::kTagMask;
      const bool again = slot != slots.front() && tag == last;
      last = tag;
      if (again) {
        slot->store(0, std::memory_order_relaxed);
      } else {
        ++entries;
      }
    }
  }
  table.entries.add(entries);
  return {};
}

}  // namespace tailrace::kv
