#pragma once
// One record of the hybrid log, in memory only (docs/formats/fasterkv.md describes the disk).
//
//    0  u64  previous      address of the next older record of the same chain, 0 at its end
//    8  u64  state         flags and a sequence, see below
//   16  u32  version       of the CPR prefix that the record belongs to
//   20  u32  key_bytes
//   24  u32  value_bytes
//   28  u32  room_bytes    what a value may grow to in place; a multiple of 8
//   32  the key, padded to 8, then the value's room
//
// `previous`, `version`, the key and the room never change once the record is linked. The value,
// its length and the tombstone flag do, under the state word: a writer sets kLocked, changes them
// and lets go with a greater sequence; a reader copies between two equal, unlocked states. Both
// touch the value word by word with acquire loads and release stores: whoever read a new word also
// sees that the state has moved, so a mixture of two values is never returned and no fence is
// needed.

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>

#include "core/bytes.h"

namespace tailrace::kv {

/// A byte offset in the hybrid log, a multiple of 8; 0 is no record.
using LogAddress = uint64_t;

struct Record {
  static constexpr uint64_t kLocked = 1;
  static constexpr uint64_t kTombstone = 2;
  /// A newer record of the key has taken its place: never written again.
  static constexpr uint64_t kSealed = 4;
  /// Never linked: its writer lost the race for the chain's head.
  static constexpr uint64_t kAbandoned = 8;
  /// Belongs to the checkpoint of its own version and to nothing else (engine.h, "beneath").
  static constexpr uint64_t kSnapshotOnly = 16;
  static constexpr uint64_t kSequence = 32;  // the least bit of the sequence

  LogAddress previous;
  std::atomic<uint64_t> state;
  uint32_t version;
  uint32_t key_bytes;
  std::atomic<uint32_t> value_bytes;
  uint32_t room_bytes;

  static uint64_t bytes_for(size_t key_bytes, size_t room_bytes) {
    return sizeof(Record) + align_up(key_bytes, 8) + align_up(room_bytes, 8);
  }
  uint64_t bytes() const { return bytes_for(key_bytes, room_bytes); }

  std::byte* key_data() { return reinterpret_cast<std::byte*>(this + 1); }
  ByteSpan key() { return {key_data(), key_bytes}; }
  uint64_t* words() { return reinterpret_cast<uint64_t*>(key_data() + align_up(key_bytes, 8)); }

  bool has_key(ByteSpan other) {
    return key_bytes == other.size() && std::memcmp(key_data(), other.data(), key_bytes) == 0;
  }

  /// Before the record is linked: no other thread sees it yet, but whoever reads it later does so
  /// with atomic loads.
  void initialise(LogAddress older, uint64_t flags, uint32_t record_version, ByteSpan key_text,
                  size_t room) {
    previous = older;
    state.store(flags, std::memory_order_relaxed);
    version = record_version;
    key_bytes = static_cast<uint32_t>(key_text.size());
    value_bytes.store(0, std::memory_order_relaxed);
    room_bytes = static_cast<uint32_t>(align_up(room, 8));
    if (!key_text.empty()) std::memcpy(key_data(), key_text.data(), key_text.size());
  }

  /// Locked or not yet linked.
  void store_value(ByteSpan value) {
    uint64_t* to = words();
    size_t at = 0;
    for (; at + 8 <= value.size(); at += 8) {
      std::atomic_ref<uint64_t>(*to++).store(load<uint64_t>(value.data() + at),
                                             std::memory_order_release);
    }
    if (at < value.size()) {
      uint64_t last = 0;
      std::memcpy(&last, value.data() + at, value.size() - at);
      std::atomic_ref<uint64_t>(*to).store(last, std::memory_order_release);
    }
    value_bytes.store(static_cast<uint32_t>(value.size()), std::memory_order_release);
  }

  /// Copies the value as it was at one moment. False when the record is a tombstone.
  bool load_value(std::string& into) {
    for (uint32_t round = 0;; ++round) {
      const uint64_t before = state.load(std::memory_order_acquire);
      if ((before & kLocked) != 0) {
        if (round > 64) std::this_thread::yield();
        continue;
      }
      if ((before & kTombstone) != 0) return false;
      into.resize(value_bytes.load(std::memory_order_acquire));
      copy_words(into.data(), into.size());
      if (state.load(std::memory_order_relaxed) == before) return true;
    }
  }

  /// Takes the lock and returns the state as it was. The owner is preempted at worst: it never
  /// waits for anything while it holds it.
  uint64_t lock() {
    for (uint32_t round = 0;; ++round) {
      uint64_t seen = state.load(std::memory_order_relaxed);
      if ((seen & kLocked) == 0 &&
          state.compare_exchange_weak(seen, seen | kLocked, std::memory_order_acq_rel)) {
        return seen;
      }
      if (round > 64) std::this_thread::yield();
    }
  }
  /// `flags` are the new ones; `was` is what lock() returned.
  void unlock(uint64_t was, uint64_t flags) {
    const uint64_t sequence = (was & ~(kSequence - 1)) + kSequence;
    state.store(sequence | flags, std::memory_order_release);
  }
  static uint64_t flags_of(uint64_t state) { return state & (kSequence - 1) & ~kLocked; }

 private:
  void copy_words(char* into, size_t bytes) {
    uint64_t* from = words();
    while (bytes >= 8) {
      const uint64_t word = std::atomic_ref<uint64_t>(*from++).load(std::memory_order_acquire);
      std::memcpy(into, &word, 8);
      into += 8;
      bytes -= 8;
    }
    if (bytes > 0) {
      const uint64_t word = std::atomic_ref<uint64_t>(*from).load(std::memory_order_acquire);
      std::memcpy(into, &word, bytes);
    }
  }
};

static_assert(sizeof(Record) == 32 && alignof(Record) == 8);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace tailrace::kv
