#pragma once
// The events alive of one record of the log, as entries of a file, and the floors that it has set.
// Internal.

#include <functional>
#include <vector>

#include "core/result.h"
#include "fasterlog/types/records.h"
#include "history/event_outcomes.h"
#include "history/format/event_entry.h"
#include "statemachine/txn/txn.h"

namespace tailrace::history {

/// One thread; keeps its memory.
class RecordEvents {
 public:
  explicit RecordEvents(EventOutcomes& outcomes) : outcomes_(outcomes) {}

  /// Views until the sink returns.
  struct Sinks {
    std::function<Result<>(const EventEntry&)> event;  // each, by ascending position
    std::function<Result<>(const StreamFloor&)> floor;
  };
  /// Ends at the first error. kCorruption and kUnsupported name the record.
  Result<> each(const fasterlog::Record& record, const Sinks& sinks);

 private:
  Result<> each_of(const fasterlog::Record& record, const LoggedTxn& logged,
                   const statemachine::TxnEffect& append, const Sinks& sinks);
  Result<> each_floor(const Sinks& sinks);

  EventOutcomes& outcomes_;
  statemachine::Txn txn_;
};

}  // namespace tailrace::history
