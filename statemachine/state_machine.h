#pragma once
// Applies committed log records to the store, in order, by one thread whose session serial is the
// log address; remembers client sessions; takes checkpoints and then truncates the log.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/clock.h"
#include "core/result.h"
#include "fasterlog/log.h"
#include "kv/store.h"
#include "observability/metrics.h"
#include "statemachine/anchors.h"
#include "statemachine/command/command.h"
#include "statemachine/cost.h"
#include "statemachine/outcomes/outcome_log.h"
#include "statemachine/state_copy.h"
#include "statemachine/streams/stream_reader.h"
#include "statemachine/types/rules.h"
#include "statemachine/types/scavenge_point.h"
#include "statemachine/types/state_value.h"
#include "statemachine/watermarks.h"

namespace tailrace::statemachine {

struct StateMachineOptions {
  std::chrono::seconds checkpoint_interval{60};  // 0: never by time
  uint64_t checkpoint_log_bytes = 256u << 20;    // applied since the last one; 0: never by bytes
  uint64_t retention_bytes = 0;                  // keep at least this much log below applied
  /// What the rules are to be where this node leads (rules.h). Nobody goes by them once the log has
  /// rules.
  std::chrono::seconds session_ttl{3600};    // by log time; a sixteenth more at most
  uint32_t session_answers = 1024;           // remembered for each session
  SessionLimits session_limits = {};         // of all sessions together
  uint64_t store_reserve_bytes = 32u << 20;  // admission stops this far below capacity
  /// What applying does when the store's disk is full: it waits for room, or fails for good. Only
  /// followers come to that, for a leader admits nothing that finds no room.
  bool waits_for_disk = true;
  uint64_t digest_bytes_per_s = 64u << 20;  // read by a background digest; 0: as fast as it can
  kv::CheckpointKind checkpoint_kind = kv::CheckpointKind::kFoldOver;
  /// The store's is_garbage asks the same object; null: expired keys are never cleared away.
  std::shared_ptr<ExpiryHorizon> expiry_horizon;
  /// Is told what becomes of the log's transactions, for whoever reads events from the log. Opened
  /// by create(). Null: nobody does.
  std::shared_ptr<OutcomeLog> outcomes;
  /// During create(), on its thread: which part (0–1) of the recovered store was read; may be null.
  std::function<void(double)> on_recovery_progress;
};

/// The answers of one applied stretch [from, to), all of whose records are of one epoch. Only
/// commands whose answer says more than "done, no value" are listed, ascending by address; every
/// other one is done.
struct AppliedBatch {
  Epoch epoch;  // 0: never; epochs of stretches do not descend
  AddressRange range;
  std::vector<std::pair<Address, Answer>> answers;
  size_t answer_bytes = 0;  // of their values: about 1 MiB at most
};

/// The digest of the state at the address of a kDigest or kCompare command: order-free sum over all
/// pairs.
struct StateDigest {
  Address address;  // end of that record
  uint64_t high = 0, low = 0;
  uint64_t pairs = 0;
};

/// Where the digests of kCompare commands stand, and whether one runs.
struct DigestProgress {
  Address asked;                      // end of the newest one that was applied since the start
  std::optional<StateDigest> newest;  // of those that were finished
  std::chrono::nanoseconds took{0};   // that one
  bool running = false;
  bool requested = false;  // the one that runs is a kDigest command's
  bool moved = true;       // commands that touch the state were applied since `asked`
};

struct CheckpointStatus {
  kv::CheckpointPhase phase = kv::CheckpointPhase::kRest;
  double progress = 0;
  Address last_address;            // of the newest; 0: there is none
  uint64_t last_unix_time_ns = 0;  // the same
  std::string last_error;          // empty when the last one succeeded
};

/// What applying goes by, and what this node would have it go by.
struct RulesStatus {
  Rules in_force;
  bool in_log = false;  // else they are this node's own: the log has none yet
  Rules wanted;
  uint64_t floor_ns = 0;  // rules.h

