// The parts of the screen below the nodes: stages, room, help.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/top/bars.h"
#include "app/top/sections.h"
#include "app/top/text.h"

namespace tailrace::app::top {
namespace {

std::string time_or_dash(const std::optional<Quantile>& time) {
  if (!time) return "-";
  return (time->or_more ? ">" : time->or_less ? "<" : "") + short_time(time->seconds);
}

double seconds_of(const std::optional<Quantile>& time) {
  return time ? time->seconds : 0;
}

const NodeRow* find_row(const View& view, NodeId node) {
  const auto found = std::ranges::find(view.nodes, node, &NodeRow::node);
  return found == view.nodes.end() ? nullptr : &*found;
}

double share_of(const Number& used, const Number& capacity) {
  if (!used || capacity.value_or(0) == 0) return 0;
  return static_cast<double>(*used) / static_cast<double>(*capacity);
}

/// The one whose store is the fullest, the leader where that makes next to no difference; null:
/// none is known.
const NodeRow* fullest(const View& view) {
  constexpr double kDifference = 0.01;
  const auto used = [](const NodeRow& row) {
    return share_of(row.store_used_bytes, row.store_capacity_bytes);
  };
  const NodeRow* most = view.leader == NodeId{} ? nullptr : find_row(view, view.leader);
  for (const NodeRow& row : view.nodes)
    if (row.store_capacity_bytes && (most == nullptr || used(row) > used(*most) + kDifference))
      most = &row;
  return most;
}

/// Which node's log, and from where on, only where there is room.
Line held_line(const View& view, size_t width) {
  Line line("TRUNCATION", Style::kTitle);
  if (!view.truncation) return line.add("  -").cut(width);
  const Truncation& held = *view.truncation;
  const bool one = held.anchors.size() == 1;
  const std::string what =
      fmt::format("  {} {} {} of ", fmt::join(held.anchors, ", "), one ? "keeps" : "keep",
                  short_bytes(held.below_applied_bytes));
  std::string rest;
  if (!held.next.empty()) {
    const uint64_t left =
        held.below_applied_bytes - std::min(held.below_applied_bytes, held.below_next_bytes);
    rest = fmt::format("; without {} {} would keep {}", one ? "it" : "them", held.next,
                       short_bytes(left));
  }
  const std::string node = fmt::format("node {}'s log", held.node.value);
  const std::string address = fmt::format(", from address {} on", held.address.value);
  const size_t least = line.width() + plain(what).size() + plain(rest).size();
  std::string log = "log";
  if (least + node.size() <= width) log = node;
  if (least + node.size() + address.size() <= width) log += address;
  return line.add(what).add(log).add(rest).cut(width);
}

Line compact_stages(const View& view, size_t width) {
  Line line("STAGES p50/p99", Style::kTitle);
  for (const StageRow& stage : view.stages)
    line.add("  ")
        .add(stage.name)
        .add(" ")
        .add(time_or_dash(stage.p50))
        .add("/")
        .add(time_or_dash(stage.p99));
  return line.cut(width);
}

}  // namespace

Lines stage_lines(const View& view, size_t width, bool compact) {
  const NodeRow* leader = find_row(view, view.leader);
  if (view.stages.empty()) {
    Line line("STAGES", Style::kTitle);
    line.add(leader == nullptr || view.leader == NodeId{} ? "  - (no leader)"
                                                          : "  - (the leader does not tell)");
    return {line.cut(width)};
  }
  if (compact) return {compact_stages(view, width)};
  double longest = 0;
  for (const StageRow& stage : view.stages)
    longest = std::max({longest, seconds_of(stage.p50), seconds_of(stage.p99)});
  constexpr size_t kName = 12, kFigure = 10;
  const size_t before_bar = kName + 3 * kFigure + 2;
  const size_t bar = width > before_bar + 2 ? width - before_bar - 2 : 0;
  Line heading("STAGES", Style::kTitle);
  heading.add(" of a write").pad(kName + kFigure - 5).add("  p50", Style::kTitle);
  heading.pad(kName + 2 * kFigure - 3).add("p99", Style::kTitle);
  heading.pad(kName + 3 * kFigure - 7).add("count/s", Style::kTitle);
  heading.add("   # up to p50  - up to p99").cut(width);
  Lines lines{heading};
  for (const StageRow& stage : view.stages) {
    const std::string p50 = time_or_dash(stage.p50), p99 = time_or_dash(stage.p99);
    const std::string count = count_or_dash(stage.rate);
    Line line;
    line.add(" ").add(stage.name).cut(kName).pad(kName + kFigure - p50.size()).add(p50);
    line.pad(kName + 2 * kFigure - p99.size()).add(p99);
    line.pad(kName + 3 * kFigure - count.size()).add(count).pad(before_bar).add("|");
    if (longest > 0)
      add_share_bar(line, seconds_of(stage.p50) / longest, seconds_of(stage.p99) / longest, bar);
    else
      line.pad(before_bar + 1 + bar);
    lines.push_back(line.add("|").cut(width));
  }
  return lines;
}

Lines room_lines(const View& view, size_t width) {
  const Line held = held_line(view, width);
  Line store("STORE", Style::kTitle);
  if (const NodeRow* row = fullest(view)) {
    const double share = share_of(row->store_used_bytes, row->store_capacity_bytes);
    const std::string text =
        fmt::format("  node {}: {} of {} ({:.0f}%), {} pairs  |", row->node.value,
                    short_bytes(*row->store_used_bytes), short_bytes(*row->store_capacity_bytes),
                    100 * share, number_or_dash(row->live_records));
    store.add(text);
    if (store.width() + 2 < width)
      add_share_bar(store, share, share, std::min<size_t>(40, width - store.width() - 1));
    store.add("|");
  } else {
    store.add("  -");
  }
  return {held, store.cut(width)};
}

Lines help_lines(size_t width) {
  // One paragraph a line.
  constexpr std::string_view kHelp =
      "HEALTH  ok, or what is wrong in one word. The lines at the top say more.\n"
      "LAG, TIME  how far the node is behind the leader, in bytes and in time.\n"
      "APPLIED/S  bytes of the log that the node applies in a second.\n"
      "FLIGHT  requests that are not answered yet.  CONN, TAILS  open ones.\n"
      "CPU  100% is one processor.  MEM  resident memory.  FREE  room on the disk.\n"
      "STORE  how much of store.disk_bytes is used.  UP  since the start.\n"
      "WATERMARKS  each bar is a node's log, all on one axis of addresses. A character says how "
      "far all that it stands for has come.\n"
      "STAGES  held: the write waited for room. enqueue: it was checked and put into the log. "
      "flush: until it was durable here. commit: until a majority had it. apply: until it was "
      "applied. answer: until the answer was sent.\n"
      "TRUNCATION  who needs the oldest part of the log, how much is kept for it, and who would "
      "keep how much without it.\n"
      "Sizes are in units of 1024, counts in units of 1000. - is what is not known: there are no "
      "two answers yet, the node was started anew, or it is of an older version.\n";
  Lines lines;
  for (size_t at = 0; at < kHelp.size();) {
    const size_t end = kHelp.find('\n', at);
    const Lines one = wrapped(kHelp.substr(at, end - at), width, 2, Style::kPlain);
    lines.insert(lines.end(), one.begin(), one.end());
    at = end + 1;
  }
  return lines;
}

}  // namespace tailrace::app::top
