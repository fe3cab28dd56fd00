#include "history/block_cache.h"

#include <iterator>
#include <utility>

namespace tailrace::history {

uint64_t BlockCache::next_file() {
  const MutexLock lock(mutex_);
  return ++files_;
}

std::shared_ptr<const void> BlockCache::find_any(Key key) {
  const MutexLock lock(mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  kept_.splice(kept_.begin(), kept_, found->second);
  return found->second->block;
}

void BlockCache::put(uint64_t file, uint64_t at, std::shared_ptr<const void> block, size_t bytes) {
  if (bytes > most_bytes_ / 4) return;
  const MutexLock lock(mutex_);
  const Key key{file, at};
  // Two threads may have read the same one.
  if (by_key_.contains(key)) return;
  kept_.push_front({key, std::move(block), bytes});
  by_key_.emplace(key, kept_.begin());
  bytes_ += bytes;
  while (bytes_ > most_bytes_)
    remove(std::prev(kept_.end()));
}

void BlockCache::forget(uint64_t file) {
  const MutexLock lock(mutex_);
  for (auto kept = kept_.begin(); kept != kept_.end();) {
    const auto next = std::next(kept);
    if (kept->key.file == file) remove(kept);
    kept = next;
  }
}

void BlockCache::remove(List::iterator kept) {
  bytes_ -= kept->bytes;
  by_key_.erase(kept->key);
  kept_.erase(kept);
}

size_t BlockCache::bytes() const {
  const MutexLock lock(mutex_);
  return bytes_;
}

}  // namespace tailrace::history
