#pragma once
// The most frequent case of an operation, short enough that the processor can hold it and a good
// part of the next one at a time.
//
// An operation costs two cache misses, the bucket and the record. A processor runs ahead of them by
// as many instructions as its reorder window has room for (320 on a Zen 4), so the next operation's
// misses begin during this one's only if it is not far away. The general way (engine.cc) takes
// twice that. This one asks as little as it may: the key's record is the newest of its chain, in
// memory, narrow, and for a write in the mutable region and of the session's own version. Whatever
// else may be the case, it has changed nothing and says so.
//
// All under protection, any thread; inlined into their few callers, with all that they call: a
// function of its own costs a dozen instructions more.

#include "kv/engine/engine.h"

namespace tailrace::kv {

/// The key's record, if it is the newest of its chain, at or above `from`, which is in memory, and
/// `seen`, its state, has no flag and is narrow; else null.
[[gnu::always_inline]] inline Record* Engine::hot_record(const HashedKey& key, LogAddress from,
                                                         bool to_write, LogAddress& address,
                                                         uint64_t& seen) const {
  const HashIndex::Found found = index_->find_near(key.hash);
  if (found.slot == nullptr) return nullptr;
  address = HashIndex::address_of(found.entry);
  if (address < from) return nullptr;
  Record* const record = log_->record(address);
  if (to_write) prefetch_to_write(record);
  seen = record->state.load(std::memory_order_acquire);
  constexpr uint64_t kUnusual = Record::kLocked | Record::kFlags | Record::kWide;
  if ((seen & kUnusual) != 0 || !record->has_narrow_key(seen, key.bytes)) return nullptr;
  if (address < undone_.end()) [[unlikely]]
    return nullptr;
  return record;
}

/// Copies the key's value.
[[gnu::always_inline]] inline bool Engine::read_hot(const HashedKey& key,
                                                    std::string& value) const {
  LogAddress address;
  uint64_t seen;
  Record* const record = hot_record(key, log_->head(), false, address, seen);
  return record != nullptr && record->load_value(value);
}

/// The key's record, if the session may change it in place; else null. That is true as long as the
/// state is what was seen: try_lock(seen) comes before any change.
[[gnu::always_inline]] inline Record* Engine::mutable_hot(const HashedKey& key,
                                                          const WriteVersion& version,
                                                          uint64_t& seen) const {
  LogAddress address;
  Record* const record = hot_record(key, log_->read_only(), true, address, seen);
  if (record == nullptr || record->version_bits() != (version.version & Record::kVersionMask))
    return nullptr;
  if (version.only_new && address < version.boundary) [[unlikely]]
    return nullptr;
  return record;
}

/// Puts `value` in the place of the present one.
[[gnu::always_inline]] inline bool Engine::upsert_hot(const HashedKey& key, ByteSpan value,
                                                      const WriteVersion& version) const {
  uint64_t seen;
  Record* const record = mutable_hot(key, version, seen);
  if (record == nullptr || !Record::narrow_has_room(seen, value.size())) return false;
  if (!record->try_lock(seen)) [[unlikely]]
    return false;
  record->unlock(record->store_narrow_value(seen, value));
  return true;
}

/// Asks the function. False also when what it made finds no room here: it is asked once more then.
[[gnu::always_inline]] inline bool Engine::rmw_hot(const HashedKey& key, Modify modify,
                                                   std::string& scratch,
                                                   const WriteVersion& version,
                                                   Modification& decision) const {
  uint64_t seen;
  Record* const record = mutable_hot(key, version, seen);
  if (record == nullptr) return false;
  if (!modify.can_change() || !Record::is_number(seen)) [[unlikely]]
    return make_value(*record, seen, modify, scratch, decision);
  // The function changes a number before the record is locked. So the lock is held for two stores
  // and no longer: a second thread that wants the record seldom meets it.
  const uint64_t present = record->load_number(seen);
  const Modify::ChangedNumber changed = modify.change_number(present);
  decision = changed.decision;
  if (decision != Modification::kWrite) [[unlikely]]
    return decision == Modification::kKeep && record->is_still(seen);
  if (!record->try_lock(seen)) [[unlikely]]
    return false;
  // The sequence may have come round meanwhile (record.h). A reader returns an old value then; here
  // an update would be lost.
  if (record->load_number(seen) != present) [[unlikely]] {
    record->unlock_unchanged(seen);
    return false;
  }
  record->store_number(seen, changed.value);
  record->unlock(seen);
  return true;
}

}  // namespace tailrace::kv
