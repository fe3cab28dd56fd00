#pragma once
// Greatest floors of streams whose names lie in one range: as many names as memory allows. Who
// needs all of them makes several passes, each with the names behind those of the one before.
// Internal.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "history/format/event_entry.h"

namespace tailrace::history {

/// One thread.
class FloorTable {
 public:
  /// Of names from `first` on. `most_bytes` of memory, about; one floor always has room.
  FloorTable(std::string first, size_t most_bytes)
      : first_(std::move(first)), most_bytes_(most_bytes) {}

  /// In any order. Where there is no room, the greatest names go: the pass ends before them.
  void add(const StreamFloor& floor);

  /// Once all were added: this pass has the names from first() on that lie before end(); without an
  /// end it has all that there are.
  const std::string& first() const { return first_; }
  const std::optional<std::string>& end() const { return end_; }
  bool empty() const { return floors_.empty(); }
  /// 0: none, or the name is of another pass.
  uint64_t floor_of(std::string_view stream) const;

 private:
  // Beside the name.
  static constexpr size_t kEntryBytes = 96;

  const std::string first_;
  const size_t most_bytes_;
  std::optional<std::string> end_;
  std::map<std::string, uint64_t, std::less<>> floors_;
  size_t bytes_ = 0;
};

}  // namespace tailrace::history
