#pragma once
// One record of the hybrid log, the same in memory and on disk (docs/formats/fasterkv.md).
//
//    0  u64  link    bits 0–47   address of the next older record of the chain, in units of 8, or 0
//                    bits 48–62  version of the CPR prefix that last wrote the record, modulo 2^15
//                    bit  63     always 1: tells a record from the zeros that end a block or a page
//    8  u64  state   bits 0–4    flags below
//                    bit  5      wide: lengths are in the two words that follow
//                    bits 8–15   key_bytes        \.
//                    bits 16–27  value_bytes       } of a narrow record, else 0
//                    bits 28–36  room, in words   /
//                    bits 37–63  sequence
//   16  wide only: u32 key_bytes, u32 room in words, u32 value_bytes, u32 zero
//   ..  the key, padded to 8, then the value's room, padded so that the record is a multiple of 16
//
// An 8-byte key with an 8-byte value is 32 bytes: half a cache line, never across two.
//
// The key, the room and `previous` never change once the record is linked. The value, its length,
// the version and the tombstone flag do, under the state word and only in the mutable region: a
// writer sets kLocked, changes them and lets go with a greater sequence; a reader copies between
// two equal, unlocked states. Both touch the value word by word with acquire loads and release
// stores: whoever read a new word also sees that the state has moved, so a mixture of two values is
// never returned and no fence is needed. (The sequence comes round after 2^27 writes; a reader
// would have to be held up in the middle of its copy for exactly that many.) A writer may look at
// the record as a reader does, without the lock, and then take the lock with try_lock(): if that
// succeeds, nothing has changed since (or the sequence has come round).
//
// Below safe_read_only (hybrid_log.h) a record is never written again, not even its flags: what is
// in memory is what is on disk, block for block.

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>

#include "core/bytes.h"
#include "kv/types/log_address.h"

namespace tailrace::kv {

/// Starts loading what is there so that it can be written: where another processor writes it too,
/// it then comes over once, not once to be looked at and once more to be locked.
[[gnu::always_inline]] inline void prefetch_to_write(const void* there) {
#if defined(__x86_64__)
  // What the compiler makes of __builtin_prefetch(there, 1) only where it may assume a processor of
  // these ten years. Older ones take it for nothing.
  asm volatile("prefetchw (%0)" : : "r"(there));
#else
  __builtin_prefetch(there, 1);
#endif
}

struct Record {
  static constexpr uint64_t kLocked = 1;
  static constexpr uint64_t kTombstone = 2;
  /// A newer record of the key has taken its place while this one was in the mutable region.
  static constexpr uint64_t kSealed = 4;
  /// In no chain: its writer lost the race for the chain's head, or recovery undid it.
  static constexpr uint64_t kInvalid = 8;
  /// Belongs to the checkpoint of its own version and to nothing else (engine.h, "beneath").
  static constexpr uint64_t kSnapshotOnly = 16;
  static constexpr uint64_t kWide = 32;
  static constexpr uint64_t kFlags = kTombstone | kSealed | kInvalid | kSnapshotOnly;

  static constexpr uint64_t kMostNarrowKey = 255;
  static constexpr uint64_t kMostNarrowRoomWords = 511;
  static constexpr uint64_t kAlignment = 16;
  static constexpr uint32_t kVersionMask = (1u << 15) - 1;

  std::atomic<uint64_t> link;
  std::atomic<uint64_t> state;

  // --- layout ---

  static bool is_wide(size_t key_bytes, size_t room_bytes) {
    return key_bytes > kMostNarrowKey || room_bytes > kMostNarrowRoomWords * 8;
  }
  static uint64_t bytes_for(size_t key_bytes, size_t room_bytes) {
    const uint64_t header = is_wide(key_bytes, room_bytes) ? 32 : 16;
    return align_up(header + align_up(key_bytes, 8) + align_up(room_bytes, 8), kAlignment);
  }
  /// No record is longer than its key and value and this.
  static constexpr uint64_t kMostOverheadBytes = 64;

  bool is_present() const { return link.load(std::memory_order_relaxed) >> 63 != 0; }
  LogAddress previous() const { return (link.load(std::memory_order_relaxed) & kAddressMask) << 3; }
  uint32_t version_bits() const {
    return static_cast<uint32_t>(link.load(std::memory_order_relaxed) >> 48) & kVersionMask;
  }

