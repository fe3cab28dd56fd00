#include "app/top/bars.h"

#include <algorithm>
#include <cmath>

namespace tailrace::app::top {
namespace {

/// Where the part ends that character `i` stands for, rounded up. Without overflow, whatever the
/// addresses are.
uint64_t end_of(uint64_t begin, uint64_t span, size_t i, size_t width) {
  const uint64_t next = i + 1;
  return begin + span / width * next + (span % width * next + width - 1) / width;
}

}  // namespace

void add_log_bar(Line& to, const NodeRow& node, Address begin, Address tail, size_t width) {
  if (width == 0) return;
  if (tail <= begin) {
    const size_t from = to.width();
    to.add(std::string_view("(empty)").substr(0, width), Style::kFaint).pad(from + width);
    return;
  }
  const uint64_t span = tail - begin;
  uint64_t from = begin.value;
  for (size_t i = 0; i < width; ++i) {
    const uint64_t end = end_of(begin.value, span, i, width);
    const bool is_beyond = from >= node.tail.value && end > node.tail.value;
    if (end <= node.begin.value || is_beyond)
      to.add(" ");
    else if (end <= node.checkpointed.value)
      to.add(std::string(1, kCheckpointedMark), Style::kCheckpointed);
    else if (end <= node.applied.value)
      to.add(std::string(1, kAppliedMark), Style::kApplied);
    else if (end <= std::min(node.committed.value, node.durable.value))
      to.add(std::string(1, kCommittedMark), Style::kCommitted);
    else if (end <= node.durable.value)
      to.add(std::string(1, kDurableMark), Style::kDurable);
    else
      to.add(std::string(1, kTailMark), Style::kFaint);
    from = end;
  }
}

void add_share_bar(Line& to, double full, double also, size_t width) {
  const auto characters = [width](double share) {
    if (!(share > 0)) return size_t{0};
    const double exact = std::round(std::min(share, 1.0) * static_cast<double>(width));
    return std::max<size_t>(1, static_cast<size_t>(exact));  // a little is not nothing
  };
  const size_t first = std::min(width, characters(full));
  const size_t second = std::max(first, std::min(width, characters(also)));
  to.add(std::string(first, '#'), Style::kCheckpointed);
  to.add(std::string(second - first, '-'), Style::kCommitted);
  to.add(std::string(width - second, ' '));
}

}  // namespace tailrace::app::top
