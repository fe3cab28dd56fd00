#include "kv/engine.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/check.h"

namespace tailrace::kv {

namespace {
constexpr uint64_t kOverheadBytes = 128;  // header, padding and the first bytes of a page
}

HashedKey::HashedKey(ByteSpan text) : bytes(text), hash(XXH3_64bits(text.data(), text.size())) {}

Result<std::unique_ptr<Engine>> Engine::create(const Options& options,
                                               storage::EpochProtection& protection) {
  std::unique_ptr<Engine> engine(new Engine(protection));
  auto index = HashIndex::create(options.index_buckets, options.log.huge_pages);
  if (!index) return tl::unexpected(index.error());
  auto log = HybridLog::create(options.log, engine->protection_);
  if (!log) return tl::unexpected(log.error());
  engine->index_ = std::move(*index);
  engine->log_ = std::move(*log);
  return engine;
}

size_t Engine::max_record_bytes() const {
  return log_->page_bytes() - kOverheadBytes;
}

void Engine::count(int64_t records, int64_t bytes) {
  if (records != 0) live_records_.add(static_cast<uint64_t>(records));
  if (bytes != 0) live_bytes_.add(static_cast<uint64_t>(bytes));
}

uint64_t Engine::used_bytes() const {
  const uint64_t used = log_->used_bytes();
  if (compaction_held_.load(std::memory_order_relaxed)) return used;
  return std::min(used, live_bytes() + log_->waste_bytes());
}

LogAddress Engine::find_key(LogAddress from, LogAddress begin, ByteSpan key) const {
  for (LogAddress at = from; at >= begin;) {
    Record& record = *log_->record(at);
    if (record.has_key(key) &&
        (record.state.load(std::memory_order_relaxed) & Record::kSnapshotOnly) == 0) {
      return at;
    }
    at = record.previous;
  }
  return 0;
}

bool Engine::read(ByteSpan key_text, std::string& value) {
  const HashedKey key(key_text);
  const storage::EpochProtection::Guard guard(protection_);
  const LogAddress begin = log_->begin();
  const HashIndex::Found found = index_->find(key.hash);
  if (found.slot == nullptr) return false;
  const LogAddress address = find_key(HashIndex::address_of(found.entry), begin, key.bytes);
  return address != 0 && log_->record(address)->load_value(value);
}

LogAddress Engine::append(LogAddress previous, uint64_t flags, uint32_t version, ByteSpan key,
                          const ByteSpan* value, HybridLog::Purpose purpose) {
  const size_t room = value == nullptr ? 0 : value->size();
  const auto address = log_->allocate(Record::bytes_for(key.size(), room), purpose);
  if (!address) return 0;
  Record& record = *log_->record(*address);
  record.initialise(previous, flags, version, key, room);
  if (value != nullptr) record.store_value(*value);
  return *address;
}

void Engine::abandon(LogAddress address) {
  log_->record(address)->state.store(Record::kAbandoned, std::memory_order_relaxed);
}

Engine::Outcome Engine::insert(const HashIndex::Found& found, LogAddress head, uint64_t flags,
                               uint32_t version, const HashedKey& key, const ByteSpan* value,
                               bool& lost) {
  const LogAddress address =
      append(head, flags, version, key.bytes, value, HybridLog::Purpose::kWrite);
  if (address == 0) return Outcome::kNeedsSpace;
  lost = !HashIndex::replace(found, address);
  if (lost) abandon(address);
  return Outcome::kDone;
}

Engine::Outcome Engine::write_beneath(const HashIndex::Found& found, LogAddress head,
                                      LogAddress begin, uint32_t version, const HashedKey& key,
                                      const ByteSpan* value, bool& lost) {
  if (value == nullptr) {
    bool present = false;
    for (LogAddress at = head; at >= begin;) {
      Record& record = *log_->record(at);
      if (record.version <= version && record.has_key(key.bytes)) {
        present = (record.state.load(std::memory_order_acquire) & Record::kTombstone) == 0;
        break;
      }
      at = record.previous;
    }
    if (!present) return Outcome::kAbsent;
  }
  const uint64_t flags = Record::kSnapshotOnly | (value == nullptr ? Record::kTombstone : 0);
  return insert(found, head, flags, version, key, value, lost);
}

void Engine::write_in_place(Record& record, uint64_t was, const ByteSpan* value) {
  const bool was_live = (was & Record::kTombstone) == 0;
  const auto bytes = static_cast<int64_t>(record.bytes());
  if (value == nullptr) {
    record.unlock(was, Record::kTombstone);
    count(-1, -bytes);
    return;
  }
  record.store_value(*value);
  record.unlock(was, 0);
  if (!was_live) count(+1, +bytes);
}

Engine::Outcome Engine::try_write(const HashedKey& key, const ByteSpan* value,
                                  const Version& version, const Attempt& attempt) {
  const bool erase = value == nullptr;
  for (;;) {
    const LogAddress begin = log_->begin();
    const HashIndex::Found found =
        erase ? index_->find(key.hash) : index_->find_or_create(key.hash, begin);
    if (found.slot == nullptr) return erase ? Outcome::kAbsent : Outcome::kNeedsSpace;
    LogAddress head = HashIndex::address_of(found.entry);
    if (head < begin) head = 0;
    const LogAddress present = find_key(head, begin, key.bytes);
    bool lost = false;

    if (present == 0) {
      if (erase) return Outcome::kAbsent;
      const Outcome outcome = insert(found, head, 0, version.version, key, value, lost);
      if (outcome != Outcome::kDone) return outcome;
      if (lost) continue;
      count(+1, static_cast<int64_t>(Record::bytes_for(key.bytes.size(), value->size())));
      decide_compaction();
      return Outcome::kDone;
    }

    Record& record = *log_->record(present);
    if (record.version > version.version) {
      if (!attempt.beneath) return Outcome::kShifted;
      const Outcome outcome = write_beneath(found, head, begin, version.version, key, value, lost);
      if (lost) continue;
      return outcome;
    }

    const uint64_t was = record.lock();
    const uint64_t flags = Record::flags_of(was);
    if ((flags & Record::kSealed) != 0) {
      record.unlock(was, flags);
      continue;  // a newer record is in the chain by now
    }
    const bool was_live = (flags & Record::kTombstone) == 0;
    if (erase && !was_live) {
      record.unlock(was, flags);
      return Outcome::kAbsent;
    }
    const bool fits = erase || value->size() <= record.room_bytes;
    const bool allowed = record.version >= version.in_place_from;
    const LogAddress from = attempt.full ? log_->frozen() : log_->read_only();
    if (fits && allowed && present >= from) {
      write_in_place(record, was, value);
      return Outcome::kDone;
    }

    // Copy to the tail. A record that no checkpoint needs and that leads the chain is cut out of
    // it.
    const bool cut_out = head == present && allowed;
    const auto old_bytes = static_cast<int64_t>(record.bytes());
    const Outcome outcome =
        insert(found, cut_out ? record.previous : head, erase ? Record::kTombstone : 0,
               version.version, key, value, lost);
    if (outcome != Outcome::kDone || lost) {
      record.unlock(was, flags);
      if (outcome != Outcome::kDone) return outcome;
      continue;
    }
    record.unlock(was, flags | Record::kSealed);
    probe_.copied_records.add();
    const int64_t new_bytes =
        erase ? 0 : static_cast<int64_t>(Record::bytes_for(key.bytes.size(), value->size()));
    count((erase ? 0 : 1) - (was_live ? 1 : 0), new_bytes - (was_live ? old_bytes : 0));
    decide_compaction();
    return Outcome::kDone;
  }
}

void Engine::visit_buckets(uint64_t from, uint64_t to, uint32_t version, const Visitor& visit) {
  std::vector<LogAddress> chains;
  std::vector<Record*> seen;
  std::string value;
  for (uint64_t bucket = from; bucket < to; ++bucket) {
    const storage::EpochProtection::Guard guard(protection_);
    const LogAddress begin = log_->begin();
    index_->chains_of(bucket, chains);
    for (const LogAddress chain : chains) {
      seen.clear();
      for (LogAddress at = chain; at >= begin;) {
        Record& record = *log_->record(at);
        at = record.previous;
        const uint64_t state = record.state.load(std::memory_order_acquire);
        const bool only_snapshot = (state & Record::kSnapshotOnly) != 0;
        if (version == kAllVersions
                ? only_snapshot
                : record.version > version || (only_snapshot && record.version != version)) {
          continue;
        }
        bool newest = true;
        for (Record* other : seen)
          newest = newest && !other->has_key(record.key());
        if (!newest) continue;
        seen.push_back(&record);
        if (record.load_value(value)) visit(record.key(), as_bytes(value));
      }
    }
  }
}

}  // namespace tailrace::kv
