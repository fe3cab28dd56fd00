#pragma once
// Client sessions: the last serial of each client and the answers that say more than "done". The
// store holds them (session_records.h), so they are part of every checkpoint, and a command writes
// no more than its own answer; the same content is kept in memory, in the order of last use. Where
// the rules have limits, that order decides what goes first, and is found in the store alone: a
// node that was started again goes on as one that was not. Used by the applier's thread; the
// numbers by any.

#include <atomic>
#include <optional>
#include <set>
#include <utility>

#include "kv/store.h"
#include "statemachine/command/command.h"
#include "statemachine/session/kept_answers.h"
#include "statemachine/session/session_records.h"
#include "statemachine/session/session_slab.h"
#include "statemachine/types/probe.h"
#include "statemachine/types/rules.h"

namespace tailrace::statemachine {

class SessionTable {
 public:
  /// Key and value of an answer in the store together.
  static constexpr size_t kMostRecordBytes = kMostAnswerBytes + 64;

  /// What is forgotten is part of the state. As long as the log has no rules, `rules` are this
  /// node's own, without limits, and all nodes must have the same.
  SessionTable(const Rules& rules, Probe& probe) : rules_(rules), probe_(probe) {}
  /// From here on these, which the log has. Limits that are exceeded now are kept to bit by bit, at
  /// the commands that follow: no single one is to take long.
  void take_rules(const Rules& rules);

  /// Takes in one pair of the recovered store whose key begins with 's' or 'a', in any order;
  /// finish_loading() comes after the last.
  Result<> load_pair(ByteSpan key, ByteSpan value);
  Result<> finish_loading();
  /// The value of kEvictedKey, where there is one.
  Result<> load_evicted(ByteSpan value);
  /// The same for state of format 1, where a session's entry holds its answers.
  Result<> load_pair_of_format_1(ByteSpan key, ByteSpan value);
  /// Writes all of it, as it is to be in the present format.
  Result<> write_all(kv::Session& session, kv::Serial at);

  /// The answer when the command must not be applied (replay, gap, expired); nothing when it must.
  std::optional<Answer> check(const SessionSerial& command, uint64_t log_time_ns) const;
  /// The command was applied with this answer; writes the session with the command's serial.
  Result<> remember(kv::Session& session, const SessionSerial& command, const Answer& answer,
                    uint64_t log_time_ns, kv::Serial at);
  /// The log time moved on, from the commit mark before to this one. Removes the sessions whose
  /// last command is older than the ttl, and whose bound has passed (rules.h); they live a
  /// sixteenth of the ttl longer at most.
  Result<> log_time_moved(kv::Session& session, uint64_t from_ns, uint64_t to_ns, kv::Serial at);

  uint64_t size() const { return count_.load(std::memory_order_relaxed); }
  /// Of all kept answers, as the limits count them.
  uint64_t answers_bytes() const { return answers_bytes_.load(std::memory_order_relaxed); }
  /// The greatest bound of a session that was evicted.
  uint64_t floor_ns() const { return floor_ns_.load(std::memory_order_acquire); }

 private:
  bool may_begin_now(const SessionSerial& command, uint64_t log_time_ns) const;
  void use(SessionSlot slot);
  void sort();
  /// Keeps an answer that says more than "done", or says of its serial that it is forgotten.
  Result<> keep(kv::Session& session, SessionSlot slot, const Answer& answer, kv::Serial at);
  Result<> enforce_limits(kv::Session& session, uint64_t answers_bytes_before, kv::Serial at);
  Result<> forget_oldest_of(kv::Session& session, ClientSession& entry, kv::Serial at);
  Result<> evict(kv::Session& session, SessionSlot slot, kv::Serial at);
  Result<> remove(kv::Session& session, SessionSlot slot, kv::Serial at);
  Result<> write_entry(kv::Session& session, const ClientSession& entry, kv::Serial at);
  Result<> write_evicted(kv::Session& session, kv::Serial at);
  void publish();

  Rules rules_;
  Probe& probe_;
  bool rules_in_log_ = false;
  SessionSlab sessions_;  // as they were used, and so by their times, too
  KeptAnswers answers_;   // as they were made
  Evicted evicted_;
  /// Those older than this one are too old, and held by their bounds: these.
  SessionSlot young_ = kNoSession;
  std::set<std::pair<uint64_t, SessionSlot>> held_;
  std::atomic<uint64_t> count_{0}, answers_bytes_{0}, floor_ns_{0};
};

}  // namespace tailrace::statemachine
