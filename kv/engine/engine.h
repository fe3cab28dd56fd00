#pragma once
// Index and hybrid log together: finding and writing records. It knows versions but not who decides
// them (checkpoint_coordinator.h); it never waits: what needs waiting is told by the Outcome, and
// the session leaves protection, waits and tries again (session.cc).
//
// Versions. While checkpoint v is being taken, sessions that have crossed over write version v + 1
// and never touch a record of v: they copy it. A session still in v that meets a record of v + 1 is
// told so (kShifted); it crosses over, unless it is in the middle of a serial, and then writes
// *beneath*: a record that only the checkpoint of v sees, for the newer one is no part of it. Then
// it writes once more as one that has crossed over: for everybody else the write came after the
// newer one, which may have returned long ago (session.cc).
//
// Chains. Addresses strictly descend along a chain: a record is allocated after the head that it
// points to was read, and one that lost the race for the head is abandoned, never reused. So the
// record that counts with the greatest address is the newest, which is what recovery relies on.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kv/engine/visibility.h"
#include "kv/index/hash_index.h"
#include "kv/log/hybrid_log.h"
#include "kv/types/operation.h"
#include "kv/types/probe.h"
#include "storage/epoch_protection.h"

namespace tailrace::kv {

/// Which bucket and tag a key has; the index on disk is made of it.
uint64_t hash_of(ByteSpan key);

struct HashedKey {
  explicit HashedKey(ByteSpan text) : bytes(text), hash(hash_of(text)) {}
  HashedKey(ByteSpan text, uint64_t known_hash) : bytes(text), hash(known_hash) {}
  ByteSpan bytes;
  uint64_t hash;
};

/// How a session writes at the moment; decided by the coordinator.
struct WriteVersion {
  uint32_t version = 1;
  /// A checkpoint of version - 1 is being taken: records of it must stay as they are.
  bool only_new = false;
  /// Where the tail was when the newest checkpoint's first session crossed over: versions of
  /// records below it say nothing (they come round after 2^15), but that they are old.
  LogAddress boundary = 0;

  bool is_newer(LogAddress address, const Record& record) const {
    return address >= boundary && record.version_bits() == ((version + 1) & Record::kVersionMask);
  }
  bool may_update(LogAddress address, const Record& record) const {
    return !only_new ||
           (address >= boundary && record.version_bits() == (version & Record::kVersionMask));
  }
};

/// What the disk has said about a chain: the newest record of the key at or below `from`.
struct ColdFound {
  LogAddress from = 0;         // where the chain went to disk; 0: nothing was read
  LogAddress address = 0;      // of the record; 0: the key is not there
  bool beneath = false;        // records of the greater version were passed over
  std::vector<uint64_t> copy;  // the record's bytes
  Record* record() { return reinterpret_cast<Record*>(copy.data()); }
  bool is_tombstone() {
    return (record()->state.load(std::memory_order_relaxed) & Record::kTombstone) != 0;
  }
  void clear() {
    from = 0;
    address = 0;
    beneath = false;
  }
};

class Engine {
 public:
  struct Options {
    uint64_t index_buckets = 0;
    bool huge_pages = true;
  };
  Engine(std::unique_ptr<HybridLog> log, storage::EpochProtection& protection, EngineProbe& probe);
  Result<> create_index(HashIndex::Shape shape, bool huge_pages);

  enum class Outcome : uint8_t {
    kDone,
    kAbsent,       // read, erase: no such key
    kKept,         // nothing was written: the function decided so; or the record is not the newest
    kShifted,      // the key has a record of a greater version; nothing changed
    kNeedsRoom,    // nothing changed; wait for Waiting::bytes of room and try again
    kCold,         // the chain goes to disk at Waiting::address: read it and try again with it
    kColdBeneath,  // the same, passing over records of the greater version
    kUnsafe,       // HybridLog::wait_safe(Waiting::address) and try again
    kNoIndexRoom,  // the system has no memory for an overflow bucket
    kTooLarge,     // what the function made exceeds max_record_bytes()
  };
  struct Waiting {
    LogAddress address = 0;
    uint64_t bytes = 0;
  };
  struct Attempt {
    const WriteVersion& version;
    ColdFound& cold;       // what is known from disk
    Waiting& waiting;      // out
    bool beneath = false;  // write beneath a greater version
    HybridLog::Budget budget = HybridLog::Budget::kWrite;
  };
  enum class WriteKind : uint8_t { kUpsert, kErase, kRmw };
  /// What is to be done with the key.
  struct Change {
    WriteKind kind = WriteKind::kUpsert;
    ByteSpan value;                    // kUpsert
    Modify modify;                     // kRmw
    std::string* scratch = nullptr;    // kRmw: the caller's, for the new value
    Modification* decision = nullptr;  // kRmw: out
  };

