#pragma once
// Transactions: checks, and what is done if all of them hold or if one does not. Keys and events of
// streams together, applied as one. This is their format alone: the body, which is the value of a
// command record. docs/formats/txn.md has the byte tables.
//
// All functions here are pure: any thread may call them.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"

namespace tailrace::statemachine {

inline constexpr size_t kMaxTxnItems = 4096;  // checks, effects and events together
inline constexpr size_t kMaxEventTypeBytes = 255;
inline constexpr size_t kMaxEventTags = 16;
inline constexpr size_t kMaxEventTagBytes = 255;
inline constexpr size_t kMaxEventMetadataBytes = 64u << 10;
inline constexpr size_t kMaxTxnBytes = 4u << 20;                    // of an encoded body
inline constexpr uint64_t kMaxTxnDedupe = 256;                      // ids that a stream remembers
inline constexpr uint64_t kMaxOnceNs = 604'800ull * 1'000'000'000;  // seven days

// The numbers of the enumerations below are those of the format.

enum class CheckKind : uint8_t {
  kKeyEquals = 1,
  kKeyAbsent = 2,
  kKeyExists = 3,
  kKeyModifiedAt = 4,  // last modified at the position `at`
  kKeyNumber = 5,      // a decimal signed 64-bit integer, min <= it <= max
  kStreamAt = 6,       // its last event has the version `at`
  kStreamAbsent = 7,
  kStreamExists = 8,
  kBefore = 9,  // the log time is below `at`
  kLast = kBefore
};

struct TxnCheck {
  CheckKind kind = CheckKind::kKeyAbsent;
  ByteSpan name = {};        // the key, or the stream's name
  ByteSpan value = {};       // key equals
  int64_t min = 0, max = 0;  // key number; both are allowed
  uint64_t at = 0;           // a position, a version, or unix time in ns
};

enum class TxnEffectKind : uint8_t {
  kPut = 1,
  kDelete = 2,
  kAdd = 3,     // the value is a decimal signed 64-bit integer; an absent key counts as 0
  kExpire = 4,  // sets or takes away when the key expires; its value stays
  kGet = 5,     // the value comes with the result
  kAppend = 6,
  kPolicy = 7,        // what is kept of a stream
  kDeleteStream = 8,  // its numbering goes on
  kTombstone = 9,     // final: the stream takes no more events
  kLast = kTombstone
};

/// Whether what it names is a stream; else it is a key, or nothing.
constexpr bool is_of_stream(CheckKind kind) {
  return kind == CheckKind::kStreamAt || kind == CheckKind::kStreamAbsent ||
         kind == CheckKind::kStreamExists;
}
constexpr bool is_of_stream(TxnEffectKind kind) {
  return kind >= TxnEffectKind::kAppend;
}

/// What a stream must be for an append to it.
enum class Expected : uint8_t {
  kAny = 0,
  kNone = 1,    // the stream does not exist
  kExists = 2,  // in any version
  kExact = 3,   // its last event has the version `expected_version`
  kLast = kExact
};

struct TxnEffect {
  TxnEffectKind kind = TxnEffectKind::kGet;
  ByteSpan name = {};   // the key, or the stream's name
  ByteSpan value = {};  // put
  /// Put and expire: unix time from which on the key is absent; 0: never. Before date() it is how
  /// long from now, in ns.
  uint64_t expires_at_ns = 0;
  int64_t delta = 0;  // add
  // Append: its events are those of Txn::events from `first_event` on.
  Expected expected = Expected::kAny;
  uint64_t expected_version = 0;  // exact only
  uint32_t first_event = 0;
  uint32_t event_count = 0;
  // Policy; absent: stays as it is, 0: no limit.
  std::optional<uint64_t> max_count = {}, max_age_ns = {};
  std::optional<uint64_t> truncate_before = {};  // the first version that is kept
  std::optional<uint64_t> dedupe = {};  // how many ids are remembered; kMaxTxnDedupe at most
};

/// What an event's data are; nobody checks that they are so.
enum class ContentType : uint8_t {
  kBytes = 0,
  kJson = 1,
  kText = 2,
  kProtobuf = 3,
  kLast = kProtobuf
};

using EventIdBytes = std::array<std::byte, 16>;

struct TxnEvent {
  std::string_view type = {};           // UTF-8; empty: none
  std::optional<EventIdBytes> id = {};  // not all zeros
  /// Its tags, UTF-8, are those from `first_tag` on: of Txn::tags, or of what event_at() filled.
  uint32_t first_tag = 0;
  uint32_t tag_count = 0;
  ByteSpan metadata = {};  // a JSON object, or nothing; unchecked
  ContentType content_type = ContentType::kBytes;
  ByteSpan data = {};
  /// Where its header stands in the body; set by decoding, otherwise of no account. The log address
  /// of that place is the event's position.
  uint32_t offset = 0;
};

/// A key for a whole transaction: while it is remembered, the same one again changes nothing.
struct OnceKey {
  uint64_t high = 0, low = 0;
  /// Log time up to which it is remembered at least; not 0. Before date() it is how long from now,
  /// in ns, at most kMaxOnceNs.
  uint64_t until_ns = 0;
  bool operator==(const OnceKey&) const = default;
};

/// Views; valid as long as the bytes they were made from. To be used again: clear() keeps the room.
struct Txn {
  /// Unix time of its events: the clock of the leader that has written it into its log, asked once;
  /// 0 until then (date()).
  uint64_t time_ns = 0;
  std::optional<OnceKey> once;
  std::vector<TxnCheck> checks;
  std::vector<TxnEffect> then;       // if all checks hold
  std::vector<TxnEffect> otherwise;  // if one does not
  /// Those of all appends, in order: of `then` first. An index here is an event's ordinal.
  std::vector<TxnEvent> events;
  std::vector<std::string_view> tags;  // those of all events, in order

