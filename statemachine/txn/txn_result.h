#pragma once
// What a transaction came to: kept as a session's answer, and sent to the client.
// docs/formats/txn.md has the byte tables. All functions here are pure: any thread may call them.

#include <cstdint>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"

namespace tailrace::statemachine {

/// A longer value that a failed check found does not come with the result.
inline constexpr size_t kMaxFoundBytes = 4096;
/// No result is longer once limit_bytes() has seen it.
inline constexpr size_t kMostTxnResultBytes = 1u << 20;

/// Of the values that one transaction looks at, for its checks and gets: it ends at the first that
/// goes beyond. So a short transaction that names a large value often costs no more than a long
/// one.
inline constexpr uint64_t kMostTxnReadBytes = 16u << 20;

// The numbers of the enumerations below are those of the format.

enum class TxnList : uint8_t {
  kChecks = 0,
  kThen = 1,
  kElse = 2,
  kOnce = 3,  // the once key, index 0
  kLast = kOnce
};

/// What is there instead of what was to be.
enum class FoundKind : uint8_t {
  kAbsent = 1,       // there is no such key
  kValue = 2,        // the key's value
  kWithheld = 3,     // `number`: bytes of the key's value, which does not come along
  kPosition = 4,     // `number`: where the key was last modified
  kNoStream = 5,     // the stream does not exist
  kVersion = 6,      // `number`: of the stream's last event
  kTombstoned = 7,   // the stream takes no more events
  kLogTime = 8,      // `number`: unix time in ns
  kPartialIds = 9,   // some ids of an append are there, but not all in a row; `number`: which event
  kStreamFull = 10,  // the stream has no versions left for the events; `number`: as kVersion
  kOnceFull = 11,    // as many once keys are remembered as can be; `number`: how many
  kReadLimit = 12,   // not looked at: values of more than `number` bytes were read before
  kLast = kReadLimit
};

/// A check that failed; or an effect whose own condition did, as what an append expects.
struct FailedCheck {
  TxnList list = TxnList::kChecks;
  uint16_t index = 0;  // in that list
  FoundKind found = FoundKind::kAbsent;
  ByteSpan value = {};  // at most kMaxFoundBytes
  uint64_t number = 0;
};

enum class EffectResultKind : uint8_t {
  kNothing = 1,  // done, and there is no more to say
  kNumber = 2,   // add: the new number
  kValue = 3,    // get
  kAbsent = 4,   // get, delete, expire: there is no such key
  /// get: `withheld_bytes` of the value, which does not come along; 0: it was not looked at, for
  /// the transaction had read kMostTxnReadBytes before.
  kWithheld = 5,
  kAppended = 6,
  kLast = kAppended
};

struct EffectResult {
  EffectResultKind kind = EffectResultKind::kNothing;
  int64_t number = 0;
  ByteSpan value = {};
  uint64_t withheld_bytes = 0;
  // Appended: the versions of its first and last event, first <= last.
  uint64_t first_version = 0, last_version = 0;
  bool replayed = false;  // they were there before, from an append of the same event ids
};

/// Views; valid as long as the bytes they were made from. To be used again: clear() keeps the room.
struct TxnResult {
  bool succeeded = false;
  uint64_t position = 0;  // where in the log the transaction stands
  /// None if it succeeded, else at least one; at most kMaxTxnItems.
  std::vector<FailedCheck> failed;
  /// Of each effect of the list that was applied, in order; none if none was. At most kMaxTxnItems.
  std::vector<EffectResult> results;

  void clear();
};

/// What is found under a key: the value, or how long it is if that is more than kMaxFoundBytes.
FailedCheck found_value(TxnList list, uint16_t index, ByteSpan value);

/// Leaves values out, those of the last gets first and then those that failed checks found, until
/// the result is kMostTxnResultBytes long at most. Whatever kMaxTxnItems items come to, it is then.
void limit_bytes(TxnResult& result);

/// Replaces `into`. The result keeps to what stands at the fields; what is not of a kind is not
/// encoded.
void encode(const TxnResult& result, std::vector<std::byte>& into);
size_t encoded_bytes(const TxnResult& result);

/// Replaces `into`. kCorruption when the bytes are no result; kUnsupported for a version, a kind or
/// a flag of a newer program. What is decoded is encoded to the same bytes. After an error nothing
/// is said of `into`.
Result<> decode(ByteSpan bytes, TxnResult& into);

}  // namespace tailrace::statemachine
