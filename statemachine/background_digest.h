#pragma once
// Digests of the state beside the applier, at the addresses of kCompare commands, and of kDigest
// commands where the state is large: every node of a cluster digests the same address, and none
// stops for it.

#include <chrono>
#include <functional>
#include <optional>
#include <thread>

#include "core/mutex.h"
#include "kv/store.h"
#include "statemachine/state_machine.h"
#include "statemachine/types/probe.h"

namespace tailrace::statemachine {

/// One at a time: what comes while one runs, or while a checkpoint does, is skipped. A skipped
/// address costs one comparison, or one more request; waiting would cost the applier. What someone
/// has requested takes the place of a comparison that runs.
class BackgroundDigest {
 public:
  using Keep = std::function<void(const StateDigest&)>;
  /// `keep` is called on the digest's thread with each that is finished.
  BackgroundDigest(kv::Store& store, uint64_t bytes_per_s, Probe& probe, Keep keep);
  ~BackgroundDigest();

  void start();
  /// Gives up what runs. The applier's session must still be there, and go on.
  void stop();

  /// The applier's thread, whose session has said by refresh() that it is at `address` exactly.
  /// Returns when the state of that address is held, which takes a millisecond or so, or when that
  /// took too long: the applier goes on, and the address is skipped.
  enum class Purpose { kComparison, kRequest };
  void begin(Address address, uint64_t log_time_ns, Purpose purpose);
  /// Instead of begin(), when it would have to wait.
  void skip(Address address, Purpose purpose) TAILRACE_EXCLUDES(mutex_);

  /// But `moved`.
  DigestProgress progress() const;
  /// Which part (0-1) of the one at `address` is done; nothing when it is not being computed. What
  /// is not, and was not kept, never comes.
  std::optional<double> runs_at(Address address) const;

 private:
  enum class Stage { kIdle, kAsked, kReading };
  struct Job {
    Address address;
    uint64_t log_time_ns = 0;
    Purpose purpose = Purpose::kComparison;
  };

  void run();
  std::optional<StateDigest> compute(const Job& job);
  /// False when the job is to be given up.
  bool rest_until(SteadyTime time, double part_done);

  kv::Store& store_;
  const uint64_t bytes_per_s_;
  Probe& probe_;
  const Keep keep_;

  mutable Mutex mutex_;
  Condition changed_;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = true;
  Stage stage_ TAILRACE_GUARDED_BY(mutex_) = Stage::kIdle;  // of job_
  Job job_ TAILRACE_GUARDED_BY(mutex_);
  double part_done_ TAILRACE_GUARDED_BY(mutex_) = 0;     // of job_
  bool superseded_ TAILRACE_GUARDED_BY(mutex_) = false;  // job_ is to make room for another
  Address asked_ TAILRACE_GUARDED_BY(mutex_);
  std::optional<StateDigest> newest_ TAILRACE_GUARDED_BY(mutex_);
  std::chrono::nanoseconds took_ TAILRACE_GUARDED_BY(mutex_){0};
  std::thread thread_;
};

}  // namespace tailrace::statemachine
