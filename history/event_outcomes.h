#pragma once
// What became of the transactions in a log. Only the state knows it, so whoever has the state
// answers.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/bytes.h"
#include "core/result.h"
#include "fasterlog/types/records.h"
#include "statemachine/streams/stream.h"

namespace tailrace::history {

/// A transaction as it stands in a record.
struct LoggedTxn {
  ByteSpan body;         // within the record's payload
  uint64_t time_ns = 0;  // unix time: of its events
};

/// What a transaction made unreadable.
struct LoggedFloor {
  uint32_t effect = 0;   // of the record, which names the stream; those of `then` come first
  uint64_t version = 0;  // below it
};

/// Asked by one thread, the historian's, of records below the published checkpoint, by ascending
/// address. It may wait for the disk. An error ends the file that is being written; it begins again
/// later. Nodes write the same files only as far as they get the same answers.
class EventOutcomes {
 public:
  virtual ~EventOutcomes() = default;
  /// The first end of a stretch that a record in the range has asked for; it may lie behind the
  /// range's end. May be asked at any time.
  virtual Result<std::optional<Address>> end_within(AddressRange range) = 0;
  /// The questions that come next are of records in the stretch. False: no transaction of it did
  /// anything to a stream, so there is nothing to ask.
  virtual Result<bool> begin(AddressRange stretch) = 0;
  /// The transaction of a record of kind kData; nothing: it is another command.
  virtual Result<std::optional<LoggedTxn>> transaction(const fasterlog::Record& record) = 0;
  /// The version in `stream` of the event at `place`. Nothing: it had no effect (a check failed,
  /// the append was a replay), or the stream does not show it any more.
  virtual Result<std::optional<statemachine::StreamVersion>> version(
      std::string_view stream, statemachine::EventPlace place) = 0;
  /// Of the record last asked for by transaction(): the floors that it set and no later record of
  /// the stretch did. Valid until the next question.
  virtual std::span<const LoggedFloor> floors() = 0;
};

}  // namespace tailrace::history
