#include "kv/index/hash_index.h"

#include <algorithm>
#include <bit>
#include <thread>
#include <utility>

#include "core/check.h"

namespace tailrace::kv {

namespace {
constexpr uint64_t kFrozen = HashTable::kFrozen;
constexpr uint64_t kTentative = HashTable::kTentative;
constexpr uint64_t kOccupied = HashTable::kOccupied;
}  // namespace

HashIndex::HashIndex(std::unique_ptr<HashTable> table, unsigned tag_shift, bool huge_pages,
                     storage::EpochProtection& protection, std::function<LogAddress()> begin)
    : current_(table.get()),
      tag_shift_(tag_shift),
      table_(std::move(table)),
      huge_pages_(huge_pages),
      protection_(protection),
      begin_(std::move(begin)) {
  set_early(*table_);
}

void HashIndex::set_early(const HashTable& table) {
  early_buckets_.store(reinterpret_cast<const std::byte*>(&table.bucket(0)),
                       std::memory_order_relaxed);
  early_mask_.store(table.bucket_count() - 1, std::memory_order_relaxed);
}

HashIndex::~HashIndex() = default;

Result<std::unique_ptr<HashIndex>> HashIndex::create(Shape shape, bool huge_pages,
                                                     storage::EpochProtection& protection,
                                                     std::function<LogAddress()> begin) {
  const auto bits = static_cast<unsigned>(std::countr_zero(shape.buckets));
  TAILRACE_CHECK(shape.tag_shift <= std::min(bits, kMostTagShift) &&
                     bits <= shape.tag_shift + HashTable::kTagBits,
                 "tags that do not fit the buckets");
  auto table = HashTable::create(shape.buckets, huge_pages);
  if (!table) return tl::unexpected(with_context("the hash index", std::move(table.error())));
  return std::unique_ptr<HashIndex>(
      new HashIndex(std::move(*table), shape.tag_shift, huge_pages, protection, std::move(begin)));
}

LogAddress HashIndex::peek(uint64_t hash) const {
  return address_of(
      find_in(current_.load(std::memory_order_acquire)->bucket(hash), entry_of(hash)).entry);
}

// Not in the first bucket.
HashIndex::Found HashIndex::find_further(const HashTable* table, uint64_t hash) const {
  const uint64_t wanted = entry_of(hash);
  uint64_t seen = 0;
  for (Bucket* bucket = &table->bucket(hash); bucket != nullptr; bucket = table->next_of(*bucket)) {
    for (Slot& slot : bucket->entries) {
      const uint64_t entry = slot.load(std::memory_order_acquire);
      if ((entry & kIdentity) == wanted) return {&slot, entry};
      seen |= entry;
    }
  }
  // Without a frozen entry the bucket was not moved when the search began: what was there then has
  // been met, for an entry never changes its place within a table.
  if ((seen & kFrozen) == 0) [[likely]]
    return {};
  return find_while_growing(table, hash);
}

HashIndex::Found HashIndex::find_while_growing(const HashTable* table, uint64_t hash) const {
  const uint64_t wanted = entry_of(hash);
  for (;; table = table->next()) {
    Bucket& first = table->bucket(hash);
    Found found;
    uint64_t seen = 0;
    for (Bucket* bucket = &first; bucket != nullptr; bucket = table->next_of(*bucket)) {
      for (Slot& slot : bucket->entries) {
        const uint64_t entry = slot.load(std::memory_order_acquire);
        if (HashTable::names(entry, wanted)) found = {&slot, entry};
        seen |= entry;
      }
    }
    if (found.slot != nullptr && (found.entry & kFrozen) == 0) return found;
    if ((seen & kFrozen) == 0) return {};
    if (!HashTable::is_moved(first)) {
      // Nothing of the bucket has been written in the next table yet. Without the mark it can be
      // read, and replace() fails.
      found.entry &= ~kFrozen;
      return found;
    }
  }
}

HashIndex::Found HashIndex::find_or_create(uint64_t hash, LogAddress begin) {
  const uint64_t wanted = entry_of(hash);
  HashTable* table = current_.load(std::memory_order_acquire);
  if (const Found found = find_in(table->bucket(hash), wanted); found.slot != nullptr) [[likely]]
    return found;
  for (uint32_t round = 0;; ++round) {
    if (round > 16) std::this_thread::yield();
    Bucket& first = table->bucket(hash);
    Found free;
    bool in_progress = false;
    uint64_t seen = 0;
    Bucket* last = nullptr;
    for (Bucket* bucket = &first; bucket != nullptr; bucket = table->next_of(*bucket)) {
      last = bucket;
      for (Slot& slot : bucket->entries) {
        const uint64_t entry = slot.load(std::memory_order_acquire);
        if ((entry & kIdentity) == wanted) return {&slot, entry};
        seen |= entry;
        if ((entry & (kIdentity & ~kTentative)) == wanted) in_progress = true;
        // Whoever still holds the stale entry will find it changed when it replaces the address.
        const LogAddress head = address_of(entry);
        const bool usable = (entry & kTentative) == 0 && (head == 0 || head < begin);
        if (free.slot == nullptr && usable) free = {&slot, entry};
      }
    }
    if ((seen & kFrozen) != 0) [[unlikely]] {
      // Being moved, or moved.
      if (HashTable::is_moved(first)) {
        table = table->next();
        round = 0;
      }
      continue;
    }
    if (in_progress) continue;
    if (free.slot == nullptr) {
      if (!table->append_overflow(*last)) return {};
      continue;
    }
    // Two threads may insert one tag into two free slots. Each announces it first and then looks
    // again: at least the later one sees the other and gives way. The last step fails when the slot
    // was frozen meanwhile; a tentative entry is not moved.
    uint64_t expected = free.entry;
    if (!free.slot->compare_exchange_strong(expected, wanted | kTentative,
                                            std::memory_order_seq_cst)) {
      continue;
    }
    const bool was_occupied = (free.entry & kOccupied) != 0;
    expected = wanted | kTentative;
    if (has_rival(*table, hash, free.slot)) {
      if (free.slot->compare_exchange_strong(expected, 0, std::memory_order_seq_cst) &&
          was_occupied) {
        table->entries.add(UINT64_MAX);
      }
      continue;
    }
    if (!free.slot->compare_exchange_strong(expected, wanted, std::memory_order_seq_cst)) continue;
    if (!was_occupied) table->entries.add();
    return {free.slot, wanted};
  }
}

bool HashIndex::has_rival(const HashTable& table, uint64_t hash, const Slot* mine) const {
  const uint64_t wanted = entry_of(hash);
  for (Bucket* bucket = &table.bucket(hash); bucket != nullptr; bucket = table.next_of(*bucket)) {
    for (const Slot& slot : bucket->entries) {
      if (&slot == mine) continue;
      const uint64_t entry = slot.load(std::memory_order_seq_cst);
      if ((entry & (kOccupied | HashTable::kTagMask)) == wanted) return true;
    }
  }
  return false;
}

// The counts are asked for by threads that are not in a session's call; the table must not go away
// under them.

uint64_t HashIndex::bucket_count() const {
  const storage::EpochProtection::Guard guard(protection_);
  return current_.load(std::memory_order_acquire)->bucket_count();
}

uint64_t HashIndex::overflow_bucket_count() const {
  const storage::EpochProtection::Guard guard(protection_);
  return current_.load(std::memory_order_acquire)->overflow_count();
}

uint64_t HashIndex::entry_count() const {
  const storage::EpochProtection::Guard guard(protection_);
  return current_.load(std::memory_order_acquire)->entries.value();
}

uint64_t HashIndex::memory_bytes() const {
  const storage::EpochProtection::Guard guard(protection_);
  const HashTable* table = current_.load(std::memory_order_acquire);
  const HashTable* next = table->next();
  return table->memory_bytes() + (next != nullptr ? next->memory_bytes() : 0);
}

bool HashIndex::growing() const {
  return growing_.load(std::memory_order_acquire);
}

void HashIndex::chains_of(uint64_t bucket_number, std::vector<LogAddress>& into) const {
  into.clear();
  const HashTable* table = current_.load(std::memory_order_acquire);
  if (bucket_number >= table->bucket_count()) return;
  for (Bucket* bucket = &table->bucket(bucket_number); bucket != nullptr;
       bucket = table->next_of(*bucket)) {
    for (Slot& slot : bucket->entries) {
      const uint64_t entry = slot.load(std::memory_order_acquire);
      if ((entry & kFrozen) != 0) {
        into.clear();
        return;
      }
      if (address_of(entry) != 0) into.push_back(address_of(entry));
    }
  }
}

}  // namespace tailrace::kv
