#pragma once
// The one thread that writes to the store. Its session's serial is the end address of the record
// applied, so a checkpoint's point is a log address at which scanning can begin again.

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "fasterlog/log.h"
#include "kv/store.h"
#include "statemachine/probe.h"
#include "statemachine/session_table.h"
#include "statemachine/state_machine.h"

namespace tailrace::statemachine {

inline constexpr kv::SessionId kApplierSession = 1;

class Applier {
 public:
  using Listener = std::function<void(std::shared_ptr<const AppliedBatch>)>;

  Applier(fasterlog::Log& log, kv::Store& store, Watermarks& watermarks,
          const StateMachineOptions& options, Probe& probe);
  ~Applier();

  /// Takes in the sessions and the log time of the recovered store; `from` is where to go on.
  Result<> recover(Address from);
  void set_listener(Listener listener) { listener_ = std::move(listener); }
  void start();
  void stop();
  void wake();

  std::optional<Error> failure() const;
  Result<> wait_applied(Address address, SteadyTime deadline);
  Result<StateDigest> digest_at(Address address) const;
  uint64_t session_count() const { return sessions_.size(); }

 private:
  void run();
  /// Applies one stretch; true when there may be more at once.
  bool apply_stretch();
  Result<> apply_record(const fasterlog::Record& record, AppliedBatch& batch);
  Result<Answer> apply_command(const Command& command, kv::Serial at);
  Result<> apply_mark(const fasterlog::Record& record);
  void fail(Error error);

  fasterlog::Log& log_;
  kv::Store& store_;
  Watermarks& watermarks_;
  Probe& probe_;
  Listener listener_;  // set before start

  // The applier's thread only, once it runs.
  std::unique_ptr<fasterlog::LogScanner> scanner_;
  std::unique_ptr<kv::Session> session_;
  SessionTable sessions_;
  uint64_t log_time_ns_ = 0;
  std::string key_, present_;

  mutable std::mutex mutex_;
  std::condition_variable work_, progress_;
  bool stopping_ = false;            // guarded by mutex_
  bool woken_ = false;               // guarded by mutex_
  std::optional<Error> failure_;     // guarded by mutex_
  std::deque<StateDigest> digests_;  // guarded by mutex_, ascending
  std::thread thread_;
};

}  // namespace tailrace::statemachine