  /// How far above the log time a beginning session's bound is to be. Of rules in the log.
  uint64_t bound_window_ns(uint64_t log_time_ns) const {
    return greatest_bound(log_time_ns, in_force, floor_ns) - log_time_ns;
  }
};

/// A key as it is in the applied state.
struct KeyState {
  std::string value;
  /// Where the key was last modified: the log address of the record that wrote it. 0: not known, as
  /// it was before the cluster's rules had positions (Rules::positions).
  uint64_t modified_at = 0;
  uint64_t expires_at_ns = 0;  // unix time; 0: never
};

/// Several keys as they are at one applied address.
struct KeysTogether {
  LogPoint at;
  struct Key {
    bool found = false;
    KeyState state;
  };
  std::vector<Key> keys;  // in the order in which they were asked for
};

/// What the store takes.
struct StoreStatus {
  uint64_t used_bytes = 0, capacity_bytes = 0, live_records = 0;
  kv::Store::LogExtent log;
};

/// Users' pairs whose keys have the scan's prefix, exactly as they were when all below one address
/// was applied, in pieces. One thread at a time. Holds back compaction while it exists.
class StateScan {
 public:
  virtual ~StateScan() = default;
  virtual Address address() const = 0;
  /// Of the record that ends there; 0 when the log does not know.
  virtual Epoch epoch() const = 0;
  using Visitor = std::function<void(ByteSpan key, ByteSpan value)>;
  /// Looks at `most_pairs` pairs with the prefix or `most_log_bytes` of the store's log, whichever
  /// comes first, and visits what has not expired, in no order. False when that was the end.
  virtual Result<bool> next(size_t most_pairs, uint64_t most_log_bytes, const Visitor& visit) = 0;
};

class StateMachine {
 public:
  /// `store` was recovered; applied starts at its checkpoint's point (or log begin when it never
  /// had one). kCorruption when the log no longer reaches back to it.
  static Result<std::unique_ptr<StateMachine>> create(fasterlog::Log& log, kv::Store& store,
                                                      Watermarks& watermarks,
                                                      AnchorRegistry& anchors,
                                                      StateMachineOptions options,
                                                      const Clock& clock = system_clock());
  virtual ~StateMachine() = default;

  /// Called on the applier's thread after each applied stretch, in order. Set before start().
  virtual void set_applied_listener(
      std::function<void(std::shared_ptr<const AppliedBatch>)> listener) = 0;
  /// Starts the applier and checkpoint threads; truncates, so every anchor is to be set before.
  virtual void start() = 0;
  /// Stops them; what is applied stays. No checkpoint is taken.
  virtual void stop() = 0;
  /// committed or durable has moved. Any thread, cheap.
  virtual void notify() = 0;
  /// The failure that stopped applying (store full, bad record), if any: the node is then
  /// unhealthy.
  virtual std::optional<Error> failure() const = 0;

  /// Whether the leader may take another command: the store together with what is in the log
  /// unapplied must stay within its disk budget. `extra_in_flight`: extra_store_bytes() of those
  /// that the leader has taken and that are not applied. kWouldBlock while there is no room, but
  /// what is applied or compacted next will make some; else kResourceExhausted. What frees room may
  /// use the reserve (store_reserve_bytes) too: a full store can be emptied. Any thread.
  virtual Result<> admit(const CommandCost& cost, uint64_t extra_in_flight) const = 0;

  /// Counts a command that was refused because admit() found no room for it. Any thread.
  virtual void note_refused_write() const {}

  /// A key's value in the applied state. kNotFound when absent. Any thread; waits for the disk.
  virtual Result<> read(ByteSpan key, std::string& value) const = 0;
  /// Never waits. kCold: read_async() gets it.
  using ReadOutcome = kv::Store::ReadOutcome;
  virtual Result<ReadOutcome> try_read(ByteSpan key, std::string& value) const = 0;
  /// `done` is called once, on some thread, and must not block: whether there is one, or the error.
  using ReadDone = std::function<void(Result<bool> found, std::string value)>;
  virtual void read_async(ByteSpan key, ReadDone done) const = 0;
  /// The same three, with what else is known of the key.
  virtual Result<> read_state(ByteSpan key, KeyState& into) const = 0;
  virtual Result<ReadOutcome> try_read_state(ByteSpan key, KeyState& into) const = 0;
  using StateDone = std::function<void(Result<bool> found, KeyState state)>;
  virtual void read_state_async(ByteSpan key, StateDone done) const = 0;
  /// Whether somebody still waits for what takes long.
  using GoOn = std::function<bool()>;
  /// The keys as they are when all below one address is applied and nothing above it: never half of
  /// a transaction. Any thread but the applier's; waits for the disk and for the applier. `go_on`
  /// is asked every few ms and before each key that is on disk; kCancelled once it says no.
  /// kResourceExhausted when the stored values take more than `most_bytes`.
  virtual Result<KeysTogether> read_together(const std::vector<std::string>& keys,
                                             size_t most_bytes, const GoOn& go_on) = 0;

