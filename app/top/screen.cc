#include "app/top/screen.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "app/top/sections.h"
#include "app/top/text.h"

namespace tailrace::app::top {
namespace {

constexpr size_t kMostProblems = 12;
constexpr size_t kFewProblems = 3;

/// At most so many of the nodes, in their order: the leader, then those that are not well.
std::vector<size_t> shown_nodes(const View& view, size_t most) {
  std::vector<size_t> all(view.nodes.size());
  std::iota(all.begin(), all.end(), size_t{0});
  if (all.size() <= most) return all;
  std::ranges::stable_sort(all, {}, [&](size_t i) {
    const NodeRow& row = view.nodes[i];
    return row.node == view.leader && row.node != NodeId{} ? 0 : row.is_well ? 2 : 1;
  });
  all.resize(most);
  std::ranges::sort(all);
  return all;
}

/// How much of the view is shown.
struct Extent {
  size_t nodes, problems;
  bool compact_stages, watermarks;
};

std::vector<Lines> sections_of(const View& view, const ScreenOptions& options,
                               const Extent& extent) {
  const std::vector<size_t> shown = shown_nodes(view, extent.nodes);
  std::vector<Lines> sections;
  sections.push_back(header_lines(view, options));
  sections.push_back(problem_lines(view, options.width, extent.problems));
  sections.push_back(node_lines(view, shown, options.width));
  if (shown.size() < view.nodes.size())
    sections.back().push_back(
        Line(and_more(view.nodes.size() - shown.size(), "node"), Style::kFaint).cut(options.width));
  if (extent.watermarks) sections.push_back(watermark_lines(view, shown, options.width));
  sections.push_back(stage_lines(view, options.width, extent.compact_stages));
  sections.push_back(room_lines(view, options.width));
  return sections;
}

size_t height_of(const std::vector<Lines>& sections) {
  size_t height = 0;
  for (const Lines& section : sections)
    height += section.size();
  return height;
}

/// The most that fits into the height.
std::vector<Lines> fitting(const View& view, const ScreenOptions& options, size_t height) {
  Extent extent{view.nodes.size(), kMostProblems, false, true};
  std::vector<Lines> sections = sections_of(view, options, extent);
  const auto fits = [&] { return height == 0 || height_of(sections) <= height; };
  const auto shrink = [&] { sections = sections_of(view, options, extent); };
  if (!fits()) extent.compact_stages = true, shrink();
  if (!fits()) extent.problems = kFewProblems, shrink();
  // A node has two lines. With so many nodes fewer at once, none goes that there is room for.
  while (!fits() && extent.nodes > 2) {
    const size_t fewer = std::max<size_t>(1, (height_of(sections) - height) / 2);
    extent.nodes = std::max<size_t>(2, extent.nodes - std::min(extent.nodes, fewer));
    shrink();
  }
  if (!fits()) extent.watermarks = false, shrink();
  if (!fits()) extent.nodes = 1, extent.problems = 1, shrink();
  return sections;
}

/// With empty lines between, as many as there is room for.
Lines joined(const std::vector<Lines>& sections, size_t height) {
  const size_t used = height_of(sections);
  const size_t between = sections.empty() ? 0 : sections.size() - 1;
  size_t blanks = height == 0 ? between : height > used ? std::min(height - used, between) : 0;
  Lines lines;
  for (const Lines& section : sections) {
    if (!lines.empty() && !section.empty() && blanks > 0) {
      --blanks;
      lines.emplace_back();
    }
    std::ranges::copy(section, std::back_inserter(lines));
  }
  return lines;
}

Line key_line(const ScreenOptions& options) {
  const auto key = [](Line& line, std::string_view name, std::string_view what) {
    line.add(name, Style::kTitle).add(" ").add(what).add("  ");
  };
  Line line;
  key(line, "q", "quit");
  key(line, "p", options.paused ? "go on" : "pause");
  key(line, "h", options.help ? "back" : "help");
  return line.cut(options.width);
}

}  // namespace

Lines screen(const View& view, const ScreenOptions& options) {
  const size_t keys = options.keys ? 1 : 0;
  const size_t room = options.height > keys ? options.height - keys : options.height;
  Lines lines;
  if (options.help)
    lines = joined({header_lines(view, options), help_lines(options.width)}, room);
  else
    lines = joined(fitting(view, options, room), room);
  if (options.height > 0) lines.resize(room);
  if (options.keys && (options.height == 0 || options.height > 1))
    lines.push_back(key_line(options));
  return lines;
}

}  // namespace tailrace::app::top
