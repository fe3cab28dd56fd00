#pragma once
// Sessions that work through prefix_workload.h on a store, each answer compared, while checkpoints
// of all kinds, scans, compaction and growth go on beside them.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "kv/store.h"
#include "tests/kv/prefix/prefix_workload.h"

namespace tailrace::kv {

struct PrefixRunOptions {
  uint64_t seed = 0;                // of when things happen
  uint64_t most_serials = 20'000;   // of each session; afterwards it is idle
  uint64_t most_pause_us = 20'000;  // between two checkpoints, or two of the other things
  bool checkpoints = true;
  bool upkeep = true;     // compaction, growth, scans
  bool may_fail = false;  // the disk is going to: errors end the run silently
  /// In checkpoints' hooks, on their thread.
  std::function<void()> before_publish;
  std::function<void(const CheckpointInfo&)> published;
};

/// Options that fit the shape: all in memory, or many times larger than it. Everything else by
/// seed.
StoreOptions prefix_store_options(const storage::Path& directory, uint64_t seed,
                                  bool larger_than_memory);
PrefixShape prefix_shape(uint64_t seed, bool larger_than_memory);

/// Compares the whole store, which no session writes to, with the models: first by going through
/// all pairs, then by reading keys. What was wrong, or nothing.
std::string prefix_difference(Store& store, const std::vector<SessionModel>& models, uint64_t seed);

class PrefixRun {
 public:
  /// `models` are at the store's present points.
  PrefixRun(Store& store, const PrefixShape& shape, std::vector<SessionModel> models,
            PrefixRunOptions options);
  ~PrefixRun();

  /// Lets all threads end; the first thing that was wrong, or nothing.
  std::string finish();
  bool failed() const { return failed_; }
  /// All sessions have done what they were to do.
  bool is_idle() const { return idle_ == models_.size(); }
  /// After finish(): as far as the sessions have come.
  const std::vector<SessionModel>& models() const { return models_; }
  uint64_t published() const { return published_; }
  uint64_t scans() const { return scans_; }

 private:
  void work(SessionModel& model);
  void write_one_by_one(Session& session, SessionModel& model);
  void write_batch(Session& session, SessionModel& model, uint64_t serials);
  void read_some(Session& session, const SessionModel& model, Random& random);
  void take_checkpoints();
  void keep_up();
  void scan(Random& random);
  void pause(Random& random, uint64_t most_us) const;
  /// False when it is an error, which is then remembered.
  bool good(const std::string& what, const Result<>& result);
  void wrong(const std::string& what);

  Store& store_;
  const PrefixShape shape_;
  const PrefixRunOptions options_;
  const std::vector<SessionModel> begun_;
  std::vector<SessionModel> models_;  // each its thread's
  std::atomic<bool> stop_{false};
  std::atomic<bool> failed_{false};
  std::atomic<uint64_t> idle_{0}, published_{0}, scans_{0};
  Mutex mutex_;
  std::string first_error_ TAILRACE_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace tailrace::kv
