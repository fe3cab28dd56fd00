#pragma once
// Client sessions: the last serial of each client and the answers that say more than "done". The
// store holds them (keys 's' + client id), so they are part of every checkpoint; the same content
// is kept in memory, with an index by age. Used by the applier's thread; size() by any.

#include <atomic>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "kv/store.h"
#include "statemachine/command.h"

namespace tailrace::statemachine {

class SessionTable {
 public:
  /// Of one session: bounds what a command adds to the store beside its own key.
  static constexpr size_t kMostAnswerBytes = 64u << 10;
  /// Key and value of a session in the store together.
  static constexpr size_t kMostRecordBytes = kMostAnswerBytes + 64;

  /// All nodes must have the same limits: what is forgotten is part of the state.
  SessionTable(uint64_t ttl_ns, uint32_t answers) : ttl_ns_(ttl_ns), answers_(answers) {}

  /// Takes in one pair of the recovered store whose key begins with 's'.
  Result<> load_pair(ByteSpan key, ByteSpan value);

  /// The answer when the command must not be applied (replay, gap, expired); nothing when it must.
  std::optional<Answer> check(const SessionSerial& command) const;
  /// The command was applied with this answer; writes the session with the command's serial.
  Result<> remember(kv::Session& session, const SessionSerial& command, const Answer& answer,
                    uint64_t log_time_ns, kv::Serial at);
  /// The log time moved on, from the commit mark before to this one. Removes the sessions whose
  /// last command is older than the ttl; they live a sixteenth of it longer at most.
  Result<> log_time_moved(kv::Session& session, uint64_t from_ns, uint64_t to_ns, kv::Serial at);

  uint64_t size() const { return count_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    uint64_t last_serial = 0;
    uint64_t last_time_ns = 0;  // the log time when its last command was applied
    uint64_t forgotten = 0;     // greatest serial whose answer was dropped
    size_t bytes = 0;           // of the answers
    std::deque<std::pair<uint64_t, Answer>> answers;
  };
  Result<> write(kv::Session& session, ClientId client, const Entry& entry, kv::Serial at);
  static std::string key_of(ClientId client);
  static std::string encode_entry(const Entry& entry);

  const uint64_t ttl_ns_;
  const uint32_t answers_;
  std::map<ClientId, Entry> sessions_;
  std::set<std::pair<uint64_t, ClientId>> by_age_;
  std::atomic<uint64_t> count_{0};
};

}  // namespace tailrace::statemachine
