#pragma once
// Once keys (txn/txn.h): what a transaction came to, for as long as its key is remembered. The
// store holds them (docs/formats/txn.md), so they are part of every checkpoint; in memory are only
// their ends, in order. What is removed when follows from the pairs and the log time alone: a node
// that was started again goes on as one that was not. The applier's thread.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "core/bytes.h"
#include "core/result.h"
#include "kv/session.h"
#include "statemachine/command/command.h"
#include "statemachine/txn/txn.h"

namespace tailrace::statemachine {

class OnceKeys {
 public:
  /// As many are remembered at a time; each takes about 64 bytes of memory, and of the store what
  /// kMostPairBytes says at most. One more is refused: to forget one early would be to apply twice.
  static constexpr size_t kMost = 1'000'000;
  /// A longer answer is not kept with its key: a repeat is told only how long it was.
  static constexpr size_t kMostKeptBytes = 4096;
  static constexpr size_t kMostPairBytes = 17 + 8 + 2 + kMostKeptBytes;

  /// Takes in one pair of the recovered store whose key begins with 'o', in any order.
  Result<> load_pair(ByteSpan key, ByteSpan value);

  /// The answer of the transaction that had this key first; nothing: there is none, or its time is
  /// over, and then it is removed.
  Result<std::optional<Answer>> find(kv::Session& session, const OnceKey& key, uint64_t log_time_ns,
                                     kv::Serial at);
  bool is_full() const { return ends_.size() >= kMost; }
  size_t size() const { return ends_.size(); }
  /// One that find() has not found. Removes two that are over.
  Result<> remember(kv::Session& session, const OnceKey& key, const Answer& answer,
                    uint64_t log_time_ns, kv::Serial at);
  /// At a mark: removes of those that are over the first kMostRemoved.
  Result<> log_time_moved(kv::Session& session, uint64_t log_time_ns, kv::Serial at);

 private:
  static constexpr size_t kMostRemoved = 256;
  using End = std::tuple<uint64_t, uint64_t, uint64_t>;  // log time, then the key

  Result<> remove_ended(kv::Session& session, uint64_t log_time_ns, size_t most, kv::Serial at);
  Result<> remove(kv::Session& session, const End& end, kv::Serial at);

  std::set<End> ends_;
  std::string value_;
};

}  // namespace tailrace::statemachine