  // All under protection, any thread.
  Outcome read(const HashedKey& key, std::string& value, ColdFound& cold, Waiting& waiting) const;
  Outcome write(const HashedKey& key, const Change& change, const Attempt& attempt);

  // The most frequent case of each, to be tried first (engine_hot.h). False: nothing has changed,
  // do it the general way.
  bool read_hot(const HashedKey& key, std::string& value) const;
  bool upsert_hot(const HashedKey& key, ByteSpan value, const WriteVersion& version) const;
  bool rmw_hot(const HashedKey& key, Modify modify, std::string& scratch,
               const WriteVersion& version, Modification& decision) const;

  /// Compaction, and reads copied to the tail: if `record` (a copy of what is at `address`, which
  /// is below safe_read_only) is the key's newest, a copy of it at the tail takes its place. kKept
  /// when it is not the newest any more; kShifted when it is of a greater version. With `erase` a
  /// tombstone takes its place. Only appends, so a mover that is late by a version disturbs nobody.
  Outcome move_to_tail(const HashedKey& key, LogAddress address, Record& record,
                       const Attempt& attempt, bool erase = false);
  /// What a read of the disk for kColdBeneath must pass over, and what it must not.
  bool counts_beneath(LogAddress address, const Record& record, const WriteVersion& version) const;

  /// Where the key's chain goes to disk without the key having been met; 0 when it does not.
  LogAddress cold_address(const HashedKey& key) const;

  void prefetch_bucket(uint64_t hash) const { index_->prefetch(hash); }
  void prefetch_record(uint64_t hash, bool to_write = false) const;

  // --- for scans and compaction: is the record at `address` the key's newest as of `point`? ---

  /// Under protection. kDone: it is. kKept: it is not. kCold: the chain goes to disk at
  /// waiting.address (> address) before that is known: follow it there by the same rule, the first
  /// record of the key that counts as of the point decides.
  Outcome is_newest(const HashedKey& key, LogAddress address, const PointInLog& point,
                    Waiting& waiting) const;

  HashIndex& index() { return *index_; }
  const HashIndex& index() const { return *index_; }
  HybridLog& log() { return *log_; }
  const HybridLog& log() const { return *log_; }
  storage::EpochProtection& protection() { return protection_; }
  EngineProbe& probe() { return probe_; }
  UndoneRanges& undone() { return undone_; }  // changed only before sessions exist

  /// Signed sums: below zero for a moment while threads write.
  uint64_t live_records() const;
  uint64_t live_bytes() const;
  /// At recovery, once.
  void set_live(uint64_t records, uint64_t bytes);
  /// What writers of even (odd) versions have added to the two sums above, wrapping around. While a
  /// checkpoint of a version is taken there are writers of it and of the next one: so it can tell
  /// what is its own.
  struct LiveShare {
    uint64_t records = 0;
    uint64_t bytes = 0;
  };
  LiveShare live_share(uint32_t version) const;

  // The sums drift: a blind write over a chain that goes to disk does not know what it replaces,
  // and is taken to replace a record of its own length. Once round the log they are set right: what
  // was found alive below an address was copied above it, so what was counted above it is all there
  // is. Sums that have not drifted stay as they are, whoever writes meanwhile.

  /// Compaction has passed the present lap's start, and all that lived below it has been copied.
  bool lap_is_over(LogAddress begin) const { return begin >= lap_start(); }
  /// Sets the sums right (not after the first lap, which began with the store), as writes of
  /// `version`, and begins the next lap near the tail. Waits for writes under way. The compactor
  /// alone, not under protection.
  void end_lap(uint32_t version);
  /// Of this lap; of one that a recovery has begun, as many as there are records.
  uint64_t blind_writes() const { return blind_writes_.value() - blind_writes_before_.load(); }
  size_t max_record_bytes() const;

