#pragma once
// The outcomes that applying has written down (statemachine/outcomes/), as the historian asks for
// them.
//
// Which events of a stretch are alive is decided at the stretch's end: an event that is unreadable
// by then, by the count or the beginning of its stream, its deletion or tombstone, is in no file.
// That moment is the same on all nodes, however late each writes the file. What becomes unreadable
// later, or by its age, stays in the file. What the stretch has made unreadable, there and in files
// before, is told as floors: the last one of each stream.

#include <span>
#include <vector>

#include "history/event_outcomes.h"
#include "statemachine/outcomes/outcome_log.h"

namespace tailrace::history {

class LoggedOutcomes final : public EventOutcomes {
 public:
  explicit LoggedOutcomes(const statemachine::OutcomeLog& log) : log_(log) {}

  Result<std::optional<Address>> end_within(AddressRange range) override;
  Result<bool> begin(AddressRange stretch) override;
  Result<std::optional<LoggedTxn>> transaction(const fasterlog::Record& record) override;
  Result<std::optional<statemachine::StreamVersion>> version(
      std::string_view stream, statemachine::EventPlace place) override;
  std::span<const LoggedFloor> floors() override { return floors_of_record_; }

 private:
  struct Floor {
    Address record;
    LoggedFloor floor;
  };

  const statemachine::OutcomeLog& log_;
  statemachine::StretchOutcomes stretch_;
  size_t next_ = 0;            // of the stretch's records
  std::vector<Floor> floors_;  // by record and effect
  size_t next_floor_ = 0;
  std::vector<LoggedFloor> floors_of_record_;
};

}  // namespace tailrace::history
