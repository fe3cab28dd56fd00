#include "app/top/sections.h"

#include <algorithm>

#include <fmt/format.h>

#include "app/top/bars.h"
#include "app/top/text.h"

namespace tailrace::app::top {
namespace {

constexpr size_t kLeastBar = 8;

std::string number_of(const NodeRow& row) {
  return row.node == NodeId{} ? "?" : fmt::format("{}", row.node.value);
}

void add_figure(Line& line, std::string_view name, const std::string& value,
                Style style = Style::kTitle) {
  line.add("  ").add(name).add(" ").add(value, style);
}

Line title_line(const View& view, const std::string& identity) {
  Line line("tailrace top", Style::kTitle);
  add_figure(line, "cluster", identity.empty() ? "-" : identity);
  const bool leads = view.leader != NodeId{};
  add_figure(line, "leader", leads ? fmt::format("{}", view.leader.value) : "none",
             leads ? Style::kTitle : Style::kBad);
  add_figure(line, "epoch", view.epoch == Epoch{} ? "-" : fmt::format("{}", view.epoch.value));
  add_figure(line, "version", view.version == 0 ? "-" : fmt::format("{}", view.version));
  return line;
}

Cell lag_cell(const NodeRow& row) {
  return {row.lag_s ? short_time(*row.lag_s) : "-",
          row.lag_s.value_or(0) > 10 ? Style::kBad : Style::kPlain};
}

/// "12%" of the capacity, or a dash.
std::string share_or_dash(const Number& used, const Number& capacity) {
  if (!used || capacity.value_or(0) == 0) return "-";
  const double share = static_cast<double>(*used) / static_cast<double>(*capacity);
  return fmt::format("{:.0f}%", 100 * std::min(share, 9.99));
}

Column numbers(std::string heading, int priority, size_t least = 0) {
  return Column{std::move(heading), true, priority, least, {}};
}
Column words(std::string heading, int priority, size_t least = 0) {
  return Column{std::move(heading), false, priority, least, {}};
}

}  // namespace

Lines header_lines(const View& view, const ScreenOptions& options) {
  Line first = title_line(view, view.identity);
  const size_t time = options.time.size() + 2;
  if (first.width() + time > options.width) first = title_line(view, view.identity.substr(0, 8));
  if (first.width() + time <= options.width)
    first.pad(options.width - options.time.size()).add(options.time);
  Line second;
  if (options.paused) second.add("paused", Style::kBad).add("  ");  // first: a window may be narrow
  const bool errors = view.rates.errors.value_or(0) > 0;
  second.add("writes/s ").add(count_or_dash(view.rates.writes), Style::kTitle);
  add_figure(second, "reads/s", count_or_dash(view.rates.reads));
  add_figure(second, "events/s", count_or_dash(view.rates.events));
  add_figure(second, "errors/s", count_or_dash(view.rates.errors),
             errors ? Style::kBad : Style::kTitle);
  add_figure(second, "log/s", rate_of_bytes_or_dash(view.rates.record_bytes));
  if (!options.paused) second.add(fmt::format("  every {:g} s", options.interval_s), Style::kFaint);
  return {first.cut(options.width), second.cut(options.width)};
}

Lines problem_lines(const View& view, size_t width, size_t most) {
  if (view.problems.empty()) return {Line("No problems.", Style::kGood).cut(width)};
  Lines lines;
  size_t told = 0;
  for (const std::string& problem : view.problems) {
    Lines one = wrapped(problem, width, 2, Style::kBad);
    const size_t left = view.problems.size() - told;
    // The last line says how many there are beyond it.
    if (lines.size() + one.size() + (left > 1 ? 1 : 0) > most && left > 1 && !lines.empty()) break;
    if (one.size() > most) one.resize(most);
    std::ranges::move(one, std::back_inserter(lines));
    ++told;
  }
  if (lines.size() >= most && told < view.problems.size()) lines.resize(most - (most > 1 ? 1 : 0));
  if (told < view.problems.size() && lines.size() < most)
    lines.push_back(Line(and_more(view.problems.size() - told, "problem"), Style::kBad).cut(width));
  return lines;
}

Lines node_lines(const View& view, const std::vector<size_t>& shown, size_t width) {
  std::vector<Column> columns{numbers("NODE", 0),      words("ROLE", 1, 9),  words("HEALTH", 1, 9),
                              words("VOTE", 4),        numbers("LAG", 2, 4), numbers("TIME", 2, 7),
                              numbers("APPLIED/S", 3), numbers("FLIGHT", 5), numbers("CPU", 3, 4),
                              numbers("MEM", 4, 4),    numbers("FREE", 4),   numbers("STORE", 6),
                              numbers("CONN", 7),      numbers("TAILS", 8),  numbers("WRITES/S", 9),
                              numbers("READS/S", 9),   numbers("UP", 10, 3), words("SERVER", 11)};
  for (const size_t i : shown) {
    const NodeRow& row = view.nodes[i];
    const bool leads = row.node == view.leader && row.node != NodeId{};
    const Cell cells[] = {
        {number_of(row), leads ? Style::kTitle : Style::kPlain},
        {row.answered ? row.role : "-", leads ? Style::kTitle : Style::kPlain},
        {row.health, row.is_well ? Style::kGood : Style::kBad},
        {row.answered ? row.vote : "-"},
        {bytes_or_dash(row.lag_bytes)},
        lag_cell(row),
        {rate_of_bytes_or_dash(row.applied_bytes)},
        {number_or_dash(row.in_flight)},
        {row.cpu_share ? fmt::format("{:.0f}%", 100 * std::min(*row.cpu_share, 99.99)) : "-"},
        {bytes_or_dash(row.resident_bytes)},
        {bytes_or_dash(row.disk_free_bytes)},
        {share_or_dash(row.store_used_bytes, row.store_capacity_bytes)},
        {number_or_dash(row.connections)},
        {number_or_dash(row.tails)},
        {count_or_dash(row.rates.writes)},
        {count_or_dash(row.rates.reads)},
        {row.uptime_s ? short_age(*row.uptime_s) : "-"},
        {row.server}};
    for (size_t j = 0; j < columns.size(); ++j)
      columns[j].cells.push_back(cells[j]);
  }
  return table(std::move(columns), width);
}

Lines watermark_lines(const View& view, const std::vector<size_t>& shown, size_t width) {
  Line heading("WATERMARKS", Style::kTitle);
  heading.add("  ").add("#", Style::kCheckpointed).add(" checkpointed  ");
  heading.add("=", Style::kApplied).add(" applied  ").add("-", Style::kCommitted);
  heading.add(" committed  ").add(".", Style::kDurable).add(" durable  ");
  heading.add("~", Style::kFaint).add(" not durable").cut(width);
  Lines lines{heading};
  size_t label = 4;
  for (const size_t i : shown)
    label = std::max(label, number_of(view.nodes[i]).size());
  const std::string after = " not applied";
  const size_t taken = label + 3 + 5 + after.size();  // with the bar's frame and a size
  const size_t bar = width > taken + kLeastBar ? width - taken : kLeastBar;
  for (const size_t i : shown) {
    const NodeRow& row = view.nodes[i];
    Line line;
    const std::string name = number_of(row);
    line.pad(label - name.size()).add(name).add(" |");
    if (row.answered) {
      add_log_bar(line, row, view.begin, view.tail, bar);
      const uint64_t left = row.tail > row.applied ? row.tail - row.applied : 0;
      const std::string size = left == 0 ? "all" : short_bytes(left);
      line.add("|").pad(label + 3 + bar + 5 - size.size()).add(size);
      line.add(left == 0 ? " applied" : after);
    } else {
      line.pad(label + 2 + bar).add("|").pad(label + 3 + bar + 4).add("-");
    }
    lines.push_back(line.cut(width));
  }
  Line axis;
  const std::string from = fmt::format("{}", view.begin.value);
  const std::string to = fmt::format("{}", view.tail.value);
  axis.pad(label + 2).add(from, Style::kFaint);
  const size_t end = label + 2 + bar;
  axis.pad(std::max(axis.width() + 2, end > to.size() ? end - to.size() : 0));
  lines.push_back(axis.add(to, Style::kFaint).cut(width));
  return lines;
}

}  // namespace tailrace::app::top
