#pragma once
// What the client's calls on transactions and streams take and give: plain types.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/address.h"
#include "core/bytes.h"
#include "statemachine/txn/txn.h"
#include "statemachine/txn/txn_result.h"

namespace tailrace::rpc {

/// What a transaction came to. The result views the bytes that are with it: it is moved, not
/// copied.
struct TxnAnswer {
  Epoch epoch;
  AddressRange range;      // of its record in the log
  bool succeeded = false;  // all checks held, and `then` was applied
  /// Nothing: it was answered before, and the first result was too long to be kept. `range` is then
  /// that of the repeat, which has changed nothing.
  std::optional<statemachine::TxnResult> result;
  std::vector<std::byte> bytes;

  TxnAnswer() = default;
  TxnAnswer(TxnAnswer&&) = default;
  TxnAnswer& operator=(TxnAnswer&&) = default;
};

/// Views; read before the call returns.
struct NewEvent {
  ByteSpan data = {};
  statemachine::ContentType content_type = statemachine::ContentType::kBytes;
  std::string_view type = {};
  /// By it an event that is sent again is known: not all zeros.
  std::optional<statemachine::EventIdBytes> id = {};
  ByteSpan metadata = {};  // a JSON object, or nothing
  std::span<const std::string_view> tags = {};
};

/// What the stream must be for an append to it.
struct ExpectedStream {
  statemachine::Expected kind = statemachine::Expected::kAny;
  uint64_t version = 0;  // kExact: of its last event
};

struct AppendAnswer {
  Epoch epoch;
  AddressRange range;            // of the record in the log; if `replayed`, of the repeat's
  bool appended = false;         // else nothing was done, and `found` says why
  uint64_t first = 0, last = 0;  // the versions of the events
  bool replayed = false;         // they were there before, from an append of the same ids
  /// What is there instead of what was to be; its value is not set.
  statemachine::FailedCheck found;
};

enum class StreamState : uint8_t { kNone = 0, kExists = 1, kDeleted = 2, kTombstoned = 3 };

/// What there is of a stream.
struct StreamInfo {
  StreamState state = StreamState::kNone;
  uint64_t first = 0, end = 0;             // versions from `first` to before `end` can be read
  uint64_t max_count = 0, max_age_ns = 0;  // what is kept of it; 0: all
  uint32_t dedupe = 0;                     // how many ids are remembered
};

/// Valid while it is visited.
struct StreamEvent {
  uint64_t version = 0;
  uint64_t position = 0;  // unique in the cluster, and ascending
  uint64_t time_ns = 0;   // unix time: the leader's clock
  statemachine::TxnEvent event;
  std::span<const std::string_view> tags;
};

struct StreamEnd {
  StreamInfo stream;
  uint64_t events = 0;    // that were visited
  bool complete = false;  // there were no more in that direction
  Epoch epoch;            // of the record that ends at `applied`
  Address applied;        // the state that was read was that of this address, or a newer one
};

struct ListedStream {
  std::string name;
  StreamInfo stream;
  uint64_t last_time_ns = 0;  // of its last event
};

/// Of each key, in the order in which they were asked for.
struct KeyAnswer {
  bool found = false;
  std::string value;
  /// Not 0: the value has so many bytes and found no room in the answer; get() reads it.
  uint64_t withheld_bytes = 0;
  uint64_t modified_at = 0;  // the position that last modified the key; 0: not known
};

struct MgetAnswer {
  std::vector<KeyAnswer> values;
  Epoch epoch;                      // of the record that ends at `applied`
  Address applied;                  // all values are those of the state at this address
  uint64_t staleness_bound_ms = 0;  // as ReadAnswer has it
};

}  // namespace tailrace::rpc
