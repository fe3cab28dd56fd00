#pragma once
// Commands: what clients append, as the payload of a log record of kind kCommandRecord.
// docs/formats/command.md has the byte table.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/record_kind.h"
#include "core/result.h"
#include "statemachine/txn/names.h"

namespace tailrace::statemachine {

/// The kind of every log record that carries a command.
inline constexpr RecordKind kCommandRecord = RecordKind::kData;

enum class Operation : uint8_t {
  kEvent = 1,  // key: the stream's name; value: the event. Does not touch the state.
  kPut = 2,
  kDelete = 3,
  kAdd = 4,        // the value is a decimal signed 64-bit integer; an absent key counts as 0
  kCas = 5,        // sets value if the key's value equals `expected`; an absent key never does
  kDigest = 6,     // every node computes the digest of its state at this address
  kExpire = 7,     // sets or takes away when the key expires; its value stays
  kTime = 8,       // nothing; the mark that ends its batch moves the log time
  kCompare = 9,    // every node digests its state of this address beside what it applies
  kRules = 10,     // value: what applying goes by from here on (rules.h)
  kInsert = 11,    // a cas against absent: sets value if there is no such key
  kTxn = 12,       // value: the body of a transaction (txn/txn.h); no key
  kScavenge = 13,  // event files up to its record's end are to be without dead events
  kLast = kScavenge
};  // command_table.h says what each is

struct ClientId {
  uint64_t high = 0, low = 0;
  auto operator<=>(const ClientId&) const = default;
};

/// With it a command is applied exactly once: serials of one client start at 1 and have no gap.
struct SessionSerial {
  ClientId client;
  uint64_t serial = 0;
  /// Of serial 1: log time after which it no longer begins a session (rules.h); 0: it has no bound.
  uint64_t begins_before_ns = 0;
  bool operator==(const SessionSerial&) const = default;
};

/// Views; valid as long as the bytes they were decoded from.
struct Command {
  Operation operation = Operation::kEvent;
  std::optional<SessionSerial> session;
  ByteSpan key;       // or the stream's name
  ByteSpan value;     // put, event, cas, insert: the new value; txn: its body
  ByteSpan expected;  // cas
  int64_t delta = 0;  // add
  /// put, expire, insert: unix time from which on the key is absent, once the log time has reached
  /// it; 0: never. The leader has reckoned it when the command entered the log, nobody does again.
  uint64_t expires_at_ns = 0;
};

/// Replaces `into`. The caller has validated the sizes (validate()).
void encode(const Command& command, std::vector<std::byte>& into);
/// What encode() needs for a command, and the same into a place of that size.
size_t encoded_bytes(const Command& command);
void encode_at(const Command& command, std::byte* place);
/// kCorruption when the bytes are no command; kUnsupported for an operation of a newer version.
Result<Command> decode(ByteSpan payload);
/// kInvalidArgument naming the limit: empty or overlong.
Result<> validate_key(ByteSpan key);
/// kInvalidArgument naming the limit: empty or overlong key, overlong value; or the field that this
/// operation does not have. Whatever passes is decoded again after encode(). Of a transaction also
/// what validate() of txn/txn.h says of its body, which is not dated yet; kCorruption and
/// kUnsupported when the body is none.
Result<> validate(const Command& command, size_t max_value_bytes);

/// What applying came to.
enum class Outcome : uint8_t {
  kDone = 0,
  kAbsent = 1,           // delete or expire of an absent key
  kCasMismatch = 2,      // cas, insert; answer: the present value, or absent
  kNotAnInteger = 3,     // add to a value that is no integer, or overflow
  kSerialGap = 4,        // a serial before this one was never applied; nothing was done
  kSessionExpired = 5,   // of a session that is not known (any more): a serial > 1, or serial 1
                         // whose bound has passed; nothing was done
  kAnswerForgotten = 6,  // applied before, but the answer is no longer kept
  kTxnFailed = 7,        // a check of a txn failed; answer: what it came to (txn/txn_result.h)
  kLast = kTxnFailed
};

struct Answer {
  Outcome outcome = Outcome::kDone;
  bool has_value = false;
  /// Add: the new number; cas mismatch: the present value; txn: its encoded result, also when done.
  std::string value;
  /// Not 0: there is a value of so many bytes, which does not come along and is to be read. It is
  /// longer than kMostAnswerBytes (of a txn: than is kept), or the answer is a repeated one and its
  /// value was not kept.
  uint64_t withheld_bytes = 0;
};

}  // namespace tailrace::statemachine
