// Compaction: the live records of the log's oldest page are copied to the tail, then the page is
// given back. Whether a record is live is found out by looking its key up. Run by the writers, in
// pieces proportional to what they write, and by a writer that found the memory full.

#include <algorithm>

#include "kv/engine.h"

namespace tailrace::kv {

namespace {
// A piece of work that a writer does beside its own.
constexpr uint64_t kPieceBytes = 16 * 1024;
constexpr uint64_t kDecisionBytes = 64 * 1024;
}  // namespace

uint64_t Engine::garbage_bytes() const {
  const uint64_t used = log_->used_bytes();
  const uint64_t kept = live_bytes() + log_->waste_bytes();
  return used > kept ? used - kept : 0;
}

// Called once a new record; it thinks once kDecisionBytes.
void Engine::decide_compaction() {
  const LogAddress tail = log_->tail();
  if (tail < next_decision_.load(std::memory_order_relaxed)) return;
  next_decision_.store(tail + kDecisionBytes, std::memory_order_relaxed);
  const uint64_t used = log_->used_bytes();
  const uint64_t capacity = log_->capacity_bytes();
  if (used < capacity / 2) return;
  if (compaction_wanted_.load(std::memory_order_relaxed)) return;
  if (compaction_held_.load(std::memory_order_relaxed)) return;
  const uint64_t garbage = garbage_bytes();
  if (garbage > used / 2 || (used > capacity / 4 * 3 && garbage > capacity / 16)) {
    compaction_wanted_.store(true, std::memory_order_relaxed);
  }
}

void Engine::hold_compaction() {
  const uint64_t capacity = log_->capacity_bytes();
  uint64_t pages = capacity / log_->page_bytes() + 1;
  for (;;) {
    // A page at a time: writers that need space wait for the mutex.
    const std::lock_guard lock(compaction_mutex_);
    log_->reclaim(true);
    const bool tidy = log_->used_bytes() + live_bytes() <= capacity - capacity / 8 ||
                      garbage_bytes() < log_->page_bytes() / 8;
    // What is moved of a page that is not released yet is there twice: it is ended in any case.
    const bool enough = !page_opened_ && (tidy || pages == 0);
    if (pages > 0) --pages;
    if (enough || !compact_first_page(UINT64_MAX)) {
      compaction_held_.store(true, std::memory_order_relaxed);
      hold_broken_ = false;
      return;
    }
  }
}

bool Engine::release_compaction() {
  const std::lock_guard lock(compaction_mutex_);
  compaction_held_.store(false, std::memory_order_relaxed);
  return !hold_broken_;
}

void Engine::compact_a_little() {
  const std::unique_lock lock(compaction_mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return;
  if (compaction_held_.load(std::memory_order_relaxed)) {
    compaction_wanted_.store(false, std::memory_order_relaxed);
    return;
  }
  log_->reclaim(false);
  const bool progress = compact_first_page(kPieceBytes);
  const uint64_t garbage = garbage_bytes();
  const uint64_t capacity = log_->capacity_bytes();
  if (!progress || garbage < capacity / 32 ||
      (log_->used_bytes() < capacity / 2 && garbage < log_->used_bytes() / 2)) {
    compaction_wanted_.store(false, std::memory_order_relaxed);
  }
}

bool Engine::make_space(uint64_t bytes, bool break_hold) {
  const std::lock_guard lock(compaction_mutex_);
  // To move everything and win nothing is the worst case: it is tried only where there is something
  // to win.
  const auto worthwhile = [&] {
    return garbage_bytes() >= std::max(bytes, log_->page_bytes() / 8);
  };
  const auto fits = [&] {
    log_->reclaim(true);
    return log_->has_room(bytes);
  };
  if (fits()) return true;
  if (compaction_held_.load(std::memory_order_relaxed)) {
    if (!break_hold || !worthwhile()) return false;
    compaction_held_.store(false, std::memory_order_relaxed);
    hold_broken_ = true;
  }
  // Each page is looked at once. A page begun is ended in any case: its records may not be written
  // in place, so nobody could update or delete them while memory is full.
  uint64_t pages = log_->capacity_bytes() / log_->page_bytes() + 1;
  while (pages-- > 0 && (page_opened_ || worthwhile())) {
    if (!compact_first_page(UINT64_MAX)) break;
    if (fits()) return true;
  }
  return false;
}

// Moves up to `budget_bytes` of the first page, and releases the page at its end. False when
// nothing can be done: the tail is in that page, or a copy found no room.
bool Engine::compact_first_page(uint64_t budget_bytes) {
  const auto end = log_->end_of_first_page();
  if (!end) return false;
  if (!page_opened_) {
    // Whoever allocated in the page has written its record once this epoch is safe, and nobody
    // revives in place a tombstone that has been passed over.
    log_->freeze(*end);
    page_safe_epoch_ = protection_.bump();
    page_opened_ = true;
    compaction_at_ = log_->begin();
  }
  if (budget_bytes == UINT64_MAX) protection_.wait_safe(page_safe_epoch_);
  if (!protection_.is_safe(page_safe_epoch_)) return true;

  uint64_t done = 0;
  while (compaction_at_ < *end && done < budget_bytes) {
    const storage::EpochProtection::Guard guard(protection_);
    const uint64_t bytes = log_->record(compaction_at_)->bytes();
    if (!compact_record(compaction_at_)) return false;
    compaction_at_ += bytes;
    done += bytes;
  }
  if (compaction_at_ >= *end) {
    page_opened_ = false;
    log_->release_first_page();
    log_->reclaim(false);
    probe_.released_pages.add();
  }
  return true;
}

// False when there is no room for the copy. One copy is made, however often the head of the chain
// moves meanwhile: what is copied of a page must fit into a page.
bool Engine::compact_record(LogAddress address) {
  Record& record = *log_->record(address);
  // A tombstone needs no copy: whatever it hides is below it, and goes with it at the latest.
  constexpr uint64_t kNotWanted =
      Record::kAbandoned | Record::kSealed | Record::kSnapshotOnly | Record::kTombstone;
  if ((record.state.load(std::memory_order_acquire) & kNotWanted) != 0) return true;
  const HashedKey key(record.key());

  // Who writes the key must lock its newest record first: locked, this one stays what it is, and
  // only writers of other keys in the chain can be in the way.
  const uint64_t was = record.lock();
  LogAddress copy = 0;
  bool moved = false;
  bool room = true;
  while (!moved && (was & kNotWanted) == 0) {
    const HashIndex::Found found = index_->find(key.hash);
    if (found.slot == nullptr) break;
    const LogAddress head = HashIndex::address_of(found.entry);
    if (find_key(head, log_->begin(), key.bytes) != address) break;
    const LogAddress previous = head == address ? record.previous : head;
    if (copy == 0) {
      const ByteSpan value{reinterpret_cast<const std::byte*>(record.words()),
                           record.value_bytes.load(std::memory_order_relaxed)};
      copy = append(previous, 0, record.version, key.bytes, &value, HybridLog::Purpose::kCompact);
      room = copy != 0;
      if (!room) break;
    } else {
      log_->record(copy)->previous = previous;
    }
    moved = HashIndex::replace(found, copy);
  }
  record.unlock(was, Record::flags_of(was) | (moved ? Record::kSealed : 0));
  if (!moved) {
    if (copy != 0) abandon(copy);
    return room;
  }
  const uint64_t copied = log_->record(copy)->bytes();
  count(0, static_cast<int64_t>(copied) - static_cast<int64_t>(record.bytes()));
  probe_.compacted_records.add();
  probe_.compacted_bytes.add(copied);
  return true;
}

}  // namespace tailrace::kv
