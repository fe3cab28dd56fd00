#pragma once
// Index and hybrid log together: finding, writing, walking and compacting records. It knows
// versions but not who decides them (checkpoint_coordinator.h), and no disk.
//
// Versions. While checkpoint v is being taken, sessions that have crossed over write version v + 1
// and never touch a record of version <= v: they copy it. A session still in v that meets a record
// of v + 1 is told so (kShifted); it crosses over, unless it is in the middle of a serial, and then
// writes *beneath*: a record that only the snapshot of v sees, as if the write had come just before
// the newer one.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kv/hash_index.h"
#include "kv/hybrid_log.h"
#include "kv/probe.h"
#include "storage/epoch_protection.h"

namespace tailrace::kv {

struct HashedKey {
  explicit HashedKey(ByteSpan text);
  ByteSpan bytes;
  uint64_t hash;
};

class Engine {
 public:
  struct Options {
    HybridLog::Options log;
    uint64_t index_buckets = 0;
  };
  static Result<std::unique_ptr<Engine>> create(const Options& options,
                                                storage::EpochProtection& protection);

  storage::EpochProtection& protection() { return protection_; }

  enum class Outcome {
    kDone,
    kAbsent,      // an erase found nothing
    kShifted,     // the key has a record of a greater version; nothing changed
    kNeedsSpace,  // nothing changed; make_space() and try again
  };
  /// How a session writes at the moment.
  struct Version {
    uint32_t version = 1;
    uint32_t in_place_from = 0;  // records below this version must stay as they are
  };
  struct Attempt {
    bool full = false;     // no space was to be had: update in place wherever that is allowed
    bool beneath = false;  // write beneath a greater version
  };
  /// One write under protection. `value` null: erase.
  Outcome try_write(const HashedKey& key, const ByteSpan* value, const Version& version,
                    const Attempt& attempt);

  /// False when absent. Takes protection itself.
  bool read(ByteSpan key, std::string& value);
  void prefetch(ByteSpan key) const { index_->prefetch(HashedKey(key).hash); }

  /// Outside protection: makes released pages usable and compacts until a record of `bytes` fits.
  /// False when it cannot be had. While compaction is held, only `break_hold` lets it go on, and
  /// only where it helps.
  bool make_space(uint64_t bytes, bool break_hold);
  /// Outside protection, after a write: a bounded piece of compaction when much is garbage.
  void maintain() {
    if (compaction_wanted_.load(std::memory_order_relaxed)) [[unlikely]]
      compact_a_little();
  }
  /// While held, no record is moved and no page released: what a checkpoint is to write stays.
  /// First it compacts as far as copies of all live records would want the room, for that is what
  /// writers may make until it is released. Outside protection.
  void hold_compaction();
  bool compaction_held() const { return compaction_held_.load(std::memory_order_relaxed); }
  /// False when a writer that found the memory full has broken the hold since: what was visited
  /// meanwhile is worthless.
  bool release_compaction();

  /// Every live pair of `bucket` (kAllVersions), or as of version v. The visitor runs under
  /// protection.
  static constexpr uint32_t kAllVersions = UINT32_MAX;
  using Visitor = std::function<void(ByteSpan key, ByteSpan value)>;
  void visit_buckets(uint64_t from, uint64_t to, uint32_t version, const Visitor& visit);

  uint64_t live_records() const { return sum_of(live_records_); }
  uint64_t live_bytes() const { return sum_of(live_bytes_); }
  /// What cannot be had for new records: live ones, page ends, and the garbage while it is held.
  uint64_t used_bytes() const;
  const HashIndex& index() const { return *index_; }
  const HybridLog& log() const { return *log_; }
  size_t max_record_bytes() const;
  EngineProbe& probe() { return probe_; }

 private:
  explicit Engine(storage::EpochProtection& protection) : protection_(protection) {}

  LogAddress find_key(LogAddress from, LogAddress begin, ByteSpan key) const;
  LogAddress append(LogAddress previous, uint64_t flags, uint32_t version, ByteSpan key,
                    const ByteSpan* value, HybridLog::Purpose purpose);
  Outcome insert(const HashIndex::Found& found, LogAddress head, uint64_t flags, uint32_t version,
                 const HashedKey& key, const ByteSpan* value, bool& lost);
  Outcome write_beneath(const HashIndex::Found& found, LogAddress head, LogAddress begin,
                        uint32_t version, const HashedKey& key, const ByteSpan* value, bool& lost);
  void write_in_place(Record& record, uint64_t was, const ByteSpan* value);
  void abandon(LogAddress address);
  void count(int64_t records, int64_t bytes);

  // compaction.cc
  void compact_a_little();
  bool compact_first_page(uint64_t budget_bytes);
  bool compact_record(LogAddress address);
  uint64_t garbage_bytes() const;
  void decide_compaction();

  storage::EpochProtection& protection_;
  std::unique_ptr<HashIndex> index_;
  std::unique_ptr<HybridLog> log_;

  // Signed sums kept in unsigned counters: they wrap around. While threads write, one's share may
  // be read before and another's after: below zero for a moment.
  static uint64_t sum_of(const observability::Counter& counter) {
    return static_cast<uint64_t>(std::max<int64_t>(0, static_cast<int64_t>(counter.value())));
  }
  observability::Counter live_records_;
  observability::Counter live_bytes_;

  std::atomic<bool> compaction_wanted_{false};
  std::atomic<LogAddress> next_decision_{0};
  std::mutex compaction_mutex_;
  std::atomic<bool> compaction_held_{false};  // written under compaction_mutex_
  bool hold_broken_ = false;                  // guarded by compaction_mutex_
  LogAddress compaction_at_ = 0;              // guarded by compaction_mutex_: all below it is moved
  uint64_t page_safe_epoch_ = 0;              // guarded by compaction_mutex_
  bool page_opened_ = false;                  // guarded by compaction_mutex_

  EngineProbe probe_;
};

}  // namespace tailrace::kv
