#include "history/scavenge/floor_table.h"

#include <algorithm>
#include <iterator>

namespace tailrace::history {

void FloorTable::add(const StreamFloor& floor) {
  if (floor.stream < first_ || (end_ && floor.stream >= *end_)) return;
  if (const auto found = floors_.find(floor.stream); found != floors_.end()) {
    found->second = std::max(found->second, floor.version);
    return;
  }
  floors_.emplace(floor.stream, floor.version);
  bytes_ += kEntryBytes + floor.stream.size();
  while (bytes_ > most_bytes_ && floors_.size() > 1) {
    const auto last = std::prev(floors_.end());
    bytes_ -= kEntryBytes + last->first.size();
    end_ = last->first;
    floors_.erase(last);
  }
}

uint64_t FloorTable::floor_of(std::string_view stream) const {
  const auto found = floors_.find(stream);
  return found == floors_.end() ? 0 : found->second;
}

}  // namespace tailrace::history