 private:
  struct Lookup {
    HashIndex::Found found;
    LogAddress begin = 0;    // of the log, read before the entry
    LogAddress head = 0;     // of the chain, 0 when empty
    LogAddress present = 0;  // in memory, of the key
    LogAddress cold = 0;     // where the chain goes to disk when `present` is 0
  };
  Lookup look_up(const HashedKey& key, bool create) const;
  // engine_hot.h
  Record* hot_record(const HashedKey& key, LogAddress from, bool to_write, LogAddress& address,
                     uint64_t& seen) const;
  Record* mutable_hot(const HashedKey& key, const WriteVersion& version, uint64_t& seen) const;
  // engine.cc
  [[gnu::noinline]] static bool make_value(Record& record, uint64_t seen, Modify modify,
                                           std::string& scratch, Modification& decision);
  // `again`: a race was lost; from the index once more.
  Outcome write_once(const HashedKey& key, const Change& change, const Attempt& attempt,
                     bool& again);
  Outcome write_mutable(const Lookup& at, const HashedKey& key, const Change& change,
                        const Attempt& attempt, bool& again);
  Outcome write_beneath(const Lookup& at, const HashedKey& key, const Change& change,
                        const Attempt& attempt, bool& again);
  Outcome replace_by_copy(const Lookup& at, const HashedKey& key, const Change& change,
                          const Record* old, bool live, const ByteSpan* present,
                          const Attempt& attempt, bool& lost);
  Outcome append(const Lookup& at, uint64_t flags, const HashedKey& key, ByteSpan value,
                 const Attempt& attempt, bool& lost, LogAddress& placed);
  static Outcome decide(const Change& change, const ByteSpan* present, bool& erase,
                        ByteSpan& value);
  void count(uint32_t version, int64_t records, int64_t bytes);
  // A record of that length came to `address`; or one went that stood there.
  void count_recent(LogAddress address, int64_t bytes) { count_recent(address, +1, bytes); }
  void uncount_recent(LogAddress address, int64_t bytes) { count_recent(address, -1, -bytes); }
  void count_recent(LogAddress address, int64_t records, int64_t bytes) {
    const uint64_t lap = lap_.load(std::memory_order_relaxed);
    RecentSums& sums =
        recent_[address >= (lap & ~kLapParity) ? lap & kLapParity : ~lap & kLapParity];
    sums.records.add(static_cast<uint64_t>(records));
    sums.bytes.add(static_cast<uint64_t>(bytes));
  }
  LogAddress lap_start() const { return lap_.load(std::memory_order_relaxed) & ~kLapParity; }
  /// By how much what was counted in this lap exceeds the sums; signed, wrapping around.
  struct Drift {
    uint64_t records = 0, bytes = 0;
    bool operator==(const Drift&) const = default;
  };
  Drift drift_at_a_glance() const;
  Drift drift() const;

  storage::EpochProtection& protection_;
  EngineProbe& probe_;
  std::unique_ptr<HybridLog> log_;
  std::unique_ptr<HashIndex> index_;
  UndoneRanges undone_;
  // By even and odd version. Signed sums kept in unsigned counters: they wrap around.
  tailrace::Counter live_records_[2];
  tailrace::Counter live_bytes_[2];
  // What of them stands at or above the present lap's start, and, at the other place, below it. A
  // lap begins a page beyond the tail, before anything is written there: so whoever still sees the
  // lap before, or already this one, finds the same place for a record.
  struct RecentSums {
    observability::Counter records, bytes;
  };
  RecentSums recent_[2];
  observability::Counter blind_writes_;
  std::atomic<uint64_t> blind_writes_before_{0};  // this lap
  static constexpr uint64_t kLapParity = 1;       // addresses are multiples of eight
  std::atomic<uint64_t> lap_{0};  // its start, and its place; start 0: the first one
  bool lap_is_known_ = false;     // the log did not reach this lap's start before it began
};

}  // namespace tailrace::kv
