#include "kv/engine/engine.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/check.h"

namespace tailrace::kv {

namespace {
uint64_t sum_of(const tailrace::Counter (&counters)[2]) {
  const uint64_t sum = counters[0].value() + counters[1].value();
  return static_cast<uint64_t>(std::max<int64_t>(0, static_cast<int64_t>(sum)));
}
}  // namespace

uint64_t hash_of(ByteSpan key) {
  return XXH3_64bits(key.data(), key.size());
}

Engine::Engine(std::unique_ptr<HybridLog> log, storage::EpochProtection& protection,
               EngineProbe& probe)
    : protection_(protection), probe_(probe), log_(std::move(log)) {}

Result<> Engine::create_index(HashIndex::Shape shape, bool huge_pages) {
  TAILRACE_ASSIGN_OR_RETURN(
      index_, HashIndex::create(shape, huge_pages, protection_, [this] { return log_->begin(); }));
  return {};
}

size_t Engine::max_record_bytes() const {
  return log_->max_record_bytes() - Record::kMostOverheadBytes;
}

uint64_t Engine::live_records() const {
  return sum_of(live_records_);
}

uint64_t Engine::live_bytes() const {
  return sum_of(live_bytes_);
}

void Engine::set_live(uint64_t records, uint64_t bytes) {
  live_records_[0].add(records - live_records_[0].value() - live_records_[1].value());
  live_bytes_[0].add(bytes - live_bytes_[0].value() - live_bytes_[1].value());
  lap_.store(log_->tail(), std::memory_order_relaxed);
  lap_is_known_ = true;
  blind_writes_.add(records);
}

Engine::Drift Engine::drift_at_a_glance() const {
  const RecentSums& sums = recent_[lap_.load(std::memory_order_relaxed) & kLapParity];
  return {sums.records.value() - live_records(), sums.bytes.value() - live_bytes()};
}

/// A write counts at two places, and sums are read one after the other. So a glance may miss by
/// what is under way; two that agree, with every write that was under way at the first ended before
/// the second, do not miss by the same. Under a load that never lets two agree the last one is as
/// good as an estimate can be, until the next lap.
Engine::Drift Engine::drift() const {
  constexpr int kMostGlances = 64;
  Drift last = drift_at_a_glance();
  for (int glance = 1; glance < kMostGlances; ++glance) {
    protection_.wait_safe(protection_.bump());
    const Drift now = drift_at_a_glance();
    if (now == last) break;
    last = now;
  }
  return last;
}

void Engine::end_lap(uint32_t version) {
  const uint64_t lap = lap_.load(std::memory_order_relaxed);
  if (lap_is_known_) {
    const Drift missed = drift();
    live_records_[version % 2].add(missed.records);
    live_bytes_[version % 2].add(missed.bytes);
    blind_writes_before_.store(blind_writes_.value());
  }
  // What lived below the lap that ends is gone: nobody counts there any more.
  RecentSums& next = recent_[~lap & kLapParity];
  next.records.add(-next.records.value());
  next.bytes.add(-next.bytes.value());
  const LogAddress start = align_up(log_->tail(), log_->page_bytes()) + log_->page_bytes();
  lap_.store(start | (~lap & kLapParity), std::memory_order_relaxed);
  lap_is_known_ = log_->tail() <= start;
}

Engine::LiveShare Engine::live_share(uint32_t version) const {
  return {live_records_[version % 2].value(), live_bytes_[version % 2].value()};
}

void Engine::count(uint32_t version, int64_t records, int64_t bytes) {
  if (records != 0) live_records_[version % 2].add(static_cast<uint64_t>(records));
  if (bytes != 0) live_bytes_[version % 2].add(static_cast<uint64_t>(bytes));
}

// The beginning is read before the entry: a record that compaction has moved is found either at its
// old place, which then counts as there, or at its new one.
[[gnu::always_inline]] inline Engine::Lookup Engine::look_up(const HashedKey& key,
                                                             bool create) const {
  Lookup at;
  at.begin = log_->begin();
  at.found = create ? index_->find_or_create(key.hash, at.begin) : index_->find(key.hash);
  if (at.found.slot == nullptr) return at;
  LogAddress address = HashIndex::address_of(at.found.entry);
  if (address < at.begin) return at;
  at.head = address;
  const LogAddress in_memory = log_->head();
  while (address >= at.begin) {
    if (address < in_memory) {
      at.cold = address;
      return at;
    }
    const Record& record = *log_->record(address);
    if (record.has_key(key.bytes) && undone_.counts(address, record)) {
      at.present = address;
      return at;
    }
    address = record.previous();
  }
  return at;
}

Engine::Outcome Engine::read(const HashedKey& key, std::string& value, ColdFound& cold,
                             Waiting& waiting) const {
  const Lookup at = look_up(key, false);
  if (at.present != 0) {
    return log_->record(at.present)->load_value(value) ? Outcome::kDone : Outcome::kAbsent;
  }
  if (at.cold == 0) return Outcome::kAbsent;
  if (cold.from != at.cold) {
    waiting.address = at.cold;
    return Outcome::kCold;
  }
  if (cold.address < at.begin || cold.is_tombstone()) return Outcome::kAbsent;
  value.assign(as_text(cold.record()->stable_value()));
  return Outcome::kDone;
}

LogAddress Engine::cold_address(const HashedKey& key) const {
  return look_up(key, false).cold;
}

void Engine::prefetch_record(uint64_t hash, bool to_write) const {
  const LogAddress address = index_->peek(hash);
  if (address < log_->head()) return;
  const Record* const record = log_->record(address);
  if (to_write)
    prefetch_to_write(record);
  else
    __builtin_prefetch(record);
}

Engine::Outcome Engine::append(const Lookup& at, uint64_t flags, const HashedKey& key,
                               ByteSpan value, const Attempt& attempt, bool& lost,
                               LogAddress& placed) {
  const uint64_t bytes = Record::bytes_for(key.bytes.size(), value.size());
  const auto address = log_->allocate(bytes, attempt.budget);
  if (!address) {
    attempt.waiting.bytes = bytes;
    return Outcome::kNeedsRoom;
  }
  placed = *address;
  Record& record = *log_->record(*address);
  record.initialise(at.head, flags, attempt.version.version, key.bytes, value.size());
  record.set_first_value(value);
  lost = !HashIndex::replace(at.found, *address);
  // It is never linked later: chains must descend (see the head of this class).
  if (lost)
    record.state.store(record.state.load(std::memory_order_relaxed) | Record::kInvalid,
                       std::memory_order_relaxed);
  return Outcome::kDone;
}

Engine::Outcome Engine::decide(const Change& change, const ByteSpan* present, bool& erase,
                               ByteSpan& value) {
  erase = change.kind == WriteKind::kErase;
  value = change.value;
  if (erase) return present != nullptr ? Outcome::kDone : Outcome::kAbsent;
  if (change.kind == WriteKind::kUpsert) return Outcome::kDone;
  change.scratch->clear();
  *change.decision = change.modify(present, *change.scratch);
  if (*change.decision == Modification::kErase && present == nullptr) {
    *change.decision = Modification::kKeep;
  }
  if (*change.decision == Modification::kKeep) return Outcome::kKept;
  erase = *change.decision == Modification::kErase;
  value = erase ? ByteSpan{} : as_bytes(*change.scratch);
  return Outcome::kDone;
}

// A copy at the tail instead of what is at `old` (null: nothing that is known).
Engine::Outcome Engine::replace_by_copy(const Lookup& at, const HashedKey& key,
                                        const Change& change, const Record* old, bool live,
                                        const ByteSpan* present, const Attempt& attempt,
                                        bool& lost) {
  bool erase = false;
  ByteSpan value;
  const Outcome decided = decide(change, present, erase, value);
  if (decided != Outcome::kDone) return decided;
  if (value.size() + key.bytes.size() > max_record_bytes()) return Outcome::kTooLarge;
  LogAddress placed = 0;
  const Outcome outcome =
      append(at, erase ? Record::kTombstone : 0, key, value, attempt, lost, placed);
  if (outcome != Outcome::kDone || lost) return outcome;
  const auto new_bytes =
      erase ? 0 : static_cast<int64_t>(Record::bytes_for(key.bytes.size(), value.size()));
  if (!erase) count_recent(placed, new_bytes);
  if (old != nullptr) {
    probe_.copied_records.add();
    if (live)
      uncount_recent(at.present != 0 ? at.present : attempt.cold.address,
                     static_cast<int64_t>(old->bytes()));
    count(attempt.version.version, (erase ? 0 : 1) - (live ? 1 : 0),
          new_bytes - (live ? static_cast<int64_t>(old->bytes()) : 0));
  } else if (at.cold == 0) {
    count(attempt.version.version, +1, +new_bytes);
  } else {
    blind_writes_.add();
    uncount_recent(at.cold, new_bytes);
  }
  return Outcome::kDone;
}

Engine::Outcome Engine::write_mutable(const Lookup& at, const HashedKey& key, const Change& change,
                                      const Attempt& attempt, bool& again) {
  Record& record = *log_->record(at.present);
  const uint64_t was = record.lock();
  if ((was & (Record::kSealed | Record::kInvalid)) != 0) {
    record.unlock_unchanged(was);
    again = true;  // a newer record is in the chain by now
    return Outcome::kDone;
  }
  const bool live = (was & Record::kTombstone) == 0;
  const auto old_bytes = static_cast<int64_t>(record.bytes());
  const bool may_update = attempt.version.may_update(at.present, record);
  const ByteSpan present_value = record.stable_value();
  const ByteSpan* const present = live ? &present_value : nullptr;
  if (!may_update) {
    const Outcome outcome =
        replace_by_copy(at, key, change, &record, live, present, attempt, again);
    if (outcome == Outcome::kDone && !again) {
      record.unlock(was | Record::kSealed);
    } else {
      record.unlock_unchanged(was);
    }
    return outcome;
  }
  bool erase = false;
  ByteSpan value;
  const Outcome decided = decide(change, present, erase, value);
  if (decided != Outcome::kDone) {
    record.unlock_unchanged(was);
    return decided;
  }
  // Room is rounded up: it may hold a little more than is allowed.
  if (value.size() + key.bytes.size() > max_record_bytes()) {
    record.unlock_unchanged(was);
    return Outcome::kTooLarge;
  }
  if (!erase && value.size() > record.room_bytes()) {
    // The function has decided; the same value goes to the tail.
    Change upsert = change;
    upsert.kind = WriteKind::kUpsert;
    upsert.value = value;
    const Outcome outcome =
        replace_by_copy(at, key, upsert, &record, live, present, attempt, again);
    if (outcome == Outcome::kDone && !again) {
      record.unlock(was | Record::kSealed);
    } else {
      record.unlock_unchanged(was);
    }
    return outcome;
  }
  record.set_version(attempt.version.version);
  if (erase) {
    record.unlock(was | Record::kTombstone);
    count(attempt.version.version, -1, -old_bytes);
    uncount_recent(at.present, old_bytes);
  } else {
    record.unlock(record.store_value(was & ~Record::kTombstone, value));
    if (!live) {
      count(attempt.version.version, +1, +old_bytes);
      count_recent(at.present, old_bytes);
    }
  }
  return Outcome::kDone;
}

Engine::Outcome Engine::write_once(const HashedKey& key, const Change& change,
                                   const Attempt& attempt, bool& again) {
  const Lookup at = look_up(key, change.kind != WriteKind::kErase);
  if (at.found.slot == nullptr) {
    return change.kind == WriteKind::kErase ? Outcome::kAbsent : Outcome::kNoIndexRoom;
  }
  if (at.present != 0) {
    Record& record = *log_->record(at.present);
    if (attempt.version.is_newer(at.present, record)) {
      if (!attempt.beneath) return Outcome::kShifted;
      return write_beneath(at, key, change, attempt, again);
    }
    if (at.present >= log_->read_only()) return write_mutable(at, key, change, attempt, again);
    // Whoever has not seen the read-only mark yet may still write the record in place. A blind
    // write may come before or after that; one that depends on the value waits.
    if (change.kind != WriteKind::kUpsert && at.present >= log_->safe_read_only()) {
      attempt.waiting.address = at.present;
      return Outcome::kUnsafe;
    }
    const bool live = (record.state.load(std::memory_order_acquire) & Record::kTombstone) == 0;
    ByteSpan value;
    if (change.kind == WriteKind::kRmw && live) value = record.stable_value();
    return replace_by_copy(at, key, change, &record, live, live ? &value : nullptr, attempt, again);
  }
  if (at.cold == 0 || change.kind == WriteKind::kUpsert) {
    return replace_by_copy(at, key, change, nullptr, false, nullptr, attempt, again);
  }
  if (attempt.cold.from != at.cold) {
    attempt.waiting.address = at.cold;
    return Outcome::kCold;
  }
  if (attempt.cold.address < at.begin) {  // also: none was found
    Lookup without = at;
    without.cold = 0;
    return replace_by_copy(without, key, change, nullptr, false, nullptr, attempt, again);
  }
  Record& record = *attempt.cold.record();
  if (attempt.version.is_newer(attempt.cold.address, record)) {
    if (!attempt.beneath) return Outcome::kShifted;
    return write_beneath(at, key, change, attempt, again);
  }
  const bool live = !attempt.cold.is_tombstone();
  const ByteSpan value = record.stable_value();
  return replace_by_copy(at, key, change, &record, live, live ? &value : nullptr, attempt, again);
}

// The newest record of the key that is not of the greater version. Those in the mutable region have
// been sealed by whoever wrote the newer one, and those beneath are never updated in place; only a
// record that was copied blindly while it became read-only may still be moving.
Engine::Outcome Engine::write_beneath(const Lookup& at, const HashedKey& key, const Change& change,
                                      const Attempt& attempt, bool& again) {
  const LogAddress in_memory = log_->head();
  Record* older = nullptr;
  LogAddress address = at.head;
  for (; address >= at.begin && address >= in_memory; address = older->previous()) {
    older = log_->record(address);
    if (older->has_key(key.bytes) && counts_beneath(address, *older, attempt.version)) break;
  }
  ByteSpan value;
  bool live = false;
  if (address >= at.begin && change.kind != WriteKind::kUpsert) {
    if (address >= in_memory) {
      if (address >= log_->safe_read_only() && address < log_->read_only()) {
        attempt.waiting.address = address;
        return Outcome::kUnsafe;
      }
    } else {
      if (attempt.cold.from != address || !attempt.cold.beneath) {
        attempt.waiting.address = address;
        return Outcome::kColdBeneath;
      }
      older = attempt.cold.address < at.begin ? nullptr : attempt.cold.record();
    }
    if (older != nullptr) {
      live = (older->state.load(std::memory_order_acquire) & Record::kTombstone) == 0;
      if (live) value = older->stable_value();
    }
  }
  bool erase = false;
  ByteSpan next;
  const Outcome decided = decide(change, live ? &value : nullptr, erase, next);
  if (decided != Outcome::kDone) return decided;
  if (next.size() + key.bytes.size() > max_record_bytes()) return Outcome::kTooLarge;
  const uint64_t flags = Record::kSnapshotOnly | (erase ? Record::kTombstone : 0);
  LogAddress placed = 0;
  const Outcome outcome = append(at, flags, key, next, attempt, again, placed);
  if (outcome != Outcome::kDone || again) return outcome;
  if (change.kind == WriteKind::kUpsert) {
    if (address >= at.begin && address < in_memory) return outcome;  // taken to exist on disk
    live = address >= at.begin &&
           (older->state.load(std::memory_order_acquire) & Record::kTombstone) == 0;
  }
  // Nothing changes but what the checkpoint sees: what its version gains the next one loses.
  const int64_t records = (erase ? 0 : 1) - (live ? 1 : 0);
  const int64_t bytes =
      (erase ? 0 : static_cast<int64_t>(Record::bytes_for(key.bytes.size(), next.size()))) -
      (live ? static_cast<int64_t>(older->bytes()) : 0);
  count(attempt.version.version, records, bytes);
  count(attempt.version.version + 1, -records, -bytes);
  return outcome;
}

bool Engine::counts_beneath(LogAddress address, const Record& record,
                            const WriteVersion& version) const {
  if (version.is_newer(address, record)) return false;
  if (undone_.counts(address, record)) return true;
  const uint64_t state = record.state.load(std::memory_order_relaxed);
  return (state & Record::kInvalid) == 0 && (state & Record::kSnapshotOnly) != 0 &&
         address >= version.boundary &&
         record.version_bits() == (version.version & Record::kVersionMask);
}

// What rmw_hot() does with all but numbers: asks the function while the record is locked.
bool Engine::make_value(Record& record, uint64_t seen, Modify modify, std::string& scratch,
                        Modification& decision) {
  if (!record.try_lock(seen)) return false;
  const ByteSpan present = record.narrow_value(seen);
  constexpr size_t kMostChangedBytes = 64;
  std::byte copy[kMostChangedBytes];
  ByteSpan made;
  if (modify.can_change() && present.size() <= kMostChangedBytes) {
    if (!present.empty()) std::memcpy(copy, present.data(), present.size());
    const MutableByteSpan value(copy, present.size());
    decision = modify.change(value);
    made = value;
  } else {
    scratch.clear();
    decision = modify(&present, scratch);
    made = as_bytes(scratch);
  }
  if (decision == Modification::kWrite && Record::narrow_has_room(seen, made.size())) {
    record.unlock(record.store_narrow_value(seen, made));
    return true;
  }
  record.unlock_unchanged(seen);
  return decision == Modification::kKeep;
}

Engine::Outcome Engine::write(const HashedKey& key, const Change& change, const Attempt& attempt) {
  for (;;) {
    bool again = false;
    const Outcome outcome = write_once(key, change, attempt, again);
    if (!again) return outcome;
  }
}

Engine::Outcome Engine::move_to_tail(const HashedKey& key, LogAddress address, Record& record,
                                     const Attempt& attempt, bool erase) {
  const ByteSpan value = erase ? ByteSpan{} : record.stable_value();
  const auto old_bytes = static_cast<int64_t>(record.bytes());
  if (attempt.version.is_newer(address, record)) return Outcome::kShifted;
  // A tombstone is never moved: what it hides is older and goes before it, or with it.
  if ((record.state.load(std::memory_order_relaxed) & Record::kTombstone) != 0)
    return Outcome::kKept;
  for (;;) {
    const Lookup at = look_up(key, false);
    if (at.found.slot == nullptr) return Outcome::kKept;
    if (at.present != 0) {
      if (at.present != address) return Outcome::kKept;
    } else if (at.cold == 0) {
      return Outcome::kKept;
    } else if (at.cold != address) {
      if (at.cold < address) return Outcome::kKept;
      if (attempt.cold.from != at.cold) {
        attempt.waiting.address = at.cold;
        return Outcome::kCold;
      }
      if (attempt.cold.address != address) return Outcome::kKept;
    }
    bool lost = false;
    LogAddress placed = 0;
    const Outcome outcome =
        append(at, erase ? Record::kTombstone : 0, key, value, attempt, lost, placed);
    if (outcome != Outcome::kDone) return outcome;
    if (lost) continue;
    const auto bytes = static_cast<int64_t>(Record::bytes_for(key.bytes.size(), value.size()));
    count(attempt.version.version, erase ? -1 : 0, (erase ? 0 : bytes) - old_bytes);
    if (!erase) count_recent(placed, bytes);
    uncount_recent(address, old_bytes);
    return Outcome::kDone;
  }
}

Engine::Outcome Engine::is_newest(const HashedKey& key, LogAddress address, const PointInLog& point,
                                  Waiting& waiting) const {
  const HashIndex::Found found = index_->find(key.hash);
  if (found.slot == nullptr) return Outcome::kKept;
  const LogAddress in_memory = log_->head();
  for (LogAddress at = HashIndex::address_of(found.entry); at >= address;) {
    if (at == address) return Outcome::kDone;
    if (at < in_memory) {
      waiting.address = at;
      return Outcome::kCold;
    }
    const Record& record = *log_->record(at);
    if (record.has_key(key.bytes) && point.counts(at, record, undone_)) return Outcome::kKept;
    at = record.previous();
  }
  return Outcome::kKept;
}

}  // namespace tailrace::kv