  size_t key_bytes() const {
    const uint64_t now = state.load(std::memory_order_relaxed);
    return (now & kWide) != 0 ? wide()->key_bytes : now >> 8 & 0xff;
  }
  size_t room_bytes() const {
    const uint64_t now = state.load(std::memory_order_relaxed);
    return ((now & kWide) != 0 ? wide()->room_words : now >> 28 & 0x1ff) * size_t{8};
  }
  uint64_t bytes() const {
    const uint64_t now = state.load(std::memory_order_relaxed);
    if ((now & kWide) != 0) {
      return align_up(32 + align_up(wide()->key_bytes, 8) + wide()->room_words * uint64_t{8},
                      kAlignment);
    }
    return align_up(16 + align_up(now >> 8 & 0xff, 8) + (now >> 28 & 0x1ff) * 8, kAlignment);
  }

  ByteSpan key() const {
    const uint64_t now = state.load(std::memory_order_relaxed);
    return {body(now), (now & kWide) != 0 ? wide()->key_bytes : now >> 8 & 0xff};
  }
  bool has_key(ByteSpan other) const {
    const ByteSpan mine = key();
    if (mine.size() != other.size()) return false;
    if (mine.size() == 8) return load<uint64_t>(mine.data()) == load<uint64_t>(other.data());
    return std::memcmp(mine.data(), other.data(), mine.size()) == 0;
  }

  // --- of a narrow record whose state has been read ---

  [[gnu::always_inline]] bool has_narrow_key(uint64_t seen, ByteSpan other) const {
    if ((seen >> 8 & 0xff) != other.size()) return false;
    if (other.size() == 8) [[likely]]
      return load<uint64_t>(body(0)) == load<uint64_t>(other.data());
    return std::memcmp(body(0), other.data(), other.size()) == 0;
  }
  static bool narrow_has_room(uint64_t seen, size_t value_bytes) {
    return value_bytes <= (seen >> 28 & 0x1ff) * 8;
  }
  /// Locked by the caller.
  ByteSpan narrow_value(uint64_t seen) { return {narrow_words(seen), seen >> 16 & 0xfff}; }
  uint64_t store_narrow_value(uint64_t seen, ByteSpan value) {
    if (value.size() != 8) return store_value(seen, value);
    store_number(seen, load<uint64_t>(value.data()));
    return (seen & ~kValueBytesMask) | kNumber;
  }
  /// Whether the value has eight bytes.
  static bool is_number(uint64_t seen) { return (seen & kValueBytesMask) == kNumber; }
  /// Without the lock: what is returned is the value of the state that was seen if the state is
  /// still the same afterwards.
  [[gnu::always_inline]] uint64_t load_number(uint64_t seen) {
    return std::atomic_ref<uint64_t>(*number(seen)).load(std::memory_order_acquire);
  }
  /// Locked by the caller.
  [[gnu::always_inline]] void store_number(uint64_t seen, uint64_t value) {
    std::atomic_ref<uint64_t>(*number(seen)).store(value, std::memory_order_release);
  }
  bool is_still(uint64_t seen) const { return state.load(std::memory_order_relaxed) == seen; }

  // --- making one ---

  /// Before the record is linked: no other thread sees it yet, but whoever reads it later does so
  /// with atomic loads. `room_bytes` is what a value may grow to in place.
  void initialise(LogAddress previous, uint64_t flags, uint32_t version, ByteSpan key_text,
                  size_t room_bytes) {
    const uint64_t room_words = align_up(room_bytes, 8) / 8;
    if (is_wide(key_text.size(), room_bytes)) {
      *wide() =
          Wide{static_cast<uint32_t>(key_text.size()), static_cast<uint32_t>(room_words), 0, 0};
      state.store(flags | kWide, std::memory_order_relaxed);
    } else {
      state.store(flags | key_text.size() << 8 | room_words << 28, std::memory_order_relaxed);
    }
    link.store(link_of(previous, version), std::memory_order_relaxed);
    if (!key_text.empty()) {
      std::memcpy(body(state.load(std::memory_order_relaxed)), key_text.data(), key_text.size());
    }
  }
  /// Before it is linked, after a lost race.
  void set_previous(LogAddress previous) {
    link.store(link_of(previous, version_bits()), std::memory_order_relaxed);
  }

  // --- value ---

  /// The value's words. The locked or unpublished record's owner reads them as they are.
  uint64_t* words() {
    const uint64_t now = state.load(std::memory_order_relaxed);
    const size_t key = (now & kWide) != 0 ? wide()->key_bytes : now >> 8 & 0xff;
    return reinterpret_cast<uint64_t*>(body(now) + align_up(key, 8));
  }
  /// Of a record that nobody writes: locked by the caller, not yet linked, or below safe_read_only.
  ByteSpan stable_value() {
    return {reinterpret_cast<const std::byte*>(words()),
            value_bytes(state.load(std::memory_order_relaxed))};
  }

