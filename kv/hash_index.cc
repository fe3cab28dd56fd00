#include "kv/hash_index.h"

#include <thread>

namespace tailrace::kv {

Result<std::unique_ptr<HashIndex>> HashIndex::create(uint64_t buckets, bool huge_pages) {
  std::unique_ptr<HashIndex> index(new HashIndex);
  auto memory = storage::AlignedBuffer::allocate(buckets * sizeof(Bucket), huge_pages);
  if (!memory) return tl::unexpected(with_context("the hash index", memory.error()));
  index->memory_ = std::move(*memory);
  index->buckets_ = reinterpret_cast<Bucket*>(index->memory_.data());
  index->mask_ = buckets - 1;
  index->chunks_ = std::make_unique<std::atomic<Bucket*>[]>(kMostChunks);
  return index;
}

HashIndex::Found HashIndex::find(uint64_t hash) const {
  const uint64_t tag = tag_bits(hash);
  for (Bucket* bucket = &buckets_[hash & mask_]; bucket != nullptr; bucket = next_of(*bucket)) {
    for (Slot& slot : bucket->entries) {
      const uint64_t entry = slot.load(std::memory_order_acquire);
      if (has_tag(entry, tag) && (entry & kTentative) == 0) return {&slot, entry};
    }
  }
  return {};
}

HashIndex::Found HashIndex::find_or_create(uint64_t hash, LogAddress begin) {
  const uint64_t tag = tag_bits(hash);
  for (uint32_t round = 0;; ++round) {
    if (round > 16) std::this_thread::yield();
    Found free;
    bool in_progress = false;
    Bucket* last = nullptr;
    for (Bucket* bucket = &buckets_[hash & mask_]; bucket != nullptr; bucket = next_of(*bucket)) {
      last = bucket;
      for (Slot& slot : bucket->entries) {
        const uint64_t entry = slot.load(std::memory_order_acquire);
        if (has_tag(entry, tag)) {
          if ((entry & kTentative) == 0) return {&slot, entry};
          in_progress = true;
        }
        // Whoever still holds the stale entry will find it changed when it replaces the address.
        const LogAddress head = address_of(entry);
        const bool usable = (entry & kTentative) == 0 && (head == 0 || head < begin);
        if (free.slot == nullptr && usable) free = {&slot, entry};
      }
    }
    if (in_progress) continue;
    if (free.slot == nullptr) {
      if (!append_overflow(*last)) return {};
      continue;
    }
    // Two threads may insert one tag into two free slots. Each announces it first and then looks
    // again: at least the later one sees the other and gives way.
    uint64_t expected = free.entry;
    if (!free.slot->compare_exchange_strong(expected, kOccupied | kTentative | tag,
                                            std::memory_order_seq_cst)) {
      continue;
    }
    if (has_rival(hash, free.slot)) {
      free.slot->store(0, std::memory_order_seq_cst);
      continue;
    }
    free.slot->store(kOccupied | tag, std::memory_order_release);
    return {free.slot, kOccupied | tag};
  }
}

bool HashIndex::has_rival(uint64_t hash, const Slot* mine) const {
  const uint64_t tag = tag_bits(hash);
  for (Bucket* bucket = &buckets_[hash & mask_]; bucket != nullptr; bucket = next_of(*bucket)) {
    for (const Slot& slot : bucket->entries) {
      if (&slot != mine && has_tag(slot.load(std::memory_order_seq_cst), tag)) return true;
    }
  }
  return false;
}

bool HashIndex::append_overflow(Bucket& last) {
  const std::lock_guard lock(chunk_mutex_);
  if (last.overflow.load(std::memory_order_relaxed) != 0) return true;
  const uint64_t number = overflow_used_.load(std::memory_order_relaxed);
  const uint64_t chunk = number / kChunkBuckets;
  if (chunk >= kMostChunks) return false;
  if (chunks_[chunk].load(std::memory_order_relaxed) == nullptr) {
    auto memory = storage::AlignedBuffer::allocate(kChunkBuckets * sizeof(Bucket));
    if (!memory) return false;
    chunks_[chunk].store(reinterpret_cast<Bucket*>(memory->data()), std::memory_order_release);
    chunk_memory_.push_back(std::move(*memory));
  }
  overflow_used_.store(number + 1, std::memory_order_relaxed);
  last.overflow.store(number, std::memory_order_seq_cst);
  return true;
}

void HashIndex::chains_of(uint64_t bucket_number, std::vector<LogAddress>& into) const {
  into.clear();
  for (Bucket* bucket = &buckets_[bucket_number]; bucket != nullptr; bucket = next_of(*bucket)) {
    for (Slot& slot : bucket->entries) {
      const uint64_t entry = slot.load(std::memory_order_acquire);
      if (address_of(entry) != 0) into.push_back(address_of(entry));
    }
  }
}

}  // namespace tailrace::kv
