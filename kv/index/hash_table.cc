#include "kv/index/hash_table.h"

#include <utility>

#include "core/check.h"

namespace tailrace::kv {

Result<std::unique_ptr<HashTable>> HashTable::create(uint64_t buckets, bool huge_pages) {
  if (buckets > kMostBuckets) {
    return make_error(ErrorCode::kResourceExhausted, "no index has so many buckets");
  }
  std::unique_ptr<HashTable> table(new HashTable);
  TAILRACE_ASSIGN_OR_RETURN(table->memory_,
                            storage::AlignedBuffer::allocate(buckets * sizeof(Bucket), huge_pages));
  table->buckets_ = reinterpret_cast<Bucket*>(table->memory_.data());
  table->mask_ = buckets - 1;
  return table;
}

bool HashTable::have_room(uint64_t count) {
  while (overflow_capacity_.load(std::memory_order_relaxed) <
         overflow_used_.load(std::memory_order_relaxed) + count) {
    const uint64_t capacity = overflow_capacity_.load(std::memory_order_relaxed);
    const size_t chunk = place_of(capacity + 1).chunk;
    if (chunk >= kMostChunks) return false;
    const uint64_t buckets = kFirstChunk << chunk;
    auto memory = storage::AlignedBuffer::allocate(buckets * sizeof(Bucket));
    if (!memory) return false;
    chunk_memory_[chunk] = std::move(*memory);
    chunks_[chunk].store(reinterpret_cast<Bucket*>(chunk_memory_[chunk].data()),
                         std::memory_order_release);
    overflow_capacity_.store(capacity + buckets, std::memory_order_relaxed);
  }
  return true;
}

void HashTable::hang_on(Bucket& last) {
  const uint64_t number = overflow_used_.load(std::memory_order_relaxed) + 1;
  // Counted first: a number that is in a link is never above the count.
  overflow_used_.store(number, std::memory_order_release);
  uint64_t none = 0;
  // Fails when the chain was frozen. Sequentially consistent with the search for a rival: who does
  // not see the bucket is seen by whoever inserts into it.
  if (!last.link.compare_exchange_strong(none, number, std::memory_order_seq_cst)) {
    overflow_used_.store(number - 1, std::memory_order_release);
  }
}

bool HashTable::append_overflow(Bucket& last) {
  const MutexLock lock(mutex_);
  if (last.link.load(std::memory_order_relaxed) != 0) return true;
  if (!have_room(reserved_ + 1)) return false;
  if (HashTable* const next = next_.load(std::memory_order_relaxed)) {
    // Moving must not run out of memory half way.
    const MutexLock next_lock(next->mutex_);
    if (!next->have_room(next->reserved_ + 2)) return false;
    next->reserved_ += 2;
  }
  hang_on(last);
  return true;
}

Result<> HashTable::make_overflow(uint64_t count) {
  const MutexLock lock(mutex_);
  if (!have_room(count)) {
    return make_error(ErrorCode::kResourceExhausted, "no memory for the index");
  }
  overflow_used_.store(count, std::memory_order_release);
  return {};
}

Result<> HashTable::begin_move(std::unique_ptr<HashTable> next) {
  const MutexLock lock(mutex_);
  // A bucket's entries go to two chains, neither longer than the one they come from.
  const uint64_t reserve = 2 * overflow_used_.load(std::memory_order_relaxed);
  {
    const MutexLock next_lock(next->mutex_);
    if (!next->have_room(reserve)) {
      return make_error(ErrorCode::kResourceExhausted, "no memory for a larger index");
    }
    next->reserved_ = reserve;
  }
  next_owner_ = std::move(next);
  next_.store(next_owner_.get(), std::memory_order_release);
  return {};
}

std::unique_ptr<HashTable> HashTable::end_move() {
  const MutexLock lock(next_owner_->mutex_);
  next_owner_->reserved_ = 0;
  return std::move(next_owner_);
}

void HashTable::add_moved(uint64_t bucket_number, uint64_t entry) {
  for (Bucket* bucket = &buckets_[bucket_number];; bucket = next_of(*bucket)) {
    for (Slot& slot : bucket->entries) {
      if (slot.load(std::memory_order_relaxed) != 0) continue;
      slot.store(entry, std::memory_order_release);
      entries.add();
      return;
    }
    if (next_of(*bucket) != nullptr) continue;
    const MutexLock lock(mutex_);
    TAILRACE_CHECK(reserved_ > 0, "a chain of buckets became longer as it was moved");
    --reserved_;
    hang_on(*bucket);
  }
}

}  // namespace tailrace::kv
