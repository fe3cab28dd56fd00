#pragma once
// The store behind its interface: engine, coordinator and checkpoint thread, wired together.

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kv/checkpoint_coordinator.h"
#include "kv/checkpoint_files.h"
#include "kv/engine.h"
#include "kv/store.h"

namespace tailrace::kv {

class StoreImpl final : public Store {
 public:
  StoreImpl(storage::FileSystem& file_system, StoreOptions options, const Clock& clock);
  ~StoreImpl() override;

  /// recovery.cc. Once, before anything else.
  Result<> recover();

  const std::optional<CheckpointInfo>& recovered() const override { return recovered_; }
  const std::vector<std::string>& recovery_notes() const override { return notes_; }
  Result<std::vector<CheckpointInfo>> checkpoints() const override;
  Result<std::unique_ptr<Session>> start_session(SessionId id) override;
  Result<> read(ByteSpan key, std::string& value) override;
  Result<> start_checkpoint(CheckpointHooks hooks) override;
  CheckpointProgress checkpoint_progress() const override;
  void for_each(const std::function<void(ByteSpan, ByteSpan)>& visit) override;
  uint64_t live_records() const override { return engine_->live_records(); }
  uint64_t used_bytes() const override { return engine_->used_bytes(); }
  uint64_t capacity_bytes() const override { return engine_->log().capacity_bytes(); }
  size_t max_record_bytes() const override { return engine_->max_record_bytes(); }
  void register_metrics(observability::MetricRegistry& registry) override;

  Engine& engine() { return *engine_; }
  CheckpointCoordinator& coordinator() { return coordinator_; }

 private:
  Result<> load(const Manifest& manifest);
  Result<> fresh_engine();

  // checkpoint.cc, on the checkpoint's thread
  void checkpoint_loop();
  Result<CheckpointInfo> take_checkpoint(const CheckpointHooks& hooks);
  Result<CheckpointInfo> snapshot(Manifest& manifest, const CheckpointHooks& hooks);
  void remove_old_checkpoints(uint64_t published);

  storage::FileSystem& file_system_;
  const StoreOptions options_;
  const Clock& clock_;
  std::unique_ptr<storage::DirectoryLock> lock_;
  // The store's own, not the engine's: a damaged checkpoint is thrown away together with the engine
  // it was loaded into.
  storage::EpochProtection protection_;
  std::unique_ptr<Engine> engine_;
  CheckpointCoordinator coordinator_{protection_};
  CheckpointDirectory directory_;

  std::optional<CheckpointInfo> recovered_;
  std::vector<std::string> notes_;
  std::vector<uint64_t> good_tokens_;  // ascending; before the thread starts, then its own
  uint64_t next_token_ = 1;            // likewise

  std::atomic<uint64_t> written_bytes_{0};
  std::atomic<uint64_t> expected_bytes_{0};

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::optional<CheckpointHooks> wanted_;  // guarded by mutex_
  bool running_ = false;                   // guarded by mutex_
  std::atomic<bool> stopping_{false};      // written under mutex_
  CheckpointProbe probe_;
  observability::MetricRegistry::Registration metrics_;
  std::thread thread_;
};

}  // namespace tailrace::kv
