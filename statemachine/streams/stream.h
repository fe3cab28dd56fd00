#pragma once
// What is said of streams and of their events: plain types. A stream's events have versions 0, 1,
// 2, …, which are never given twice.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace tailrace::statemachine {

using StreamVersion = uint64_t;

/// Where an event is in the log: the address of the record that has it, and which of the record's
/// events it is.
struct EventPlace {
  static constexpr int kOrdinalBits = 16;
  /// Addresses are below it: 256 TiB of log.
  static constexpr uint64_t kAddressEnd = uint64_t{1} << (64 - kOrdinalBits);

  uint64_t record_address = 0;
  uint16_t ordinal = 0;
  auto operator<=>(const EventPlace&) const = default;
};

/// By it an event that is sent again is known. All zeros: the event has none.
struct EventId {
  uint64_t high = 0, low = 0;
  auto operator<=>(const EventId&) const = default;
  bool is_given() const { return high != 0 || low != 0; }
};

inline constexpr uint32_t kDefaultDedupe = 64, kMostDedupe = 256;

/// What becomes unreadable, and how many ids are remembered.
struct StreamPolicy {
  uint64_t max_count = 0;   // only so many of the newest events are readable; 0: all
  uint64_t max_age_ns = 0;  // only events younger than this are; 0: all (stream_reader.h)
  uint32_t dedupe =
      kDefaultDedupe;  // ids of so many last events that have one; kMostDedupe at most
  bool operator==(const StreamPolicy&) const = default;
};

/// A stream as it stands in the store. `first` to `next` is what is readable, but for max_age.
struct StreamHead {
  /// The newest events stand in the head itself.
  static constexpr size_t kMostInline = 8;

  uint64_t dense_id = 0;       // by first appearance, from 1
  StreamVersion next = 0;      // of the next event; one more than the last
  StreamVersion first = 0;     // of the first event that may still be readable
  bool deleted = false;        // until the next append
  bool tombstoned = false;     // for good
  bool remembers_ids = false;  // there is a record of recent ids
  EventPlace last_place;       // of the last event; zeros: there never was one
  uint64_t last_time_ns = 0;   // of the last event, unix time; never less than of those before
  StreamPolicy policy;
  size_t inline_count = 0;  // of the events next - inline_count to next
  std::array<EventPlace, kMostInline> inlined;

  /// Of the first event in the head; those before it are on pages.
  StreamVersion inline_begin() const { return next - inline_count; }
  bool exists() const { return next > 0 && !deleted && !tombstoned; }
};

/// What there is of a stream.
struct StreamPresence {
  enum class State : uint8_t { kNone, kExists, kDeleted, kTombstoned };
  State state = State::kNone;
  std::optional<StreamVersion> last;  // of its last event, whether or not that is readable still
  bool operator==(const StreamPresence&) const = default;
};

/// What a writer supposes about a stream.
struct ExpectedVersion {
  enum class Kind : uint8_t {
    kAny,
    kNone,    // no event yet, or deleted
    kExists,  // not deleted, with an event at some time
    kExact,   // `version` is the last event's; also of a deleted stream, whose number is known
  };
  Kind kind = Kind::kAny;
  StreamVersion version = 0;
};

/// What became of an append.
struct AppendOutcome {
  enum class Kind : uint8_t {
    kAppended,
    kReplayed,      // it was there already: nothing is written, whatever was expected
    kWrongVersion,  // another than was expected: see `found`
    kTombstoned,
    kPartialMatch,  // some of its ids are there, but not all of them in a row: see `index`
    kRepeatedId,    // two of its events have one id: `index` is the later one
    kFull,          // the stream has no versions left for them
  };
  Kind kind = Kind::kAppended;
  StreamVersion first = 0, last = 0;  // kAppended, kReplayed
  StreamPresence found;               // before it
  size_t index = 0;                   // of an event of the batch
  bool is_done() const { return kind == Kind::kAppended || kind == Kind::kReplayed; }
};

/// Changes what is given and leaves the rest.
struct PolicyChange {
  std::optional<uint64_t> max_count;
  std::optional<uint64_t> max_age_ns;
  /// Events before it are unreadable from now on; beyond the end it counts as the end.
  std::optional<StreamVersion> truncate_before;
  std::optional<uint32_t> dedupe;
};

}  // namespace tailrace::statemachine
