#pragma once
// The store behind its interface: engine, coordinator, compactor and the checkpoint thread, wired
// together.

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "kv/checkpoint/coordinator.h"
#include "kv/checkpoint/files.h"
#include "kv/checkpoint/thread.h"
#include "kv/engine/engine.h"
#include "kv/log/cold_reader.h"
#include "kv/log/pins.h"
#include "kv/store.h"

namespace tailrace::kv {

class Compactor;         // compactor.h
class BackgroundReader;  // background_reader.h

class StoreImpl final {
 public:
  StoreImpl(storage::FileSystem& file_system, StoreOptions options, const Clock& clock);
  ~StoreImpl();

  /// recovery.cc. Once, before anything else.
  Result<> recover();

  const StoreOptions& options() const { return options_; }
  storage::FileSystem& file_system() { return file_system_; }
  Engine& engine() { return *engine_; }
  CheckpointCoordinator& coordinator() { return coordinator_; }
  const Clock& clock() const { return clock_; }

  // store.cc
  Result<std::unique_ptr<Session>> start_session(SessionId id, SessionOptions options);
  Result<std::unique_ptr<Scan>> start_scan(ByteSpan prefix, Scan::Filter wanted);  // scan.cc
  /// scan.cc; a null `wanted` wants all.
  Result<> for_each(const Scan::Filter* wanted, const Scan::Visitor& visit,
                    const std::function<void(double)>& progress);
  Store::ReadOutcome try_read(const HashedKey& key, std::string& value, LogAddress& cold);
  Result<> wait_for_room(uint64_t bytes);
  uint64_t settled_bytes() const;
  uint64_t garbage_bytes() const;
  bool has_garbage() const;
  uint64_t used_bytes() const;
  bool wants_checkpoint() const;
  uint64_t capacity_bytes() const;
  bool is_limited_by_disk() const { return options_.disk_bytes == 0; }
  /// As of the last measure_budget(): asking the disk is a system call.
  uint64_t budget_bytes() const { return budget_bytes_.load(std::memory_order_relaxed); }
  /// Asks the disk and sets aside what compaction needs of it. The compactor's thread, now and
  /// then.
  void measure_budget();
  EngineProbe& probe() { return engine_probe_; }
  Result<> grow_index();
  /// Doubles the index when it has become full. The compactor's thread, now and then.
  void maintain_index();
  // store_metrics.cc
  void register_metrics(observability::MetricRegistry& registry);

  // store_checkpoints.cc
  Result<> start_checkpoint(CheckpointRequest request);
  Result<std::vector<CheckpointInfo>> checkpoints() const;
  Result<> validate_checkpoint(uint64_t token) const;
  Result<std::unique_ptr<CheckpointSource>> open_checkpoint_source(
      std::optional<uint64_t> token);  // checkpoint_source.cc
  CheckpointProgress checkpoint_progress() const;
  /// Runs the phases of a checkpoint without writing; from then on nothing of the point changes in
  /// place. Any thread but a session's; waits for a running checkpoint. The log's beginning at that
  /// moment is pinned: unpin(Moment::pin) when it is not needed any more.
  using Moment = CheckpointThread::Moment;
  Result<Moment> freeze_moment();

  /// Pins hold back the log's begin and the release of disk space.
  uint64_t pin(LogAddress address) { return pins_.add(address); }
  void unpin(uint64_t pin) { pins_.remove(pin); }
  LogAddress least_pin() const { return pins_.least(); }
  /// Compaction has moved what lives below `until`, where a record begins: moves the log's begin
  /// there, unless something below is pinned, and gives back disk space. Returns the begin. Not
  /// while sessions write two versions (kWouldBlock; CheckpointCoordinator::wait_one_version()
  /// waits for that, but who waits must not be what a session in the middle of a serial waits for).
  Result<LogAddress> advance_begin(LogAddress until);
  /// The disk space that neither checkpoints nor pins need.
  Result<> release_disk();

  friend class Store;

 private:
  storage::FileSystem& file_system_;
  const StoreOptions options_;
  const Clock& clock_;
  std::unique_ptr<storage::DirectoryLock> lock_;
  storage::EpochProtection protection_{storage::EpochProtection::Fences::kAtBump};
  LogProbe log_probe_;
  EngineProbe engine_probe_;
  CheckpointProbe checkpoint_probe_;
  std::unique_ptr<Engine> engine_;
  CheckpointCoordinator coordinator_{protection_};
  CheckpointDirectory directory_;
  std::unique_ptr<Compactor> compactor_;
  std::atomic<uint64_t> budget_bytes_{0};
  std::unique_ptr<BackgroundReader> reader_;

  /// Held while the index grows, and while its image is taken.
  Mutex grow_mutex_;

  std::optional<CheckpointInfo> recovered_;
  std::vector<std::string> notes_;
  LogPins pins_;
  std::atomic<size_t> open_scans_{0};
  // After what its thread uses.
  std::unique_ptr<CheckpointThread> checkpoints_;
  observability::MetricRegistry::Registration metrics_;
};

}  // namespace tailrace::kv
