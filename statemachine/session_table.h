#pragma once
// Client sessions: the last serial of each client and the answers that say more than "done". The
// store holds them (a session under 's' + client id, each of its answers under 'a' + client id +
// serial), so they are part of every checkpoint, and a command writes no more than its own answer;
// the same content is kept in memory, with an index by age. Used by the applier's thread; size() by
// any.

#include <atomic>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "kv/store.h"
#include "statemachine/command.h"
#include "statemachine/rules.h"

namespace tailrace::statemachine {

class SessionTable {
 public:
  /// Key and value of an answer in the store together.
  static constexpr size_t kMostRecordBytes = kMostAnswerBytes + 64;

  /// What is forgotten is part of the state. As long as the log has no rules, `rules` are this
  /// node's own, and all nodes must have the same.
  explicit SessionTable(const Rules& rules) : rules_(rules) {}
  /// From here on these, which the log has.
  void take_rules(const Rules& rules);

  /// Takes in one pair of the recovered store whose key begins with 's' or 'a', in any order;
  /// finish_loading() comes after the last.
  Result<> load_pair(ByteSpan key, ByteSpan value);
  Result<> finish_loading();
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

 private:
  struct Entry {
    bool loaded = false;  // its own pair, not only answers; of no use after finish_loading()
    uint64_t last_serial = 0;
    uint64_t last_time_ns = 0;      // the log time when its last command was applied
    uint64_t forgotten = 0;         // greatest serial whose answer was dropped
    uint64_t begins_before_ns = 0;  // the bound of its first command; 0: it had none
    size_t bytes = 0;               // of the answers
    std::deque<std::pair<uint64_t, Answer>> answers;  // ascending
  };
  Result<> write_entry(kv::Session& session, ClientId client, const Entry& entry, kv::Serial at);
  Result<> write_answer(kv::Session& session, ClientId client, uint64_t serial,
                        const Answer& answer, kv::Serial at);

  Result<> remove(kv::Session& session, ClientId client, kv::Serial at);

  Rules rules_;
  bool rules_in_log_ = false;
  std::map<ClientId, Entry> sessions_;
  /// By last use, but for those that are too old and held by their bounds: by these.
  std::set<std::pair<uint64_t, ClientId>> by_age_, held_;
  std::atomic<uint64_t> count_{0};
};

}  // namespace tailrace::statemachine
