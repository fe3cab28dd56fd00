#pragma once
// Takes checkpoints and then truncates the log, in the one safe order: the store's data fsynced,
// the log durable past the point, the outcomes of its transactions durable, the manifest published,
// the anchor moved, the log truncated.

#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "statemachine/applier.h"

namespace tailrace::statemachine {

class Checkpointer {
 public:
  using Done = std::function<void(Result<Address>)>;

  Checkpointer(fasterlog::Log& log, kv::Store& store, Watermarks& watermarks,
               AnchorRegistry& anchors, Applier& applier, const StateMachineOptions& options,
               const Clock& clock, Probe& probe);
  ~Checkpointer();

  void start();
  /// Waits for a checkpoint that runs; the applier must still be there.
  void stop();
  void request(Done done);
  CheckpointStatus status() const;
  /// Sets the anchors for a published checkpoint at `point` and truncates to the least of all.
  Result<> truncate(Address point);
  void recovered(const kv::CheckpointInfo& info, Address point);

 private:
  void run();
  /// An anchor may let go of segments after the checkpoint, as a follower's does that has caught
  /// up. Without writes no other checkpoint would come to free them.
  void reclaim();
  Result<Address> take();
  bool due() const TAILRACE_REQUIRES(mutex_);

  fasterlog::Log& log_;
  kv::Store& store_;
  Watermarks& watermarks_;
  AnchorRegistry& anchors_;
  Applier& applier_;
  const StateMachineOptions options_;
  const Clock& clock_;
  Probe& probe_;

  mutable Mutex mutex_;
  Condition work_;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::vector<Done> requests_ TAILRACE_GUARDED_BY(mutex_);  // for the next, or the running one
  SteadyTime last_ TAILRACE_GUARDED_BY(mutex_);             // the last attempt
  CheckpointStatus status_ TAILRACE_GUARDED_BY(mutex_);
  std::stop_source stop_;
  Address reclaimed_;  // up to where that was tried; of the thread
  std::thread thread_;
};

/// Where the applier's session stands in a checkpoint.
Result<Address> point_of(const kv::CheckpointInfo& info);

}  // namespace tailrace::statemachine