  void clear();
  /// Adds an event to `append`, which got none before another append did.
  void add_event(TxnEffect& append, TxnEvent event, std::span<const std::string_view> of_it = {});
  std::span<const TxnEvent> events_of(const TxnEffect& append) const {
    return std::span(events).subspan(append.first_event, append.event_count);
  }
  std::span<const std::string_view> tags_of(const TxnEvent& event) const {
    return std::span(tags).subspan(event.first_tag, event.tag_count);
  }
};

struct TxnLimits {
  size_t max_bytes = 0;        // of the encoded body
  size_t max_value_bytes = 0;  // of a value, and of an event's data
};

/// Of what a client asks for, before date(). kInvalidArgument naming the item, the limit and the
/// value: "then[3].append.events[0].type is 300 bytes long, 255 are allowed". Whatever passes is
/// decoded again after encode() to the same.
Result<> validate(const Txn& txn, const TxnLimits& limits);

/// Replaces `into`. The caller has validated the transaction.
void encode(const Txn& txn, std::vector<std::byte>& into);
/// What encode() needs, and the same into a place of that size.
size_t encoded_bytes(const Txn& txn);
void encode_at(const Txn& txn, std::byte* place);

/// Replaces `into`. kCorruption when the bytes are no transaction; kUnsupported for a version, a
/// kind or a flag of a newer program. Of what validate() refuses it sees only what breaks the form:
/// what is decoded is encoded to the same bytes. After an error nothing is said of `into`.
Result<> decode(ByteSpan body, Txn& into);

/// The time of a body, which is all that is looked at. kCorruption and kUnsupported as decode().
Result<uint64_t> time_of_txn(ByteSpan body);
/// An event's bytes, from its header to its data. Replaces `into`; event_alone() is the way back.
void encode_event(const TxnEvent& event, std::span<const std::string_view> tags, std::string& into);

/// What the leader makes of a body that a client has sent, before it enters the log: `now_ns`, unix
/// time, becomes the time of the body, and is added to how long keys and the once key are to last.
/// A sum beyond the greatest number becomes that number. In place; kCorruption and kUnsupported as
/// decode(), after which the body is of no use. kInvalidArgument when it was dated before.
Result<> date(std::span<std::byte> body, uint64_t now_ns);

/// The event whose header stands at `offset` of a body, as decode() has told it; it looks at no
/// other item. Replaces `tags`. kCorruption and kUnsupported as decode(); where no event begins,
/// what comes is not to be relied on.
Result<TxnEvent> event_at(ByteSpan body, size_t offset, std::vector<std::string_view>& tags);
/// The event whose bytes these are, from its header to its data, taken out of a body. Replaces
/// `tags`. Errors as decode().
Result<TxnEvent> event_alone(ByteSpan bytes, std::vector<std::string_view>& tags);
/// The event with this ordinal, found by walking from the body's begin. kOutOfRange: the body has
/// fewer events.
Result<TxnEvent> event_of(ByteSpan body, size_t ordinal, std::vector<std::string_view>& tags);

}  // namespace tailrace::statemachine
