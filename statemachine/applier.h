#pragma once
// The one thread that writes to the store. Its session's serial is the end address of the record
// applied, so a checkpoint's point is a log address at which scanning can begin again.

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "core/mutex.h"
#include "fasterlog/log.h"
#include "kv/store.h"
#include "statemachine/background_digest.h"
#include "statemachine/expiry_schedule.h"
#include "statemachine/outcomes/outcome_log.h"
#include "statemachine/outcomes/outcome_recorder.h"
#include "statemachine/records_ahead.h"
#include "statemachine/session/session_table.h"
#include "statemachine/state_machine.h"
#include "statemachine/stretch_visits.h"
#include "statemachine/txn_applier.h"
#include "statemachine/types/probe.h"
#include "statemachine/types/scavenge_point.h"
#include "statemachine/types/state_value.h"

namespace tailrace::statemachine {

inline constexpr kv::SessionId kApplierSession = 1;

class Applier {
 public:
  using Listener = std::function<void(std::shared_ptr<const AppliedBatch>)>;

  Applier(fasterlog::Log& log, kv::Store& store, Watermarks& watermarks,
          const StateMachineOptions& options, Probe& probe);
  ~Applier();

  /// Takes in the sessions and the log time of the recovered store; `from` is where to go on.
  /// `progress`, which may be null, is told now and then which part (0–1) of the store was read.
  Result<> recover(Address from, const std::function<void(double)>& progress);
  void set_listener(Listener listener) { listener_ = std::move(listener); }
  /// Sums up the state of an address beside this thread. Set before start.
  void set_background(BackgroundDigest* background) { background_ = background; }
  void start();
  void stop();
  /// A write of the store that waits for room on the disk fails: for whoever waits for this thread
  /// before stop().
  void give_up_waiting() { gives_up_.store(true, std::memory_order_release); }
  void wake();

  /// After recover(), before start().
  bool knows_no_stream() { return txns_.streams().knows_no_stream(); }
  std::optional<Error> failure() const;
  Result<> wait_applied(Address address, SteadyTime deadline);
  Result<StateDigest> digest_at(Address address) const;
  void keep(const StateDigest& digest);
  /// Whether the state was touched since the newest kCompare command.
  bool moved() const { return moved_.load(std::memory_order_acquire); }
  const SessionTable& sessions() const { return sessions_; }
  RulesStatus rules() const;
  ScavengePoint scavenge_point() const;
  /// Of what is applied.
  uint64_t log_time_ns() const { return log_time_ns_.load(std::memory_order_acquire); }
  /// What the log time was when all below `address` was applied, nothing more; nothing when that is
  /// too long ago.
  std::optional<uint64_t> log_time_at(Address address) const;
  const ExpirySchedule& expiries() const { return expiries_; }
  /// Done by the applier between two stretches; wake() it after adding one.
  StretchVisits& visits() { return visits_; }
  /// While one exists, the session adopts a checkpoint's or scan's phases at once.
  class Hurry {
   public:
    explicit Hurry(Applier& applier) : applier_(applier) {
      applier_.hurries_.fetch_add(1);
      applier_.wake();
    }
    ~Hurry() { applier_.hurries_.fetch_sub(1); }
    Hurry(const Hurry&) = delete;
    Hurry& operator=(const Hurry&) = delete;

   private:
    Applier& applier_;
  };

 private:
  void run();
  /// Applies one stretch; true when there may be more at once.
  bool apply_stretch();
  /// Tells that what `batch` covers is applied, in `records` records.
  void stretch_applied(std::shared_ptr<AppliedBatch> batch, size_t records);
  Result<> apply_record(const RecordsAhead::Item& item, AppliedBatch& batch);
  Result<Answer> apply_command(const RecordsAhead::Item& item);
  /// Delete, add, cas, insert and expire: what becomes of the key depends on what it is.
  Result<Answer> modify(const Command& command, const std::string& key, kv::Serial at);
  void compare(Address at);
  Result<> digest(Address at);
  void begin_background(Address at, BackgroundDigest::Purpose purpose);
  Result<> apply_mark(const fasterlog::Record& record);
  Result<Answer> apply_rules(ByteSpan value, kv::Serial at);
  Result<Answer> apply_scavenge(const fasterlog::Record& record);
  void fail(Error error) TAILRACE_EXCLUDES(mutex_);
  /// What is committed must be applied: of a full disk it waits for the end.
  bool waits_for_disk();
  /// What is held in memory beside the store.
  Result<> load_scavenge_point();
  Result<> load_state(uint64_t format, const std::function<void(double)>& progress);
  /// From the format that the recovered state is of to the present one.
  Result<> upgrade(kv::Serial at);
  Result<> note_format(uint32_t format, kv::Serial at);
  void end_session();

  fasterlog::Log& log_;
  kv::Store& store_;
  Watermarks& watermarks_;
  Probe& probe_;
  Listener listener_;  // set before start
  BackgroundDigest* background_ = nullptr;
  const std::shared_ptr<OutcomeLog> outcomes_;  // or null
  const bool waits_;                            // for room on the disk

  ExpirySchedule expiries_;

  // The applier's thread only, once it runs.
  std::unique_ptr<fasterlog::LogScanner> scanner_;
  std::unique_ptr<kv::Session> session_;
  SessionTable sessions_;
  OutcomeRecorder recorder_;
  TxnApplier txns_;
  RecordsAhead ahead_;
  std::string value_;
  uint64_t format_ = 0;     // of the state
  bool positions_ = false;  // whether keys remember where they were last modified: the rules say so
  uint64_t position_ = 0;   // of the record that is applied, where they do; else 0

  std::atomic<uint64_t> log_time_ns_{0};  // written by the applier's thread
  std::atomic<bool> moved_{true};         // as well
  std::atomic<int> hurries_{0};
  std::atomic<bool> gives_up_{false};
  SteadyTime told_of_disk_{std::chrono::hours(-1)};  // of the applier's thread
  StretchVisits visits_;

  mutable Mutex mutex_;
  Condition work_, progress_;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  bool woken_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::optional<Error> failure_ TAILRACE_GUARDED_BY(mutex_);
  RulesStatus rules_ TAILRACE_GUARDED_BY(mutex_);
  ScavengePoint scavenge_ TAILRACE_GUARDED_BY(mutex_);
  std::deque<StateDigest> digests_ TAILRACE_GUARDED_BY(mutex_);
  /// Ends of the last commit marks, and their times; ascending.
  std::deque<std::pair<Address, uint64_t>> marks_ TAILRACE_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace tailrace::statemachine
