#pragma once
// Compaction: what lives in the oldest part of the log is copied to the tail, then the log begins
// behind that part and its disk space is given back (as far as checkpoints and scans allow). The
// compactor's thread does it by the store's policy (CompactionOptions) and when a writer has met
// the disk budget; anybody may ask for it.
//
// Of the records of that part
//  - one that counts, is no tombstone and is its key's newest is copied (Engine::move_to_tail),
//  - the same, but the embedder cannot read it any more: a tombstone takes its place,
//  - a tombstone is left behind: what it hides lies below it and goes with it at the latest,
//  - anything else is left behind.
//
// A crash loses nothing: what was copied is still where it was, as long as a checkpoint needs it.
// What has been walked over once never has to be again, even when begin may not move for a while.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

#include "core/mutex.h"
#include "core/result.h"
#include "kv/engine/record_window.h"

namespace tailrace::kv {

class StoreImpl;

class Compactor {
 public:
  explicit Compactor(StoreImpl& store);
  ~Compactor();

  /// The policy's thread; it also looks after the index's size.
  void start();
  void stop();

  /// See Store::compact.
  Result<LogAddress> compact(LogAddress until);
  /// The policy's compaction. One that is under way stops where it is.
  void pause(bool paused);
  /// Store::hold_compaction().
  std::unique_lock<Mutex> hold(bool wait);
  /// For a writer that the disk budget has refused: compacts until some disk space has been given
  /// back. False when there is nothing to be had. Outside protection.
  bool request_room();

 private:
  enum class Pace : uint8_t { kManual, kPolicy, kRoom };
  void run();
  bool wants_compaction(Pace& pace) const;
  bool may_give_back() const;
  void serve_room();
  /// A segment at most. False when nothing came of it.
  bool compact_some(Pace pace);
  Result<LogAddress> compact_range(LogAddress until, Pace pace);
  Result<> settle(RecordWindow& window, uint64_t& moved_bytes);
  Result<LogAddress> advance_begin(Pace pace) TAILRACE_REQUIRES(work_mutex_);
  bool must_stop(Pace pace) const;
  void keep_pace(Pace pace, std::chrono::steady_clock::time_point since, uint64_t bytes);
  bool is_quiet_hour() const;

  StoreImpl& store_;
  Engine& engine_;
  HybridLog& log_;

  Mutex work_mutex_;  // one compaction at a time
  /// Nothing lives in the log below it.
  LogAddress walked_until_ TAILRACE_GUARDED_BY(work_mutex_) = 0;

  mutable Mutex mutex_;
  Condition wake_;  // the compactor's thread
  Condition room_;  // writers that have asked for room
  uint64_t requested_ TAILRACE_GUARDED_BY(mutex_) = 0;
  uint64_t answered_ TAILRACE_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> paused_{false};
  // Since when begin cannot move because sessions of two versions write; 0: it can.
  std::atomic<int64_t> held_since_ns_{0};
  // Of the compactor's thread: not again before the tail is there, or the time.
  LogAddress next_tail_ = 0;
  std::chrono::steady_clock::time_point not_before_{};
  bool damaged_ = false;
  std::thread thread_;
};

}  // namespace tailrace::kv
