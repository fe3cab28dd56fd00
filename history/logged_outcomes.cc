#include "history/logged_outcomes.h"

#include <algorithm>
#include <string>
#include <utility>

#include "statemachine/command/command.h"
#include "statemachine/txn/txn.h"

namespace tailrace::history {

Result<std::optional<Address>> LoggedOutcomes::end_within(AddressRange range) {
  TAILRACE_ASSIGN_OR_RETURN(const auto found, log_.read(range));
  if (found.ends.empty()) return std::nullopt;
  return found.ends.front();
}

Result<bool> LoggedOutcomes::begin(AddressRange stretch) {
  next_ = next_floor_ = 0;
  TAILRACE_ASSIGN_OR_RETURN(stretch_, log_.read(stretch));
  floors_.clear();
  for (const auto& [dense_id, floor] : stretch_.floors)
    floors_.push_back({floor.record, {floor.effect, floor.version}});
  std::sort(floors_.begin(), floors_.end(), [](const Floor& one, const Floor& other) {
    return std::pair(one.record, one.floor.effect) < std::pair(other.record, other.floor.effect);
  });
  return !stretch_.records.empty();
}

Result<std::optional<LoggedTxn>> LoggedOutcomes::transaction(const fasterlog::Record& record) {
  floors_of_record_.clear();
  while (next_floor_ < floors_.size() && floors_[next_floor_].record < record.address)
    ++next_floor_;
  for (; next_floor_ < floors_.size() && floors_[next_floor_].record == record.address;
       ++next_floor_)
    floors_of_record_.push_back(floors_[next_floor_].floor);
  const auto& records = stretch_.records;
  while (next_ < records.size() && records[next_].address < record.address)
    ++next_;
  if (next_ == records.size() || records[next_].address != record.address) return std::nullopt;
  TAILRACE_ASSIGN_OR_RETURN(const auto command, statemachine::decode(record.payload));
  if (command.operation != statemachine::Operation::kTxn)
    return make_error(ErrorCode::kCorruption, "it has outcomes, and is no transaction");
  TAILRACE_ASSIGN_OR_RETURN(const uint64_t time_ns, statemachine::time_of_txn(command.value));
  return LoggedTxn{command.value, time_ns};
}

Result<std::optional<statemachine::StreamVersion>> LoggedOutcomes::version(
    std::string_view, statemachine::EventPlace place) {
  const auto& record = stretch_.records[next_];
  for (size_t i = 0; i < record.appends; ++i) {
    const auto& appended = stretch_.appends[record.first_append + i];
    if (place.ordinal < appended.ordinal || place.ordinal >= appended.ordinal + appended.events)
      continue;
    const uint64_t version = appended.first + (place.ordinal - appended.ordinal);
    const auto floor = stretch_.floors.find(appended.dense_id);
    if (floor != stretch_.floors.end() && version < floor->second.version) return std::nullopt;
    return version;
  }
  return std::nullopt;
}

}  // namespace tailrace::history
