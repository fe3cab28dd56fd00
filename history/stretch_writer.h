#pragma once
// Writes the log's events into files, one stretch of the log after the other. Stretches end at
// multiples of HistorianOptions::stretch_bytes, and where a record of the log says so (a scavenge):
// the same on all nodes, and a file does not depend on when its node was at work.

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>

#include "core/result.h"
#include "fasterlog/log.h"
#include "history/catalogue.h"
#include "history/event_file_writer.h"
#include "history/event_outcomes.h"
#include "history/record_events.h"
#include "history/types/options.h"
#include "storage/file_system.h"

namespace tailrace::history {

/// One thread.
class StretchWriter {
 public:
  /// All outlive it.
  StretchWriter(storage::FileSystem& file_system, fasterlog::Log& log, Catalogue& catalogue,
                EventOutcomes& outcomes, const HistorianOptions& options);

  /// Up to where history is durable: from here on the log is needed. kFailedPrecondition when that
  /// is beyond the log's end: one of the two is of another node.
  Result<Address> complete() const;
  /// Writes the next stretch if all of it lies below `bound`, which is not above durable. Returns
  /// where history is complete then; nothing: there was none to write. After an error nothing has
  /// changed, but for what the catalogue removes at its next opening: kResourceExhausted when the
  /// disk is full, kCancelled, kTruncated when the log lacks the stretch's begin, what the outcomes
  /// say, kIo and kCorruption.
  Result<std::optional<Address>> write_next(Address bound, std::stop_token stop);

 private:
  /// Where the next file begins, and from where on the log is still to be read for it.
  struct Next {
    Address begin, at;
  };
  Result<Next> next() const;
  /// Where the stretch that goes on at `at` ends; nothing: it reaches beyond `limit`.
  Result<std::optional<Address>> end_of_stretch(Address at, Address limit);
  /// kResourceExhausted when a file might take what is kept free.
  Result<> check_room() const;
  /// Reads up to `to`. Returns where it has stopped: there, or behind the record that fills a file.
  Result<Address> read(const Next& next, Address to, std::stop_token stop);

  storage::FileSystem& file_system_;
  fasterlog::Log& log_;
  Catalogue& catalogue_;
  EventOutcomes& outcomes_;
  const HistorianOptions options_;
  RecordEvents events_;
  std::unique_ptr<EventFileWriter> writer_;  // of write_next(); null while nothing is to be written
  Epoch epoch_;                              // of the last record that was read
  // Of the stretch that goes on at searched_.first: its end was not asked for before searched_.end,
  // or is this.
  AddressRange searched_;
  std::optional<Address> asked_end_;
};

}  // namespace tailrace::history
