#pragma once
// Applies transactions (txn/txn.h): all checks against the state at the record, then all effects of
// one list or none of them. Keys, streams and once keys change with the record's one serial, so a
// checkpoint holds all of it or nothing. What an effect needs (the version that an append expects,
// a number that add can be added to) is looked at before the first effect is applied.
//
// The applier's thread. An error is final, as the store's are; a check that fails is none.

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "kv/store.h"
#include "statemachine/command/command.h"
#include "statemachine/expiry_schedule.h"
#include "statemachine/once_keys.h"
#include "statemachine/streams/stream_index.h"
#include "statemachine/txn/txn.h"
#include "statemachine/txn/txn_result.h"
#include "statemachine/types/state_value.h"

namespace tailrace::statemachine {

/// Where and when a transaction is applied.
struct TxnMoment {
  uint64_t address = 0;      // of its record: its position
  kv::Serial at = 0;         // of all its writes
  uint64_t log_time_ns = 0;  // before its record
  bool positions = false;    // whether keys remember where they were last modified
};

class TxnApplier {
 public:
  TxnApplier(kv::Store& store, ExpirySchedule& expiries) : store_(store), expiries_(expiries) {}

  /// One pair of the recovered store whose key begins with kOnceKey; before open().
  Result<> load_once(ByteSpan key, ByteSpan value) { return once_.load_pair(key, value); }
  /// Reads what the store has of streams. `session` outlives this, or close() comes first.
  /// `recorder`, which may be null, is told what becomes of each transaction.
  Result<> open(kv::Session& session, OutcomeRecorder* recorder);
  void close();
  /// Between open() and close().
  StreamIndex& streams() { return *streams_; }

  /// Done with the encoded result, kTxnFailed with it, or what the once key remembers.
  Result<Answer> apply(const Txn& txn, const TxnMoment& moment);
  /// At a mark: once keys that are over go.
  Result<> log_time_moved(uint64_t log_time_ns, kv::Serial at) {
    return once_.log_time_moved(*session_, log_time_ns, at);
  }

 private:
  using Failed = Result<std::optional<FailedCheck>>;

  Result<> run(const Txn& txn);
  Result<> find_failed_checks(const Txn& txn);
  Result<> find_obstacles(const Txn& txn, TxnList list, const std::vector<TxnEffect>& effects);
  Failed failed(const TxnCheck& check);
  Failed failed_key(const TxnCheck& check);
  Failed failed_stream(const TxnCheck& check);
  Failed obstacle(const Txn& txn, const TxnEffect& effect);
  Failed obstacle_of_add(const TxnEffect& effect);
  Failed obstacle_of_append(const Txn& txn, const TxnEffect& effect);

  Result<EffectResult> apply(const Txn& txn, const TxnEffect& effect);
  Result<EffectResult> put(const TxnEffect& effect);
  /// Delete, add and expire.
  Result<EffectResult> modify(const TxnEffect& effect);
  Result<EffectResult> get(const TxnEffect& effect);
  Result<EffectResult> append(const Txn& txn, const TxnEffect& effect);
  Result<EffectResult> set_policy(const TxnEffect& effect);

  /// A user's key; the value is valid until the next call. Nothing: it is absent, or has expired.
  Result<std::optional<StateValue>> look(ByteSpan key);
  StreamAppend batch_of(const Txn& txn, const TxnEffect& effect);
  FailedCheck found(const std::optional<StateValue>& value);
  /// Whether look() has read all that a transaction may.
  bool read_too_much() const { return read_bytes_ > kMostTxnReadBytes; }
  /// What is left of a transaction that did: it fails for this alone, whatever else was found.
  void fail_for_reading(TxnList list, size_t index);
  /// A copy that lives as long as the result; empty once the result has no room for it.
  std::optional<ByteSpan> keep(ByteSpan value);

  kv::Store& store_;
  ExpirySchedule& expiries_;
  kv::Session* session_ = nullptr;
  OutcomeRecorder* recorder_ = nullptr;
  std::unique_ptr<StreamIndex> streams_;
  OnceKeys once_;

  // Of the transaction that is applied.
  TxnMoment moment_;
  TxnResult result_;
  std::deque<std::string> kept_;
  size_t kept_bytes_ = 0;
  uint64_t read_bytes_ = 0;
  uint64_t now_ns_ = 0;  // the log time, or when the leader took it: the later one

  // To be used again.
  std::string key_, stored_, next_;
  std::vector<EventId> ids_;
  std::vector<EventPlace> places_;
  std::vector<std::byte> encoded_;
};

}  // namespace tailrace::statemachine
