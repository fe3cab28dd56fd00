#pragma once
// The thread that takes checkpoints, one at a time, and freezes moments for scans.
//
// A checkpoint of version v, of the kinds that are a state:
//   PREPARE       its directory; the index image, which may lag behind the log from where it began
//   cross over    boundary = tail; all sessions go on to v + 1, and the points are known
//   WAIT_FLUSH    end = the sealed tail. Fold-over: the log freezes up to there and is flushed.
//                 Snapshot: what is in memory only is copied into a file. The log's files are
//                 synced, the hook is asked, MANIFEST is published.
//   REST          older checkpoints are removed, then the log's disk space that none of them needs.
// An index image alone ends in PREPARE.

#include <atomic>
#include <deque>
#include <functional>
#include <future>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/mutex.h"
#include "kv/checkpoint/coordinator.h"
#include "kv/checkpoint/files.h"
#include "kv/checkpoint/kept.h"
#include "kv/engine/engine.h"
#include "kv/log/pins.h"
#include "kv/types/checkpoint.h"
#include "kv/types/options.h"
#include "kv/types/probe.h"

namespace tailrace::kv {

class CheckpointThread {
 public:
  struct Context {
    storage::FileSystem& file_system;
    const StoreOptions& options;
    const Clock& clock;
    Engine& engine;
    CheckpointCoordinator& coordinator;
    CheckpointDirectory& directory;
    LogPins& pins;
    Mutex& grow_mutex;  // held while the index's image is taken
    CheckpointProbe& probe;
  };
  /// What recovery found.
  struct Start {
    uint64_t next_token = 1;
    KeptCheckpoints kept;
    std::optional<IndexImage> image;  // that the next checkpoint may build on
  };
  CheckpointThread(const Context& context, Start start);
  /// Cancels what runs and what waits, and tells whoever wants to know.
  ~CheckpointThread();

  Result<> start(CheckpointRequest request);
  CheckpointProgress progress() const;

  /// A moment of the store from which nothing changes in place any more.
  struct Moment {
    PointInLog point;
    LogAddress begin = 0;  // of the log at that moment; pinned
    uint64_t pin = 0;      // the caller's to remove
    std::vector<SessionPoint> points;
  };
  Result<Moment> freeze_moment();

  /// The least address that a kept checkpoint, or the one being taken, needs on disk.
  LogAddress begin_needed() const;
  /// Gives back the log's disk space that neither checkpoints nor pins nor the store need.
  Result<> release_disk();

  /// The checkpoint's manifest, or that of the newest state; its files and its part of the log stay
  /// until done_reading().
  Result<Manifest> start_reading(std::optional<uint64_t> token);
  void done_reading(uint64_t token);

 private:
  struct Job {
    std::optional<CheckpointRequest> checkpoint;
    std::promise<Result<Moment>> moment;
  };

  void run();
  void run_checkpoint(const CheckpointRequest& request);
  Result<Moment> take_moment();

  // checkpoint.cc; on the thread.
  Result<CheckpointInfo> take(const CheckpointRequest& request);
  Result<> write(Manifest& manifest, const CheckpointRequest& request);
  Result<> write_index(Manifest& manifest);
  Result<> write_state(Manifest& manifest);
  Result<> write_snapshot(Manifest& manifest);
  Result<> publish(Manifest& manifest, const CheckpointRequest& request);
  uint64_t buckets_in_use() const;
  bool is_stopping() const { return stopping_.load(std::memory_order_relaxed); }
  void expect(uint64_t bytes) { expected_bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  Result<> note_written(uint64_t bytes);
  /// A part that was expected to take so many bytes is on disk and takes `bytes`.
  Result<> note_part(uint64_t expected, uint64_t bytes);
  /// To the hook, if there is one.
  void tell(CheckpointPhase phase);
  void tell_bytes();
  CheckpointProgress measure(CheckpointPhase phase) const;
  void remove_old(CheckpointKind published);

  const Context context_;
  HybridLog& log_;

  // The thread's own.
  uint64_t next_token_;
  std::optional<IndexImage> image_;  // the newest
  struct Base {
    uint64_t version = 0;
    LogAddress end = 0;
    std::vector<ChunkFile> snapshots;
  };
  std::optional<Base> base_;                // what an incremental one may build on
  uint64_t file_bytes_ = 0;                 // of the files ended before the present one
  const CheckpointHooks* hooks_ = nullptr;  // of the one that runs
  CheckpointProgress told_;

  std::atomic<uint64_t> written_bytes_{0};
  std::atomic<uint64_t> expected_bytes_{0};
  /// What a fold-over still waits for; progress() asks the log. 0, 0: nothing.
  std::atomic<LogAddress> flush_from_{0};
  std::atomic<LogAddress> flush_to_{0};
  std::atomic<bool> stopping_{false};

  mutable Mutex mutex_;
  Condition wake_;
  std::deque<Job> jobs_ TAILRACE_GUARDED_BY(mutex_);
  bool checkpoint_wanted_ TAILRACE_GUARDED_BY(mutex_) = false;  // waits or runs
  KeptCheckpoints kept_ TAILRACE_GUARDED_BY(mutex_);
  std::optional<LogAddress> running_begin_ TAILRACE_GUARDED_BY(mutex_);
  std::multiset<uint64_t> being_read_ TAILRACE_GUARDED_BY(mutex_);
  /// Being removed or retired: nobody may begin to read them.
  std::set<uint64_t> leaving_ TAILRACE_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace tailrace::kv