  /// Locked or not yet linked; `value` fits in the room. The new length of a narrow record is in
  /// the returned state, that of a wide one is stored.
  uint64_t store_value(uint64_t state_now, ByteSpan value) {
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
    if ((state_now & kWide) != 0) {
      std::atomic_ref<uint32_t>(wide()->value_bytes)
          .store(static_cast<uint32_t>(value.size()), std::memory_order_release);
      return state_now;
    }
    return (state_now & ~kValueBytesMask) | value.size() << 16;
  }
  /// Not yet linked.
  void set_first_value(ByteSpan value) {
    state.store(store_value(state.load(std::memory_order_relaxed), value),
                std::memory_order_relaxed);
  }

  /// Copies the value as it was at one moment. False when the record is a tombstone.
  bool load_value(std::string& into) {
    // A number, as most often and for the second time: without a loop, as few instructions as
    // possible stand between this operation's cache misses and the next one's.
    const uint64_t seen = state.load(std::memory_order_acquire);
    if ((seen & (kLocked | kTombstone | kWide | kValueBytesMask)) == kNumber && into.size() == 8) {
      const uint64_t word = load_number(seen);
      if (state.load(std::memory_order_relaxed) == seen) [[likely]] {
        std::memcpy(into.data(), &word, 8);
        return true;
      }
    }
    return load_any_value(into);
  }
  bool load_any_value(std::string& into) {
    for (uint32_t round = 0;; ++round) {
      const uint64_t before = state.load(std::memory_order_acquire);
      if ((before & kLocked) != 0) {
        if (round > 64) std::this_thread::yield();
        continue;
      }
      if ((before & kTombstone) != 0) return false;
      into.resize(value_bytes(before));
      copy_words(into.data(), into.size());
      if (state.load(std::memory_order_relaxed) == before) return true;
    }
  }

  // --- the lock, in the mutable region only ---

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
  /// Takes the lock if the state is still what was seen, unlocked.
  [[gnu::always_inline]] bool try_lock(uint64_t seen) {
    return state.compare_exchange_strong(seen, seen | kLocked, std::memory_order_acq_rel,
                                         std::memory_order_relaxed);
  }
  /// Nothing was changed.
  void unlock_unchanged(uint64_t was) { state.store(was, std::memory_order_release); }
  /// `now` is the state to be: what lock() or store_value() returned, with the flags wanted.
  void unlock(uint64_t now) { state.store(now + kSequence, std::memory_order_release); }
  /// Locked: the record is of `version` from now on.
  void set_version(uint32_t version) {
    if (version_bits() != (version & kVersionMask)) {
      link.store(link_of(previous(), version), std::memory_order_release);
    }
  }

 private:
  struct Wide {
    uint32_t key_bytes;
    uint32_t room_words;
    uint32_t value_bytes;
    uint32_t zero;
  };
  static constexpr uint64_t kAddressMask = (1ull << 48) - 1;
  static constexpr uint64_t kValueBytesMask = 0xfffull << 16;
  static constexpr uint64_t kNumber = 8ull << 16;
  static constexpr uint64_t kSequence = 1ull << 37;

  static uint64_t link_of(LogAddress previous, uint32_t version) {
    return previous >> 3 | static_cast<uint64_t>(version & kVersionMask) << 48 | 1ull << 63;
  }
  Wide* wide() { return reinterpret_cast<Wide*>(this + 1); }
  const Wide* wide() const { return reinterpret_cast<const Wide*>(this + 1); }
  std::byte* body(uint64_t now) {
    return reinterpret_cast<std::byte*>(this + 1) + ((now & kWide) != 0 ? sizeof(Wide) : 0);
  }
  const std::byte* body(uint64_t now) const { return const_cast<Record*>(this)->body(now); }
  // A branch, not arithmetic: with a key of eight bytes the value's address then does not hang on
  // the state, so on the miss. Worth 0.01 to 0.08 of FASTER's rate (docs/benchmarks.md).
  [[gnu::always_inline]] std::byte* narrow_words(uint64_t seen) {
    const uint64_t key = seen >> 8 & 0xff;
    if (key == 8) [[likely]]
      return body(0) + 8;
    return body(0) + align_up(key, 8);
  }
  [[gnu::always_inline]] uint64_t* number(uint64_t seen) {
    return reinterpret_cast<uint64_t*>(narrow_words(seen));
  }
  size_t value_bytes(uint64_t now) {
    if ((now & kWide) == 0) return now >> 16 & 0xfff;
    return std::atomic_ref<uint32_t>(wide()->value_bytes).load(std::memory_order_acquire);
  }
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

static_assert(sizeof(Record) == 16 && alignof(Record) == 8);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace tailrace::kv
