#pragma once
// Judges whether what clients saw of a key-value store can have happened: is there one order of all
// operations, each at one moment between its invocation and its return, in which every answer is
// right? Keys do not touch each other, so each key's history is judged alone.
//
// The search goes through invocations and returns in the order of time and keeps every state that
// the key may be in ("configurations": the value, and which pending operations have already taken
// effect), as Lowe's just-in-time linearisation does (Testing for linearizability, 2017): nothing
// takes effect before it must, which is when its own return, or that of an operation that saw it,
// comes. No configuration left: the history is refused, and the report names the operation whose
// return ended the last one.

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

namespace tailrace::testing {

enum class HistoryKind : uint8_t {
  kRead,
  kWrite,
  kErase,
  kInsertIfAbsent,
  kCompareAndSwap,
  kAdd,  // the value is a decimal number, 0 when absent; `value` is what is added
};

enum class HistoryOutcome : uint8_t {
  kOk,
  kUnknown,  // it happened once at any time after its invocation, or never
};

/// What a client did and what it was told.
struct HistoryOperation {
  uint64_t client = 0;
  HistoryKind kind = HistoryKind::kRead;
  std::string key;
  std::string value;     // what was to be written or added
  std::string expected;  // compare and swap
  HistoryOutcome outcome = HistoryOutcome::kOk;
  /// Of any clock that all clients share. Of equal times the invocation is the earlier one: more is
  /// taken to be concurrent than was.
  uint64_t invoked = 0;
  uint64_t returned = 0;  // of kOk

  // Answers, of kOk. What was not said is not checked.

  /// Erase: the key was present. Insert, compare and swap: it was written.
  std::optional<bool> done;
  enum class Seen : uint8_t { kNotSaid, kAbsent, kValue };
  /// Read: what was there. Insert and compare and swap that were not done: what was in the way.
  /// Add: the sum.
  Seen seen = Seen::kNotSaid;
  std::string seen_value;
};

/// "client 3 compare-and-swap k: a -> b, not done, saw c [100, 250]".
std::string describe(const HistoryOperation& operation);

struct Judgement {
  enum class Verdict : uint8_t {
    kLinearizable,
    kNotLinearizable,
    kTooHard,  // more configurations, or more time, than the limit
  };
  Verdict verdict = Verdict::kLinearizable;
  std::string explanation;  // unless linearizable
  uint64_t operations = 0;
  uint64_t unknown = 0;  // of them
  uint64_t keys = 0;
  uint64_t most_configurations = 0;
};

struct JudgeOptions {
  /// Of one key at a time.
  uint64_t most_configurations = 1u << 19;
  /// For one key; then it is too hard. About as much again goes into a short explanation.
  std::chrono::milliseconds most_time{60'000};
  /// What keys held before the history; none: all were absent.
  std::vector<std::pair<std::string, std::string>> initial;
};

/// All keys until one is refused, which is explained. One that is too hard is passed over, and is
/// what is told when no other is refused. The operations may come in any order.
Judgement judge(std::vector<HistoryOperation> history, const JudgeOptions& options = {});

}  // namespace tailrace::testing
