#pragma once
// The JSON of a transaction, the same on every door:
//
//   {"once": "128-bit hex" or {"key":"…","ttl":"1d"},
//    "if":   [{"stream":"s","at":1}, {"stream":"s","none":true}, {"stream":"s","exists":true},
//             {"key":"k","absent":true}, {"key":"k","exists":true}, {"key":"k","equals":"v"},
//             {"key":"k","min":1,"max":9}, {"key":"k","modified_at":4711},
//             {"before":"2026-12-01T00:00:00Z"}],
//    "then": [{"put":{"key":"k","value":"v","ttl":"30s"}}, {"delete":{"key":"k"}},
//             {"add":{"key":"n","delta":-1}}, {"expire":{"key":"k","ttl":"30s"}},
//             {"get":{"key":"k"}},
//             {"append":{"stream":"s","expected":1,"events":[…]}},
//             {"policy":{"stream":"s","max_count":10,"max_age":"7d","truncate_before":3}},
//             {"delete_stream":{"stream":"s"}}, {"tombstone":{"stream":"s"}}],
//    "else": []}
//
// A transaction in the log has times where a client gives times to live: "time_ns" of its events,
// "expires_at_ns" instead of "ttl", "until_ns" of its once key.
//
// Keys and values are text; bytes go by members that end in `_base64`. `expected` is a version,
// "any", "none" or "exists". An expire with "ttl":null takes the time away. Events are those of
// event_json.h. Any thread.

#include <chrono>
#include <deque>
#include <string>
#include <string_view>

#include "core/result.h"
#include "json/event_json.h"
#include "json/json_writer.h"
#include "statemachine/txn/txn.h"

namespace tailrace {

/// How long a once key without a time is remembered.
inline constexpr std::chrono::hours kDefaultOnceTime{24};

/// A transaction with the bytes that it views. Moved, not copied.
struct OwnedTxn {
  statemachine::Txn txn;
  std::deque<std::string> held;

  OwnedTxn() = default;
  OwnedTxn(OwnedTxn&&) = default;
  OwnedTxn& operator=(OwnedTxn&&) = default;

  std::string_view hold(std::string text) { return held.emplace_back(std::move(text)); }
  /// Adds an event to `append`, which got none before another append did.
  void add_event(statemachine::TxnEffect& append, OwnedEvent event);
};

/// kInvalidArgument naming the line or the member: "then[2].put.vlaue is not known; did you mean
/// value?". What a transaction's format limits is left to validate(), but for the number of items:
/// memory is bounded by the text's.
Result<OwnedTxn> parse_txn(std::string_view text);
/// The same of one in the log, as write_txn() writes it.
Result<OwnedTxn> parse_logged_txn(JsonView json);

/// A transaction in the log, as one value.
void write_txn(const statemachine::Txn& txn, JsonWriter& to);

}  // namespace tailrace