  /// A stream in the applied state; nothing: it was never heard of. Any thread; waits for the disk.
  virtual Result<std::optional<StreamHead>> stream_head(std::string_view stream) const = 0;
  /// Up to `most` of a stream's events from version `from` on, or from it down, and its head: where
  /// in the log each is (EventPlace), for the events themselves stand in their transactions
  /// (event_of() in txn/txn.h). What is unreadable is left out, but for events that are too old:
  /// those the caller leaves out, by the times in the records (streams/stream_reader.h). Any
  /// thread; waits for the disk, one page of the index for 64 events. Memory: 24 bytes an entry.
  virtual Result<StreamEntries> stream_entries(std::string_view stream, StreamVersion from,
                                               size_t most, Direction direction) const = 0;
  /// The first streams that exist, whose names begin with `prefix` and come after `after`, by their
  /// names, within the limits, as of one moment. To be read in pieces; reads all of the store,
  /// whatever the prefix. Errors as of start_scan(); end it.
  virtual Result<std::unique_ptr<StreamList>> start_stream_list(std::string_view prefix,
                                                                std::string_view after,
                                                                StreamListLimits limits) = 0;
  /// Any thread but the applier's; may wait for a running checkpoint. kUnavailable when the applier
  /// has stopped, kResourceExhausted while there are too many.
  virtual Result<std::unique_ptr<StateScan>> start_scan(ByteSpan prefix) = 0;

  /// The time of the newest applied commit mark that has moved it; decides what has expired.
  virtual uint64_t log_time_ns() const = 0;
  /// Whether a key may have expired by `now_ns`, what log time is by now, and only what is applied
  /// does not know it yet: the leader then appends a kTime command.
  virtual bool wants_log_time(uint64_t now_ns) const = 0;
  /// Any thread.
  virtual RulesStatus rules() const = 0;
  /// Up to where event files are to be without dead events, by what is applied. Any thread.
  virtual ScavengePoint scavenge_point() const { return {}; }
  virtual StoreStatus store_status() const = 0;

  /// Waits until applied() >= address. kTimedOut, kClosed, or the failure that stopped applying.
  virtual Result<> wait_applied(Address address, SteadyTime deadline) = 0;

  /// Takes a checkpoint now (or joins the one that runs), truncates, and calls `done` on some
  /// thread with the checkpoint's address.
  virtual void request_checkpoint(std::function<void(Result<Address>)> done) = 0;
  virtual CheckpointStatus checkpoint_status() const = 0;

  /// Digests at recent kDigest and kCompare commands; kWouldBlock while it is being computed beside
  /// the applier, kNotFound for an address that is not (or no more) kept, or was skipped. Any
  /// thread.
  virtual Result<StateDigest> digest_at(Address address) const = 0;
  virtual DigestProgress digest_progress() const = 0;
  /// XXH3-128 of the raw log bytes in `range` (both ends at commit-mark ends or begin). `go_on` is
  /// asked now and then; kCancelled once it says no.
  virtual Result<std::pair<uint64_t, uint64_t>> log_digest(AddressRange range,
                                                           const GoOn& go_on) const = 0;

  /// The newest checkpoint, or that of `token`, to be read by another node as long as the object
  /// lives; `owner` is whose store this is. kNotFound when there is none. Any thread; reads a
  /// little of the disk. The object must not outlive this one.
  virtual Result<std::unique_ptr<StateCopySource>> open_copy(std::string owner, uint64_t token) = 0;

  virtual uint64_t session_count() const = 0;
  virtual void register_metrics(observability::MetricRegistry& registry) = 0;
};

}  // namespace tailrace::statemachine
