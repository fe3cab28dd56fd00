#include "app/top/lines.h"

#include <algorithm>

#include "app/top/text.h"

namespace tailrace::app::top {
namespace {

std::string_view code_of(Style style, bool colours) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kTitle:
      return "\x1b[1m";
    case Style::kFaint:
      return colours ? "\x1b[2m" : "";
    case Style::kBad:
      return colours ? "\x1b[1;31m" : "\x1b[1m";
    case Style::kGood:
    case Style::kCheckpointed:
      return colours ? "\x1b[32m" : "";
    case Style::kApplied:
      return colours ? "\x1b[36m" : "";
    case Style::kCommitted:
      return colours ? "\x1b[33m" : "";
    case Style::kDurable:
      return colours ? "\x1b[35m" : "";
  }
  return "";
}

size_t width_of(const Column& column) {
  size_t width = std::max(column.heading.size(), column.least);
  for (const Cell& cell : column.cells)
    width = std::max(width, cell.text.size());
  return width;
}

size_t width_of(const std::vector<Column>& columns) {
  size_t width = columns.empty() ? 0 : columns.size() - 1;
  for (const Column& column : columns)
    width += width_of(column);
  return width;
}

void add_cell(Line& line, const Cell& cell, size_t width, bool right) {
  const size_t from = line.width();
  if (right) line.pad(from + width - cell.text.size());
  line.add(cell.text, cell.style);
  line.pad(from + width);
}

}  // namespace

Line& Line::add(std::string_view text, Style style) {
  text_ += plain(text);
  styles_.resize(text_.size(), style);
  return *this;
}

Line& Line::pad(size_t width) {
  if (width > text_.size()) add(std::string(width - text_.size(), ' '));
  return *this;
}

Line& Line::cut(size_t width) {
  if (width < text_.size()) {
    text_.resize(width);
    styles_.resize(width);
  }
  return *this;
}

std::string Line::text() const {
  return text_.substr(0, text_.find_last_not_of(' ') + 1);
}

std::string Line::ansi(bool colours) const {
  std::string out;
  Style style = Style::kPlain;
  for (size_t i = 0; i < text_.size(); ++i) {
    if (styles_[i] != style) {
      if (!code_of(style, colours).empty()) out += "\x1b[0m";
      style = styles_[i];
      out += code_of(style, colours);
    }
    out += text_[i];
  }
  if (!code_of(style, colours).empty()) out += "\x1b[0m";
  return out;
}

Lines table(std::vector<Column> columns, size_t width) {
  for (Column& column : columns)
    for (Cell& cell : column.cells)
      cell.text = plain(cell.text);
  while (columns.size() > 1 && width_of(columns) > width)
    columns.erase(std::ranges::max_element(columns, {}, &Column::priority));
  size_t rows = 0;
  for (const Column& column : columns)
    rows = std::max(rows, column.cells.size());
  Lines lines(rows + 1);
  for (size_t i = 0; i < columns.size(); ++i) {
    const Column& column = columns[i];
    const size_t cells_width = width_of(column);
    for (size_t row = 0; row <= rows; ++row) {
      if (i > 0) lines[row].add(" ");
      const bool has_cell = row > 0 && row <= column.cells.size();
      const Cell cell = row == 0   ? Cell{column.heading, Style::kTitle}
                        : has_cell ? column.cells[row - 1]
                                   : Cell{};
      add_cell(lines[row], cell, cells_width, column.right);
    }
  }
  for (Line& line : lines)
    line.cut(width);
  return lines;
}

Lines wrapped(std::string_view words, size_t width, size_t indent, Style style) {
  const std::string text = plain(words);
  const size_t later = width > 2 * indent ? width - indent : width;
  Lines lines;
  for (size_t at = 0; at < text.size() || lines.empty();) {
    const size_t room = lines.empty() ? width : later;
    size_t end = std::min(text.size(), at + std::max<size_t>(1, room));
    if (end < text.size() && text[end] != ' ') {
      const size_t blank = text.rfind(' ', end);
      if (blank != std::string::npos && blank > at) end = blank;
    }
    Line line;
    if (!lines.empty() && later < width) line.pad(indent);
    lines.push_back(line.add(std::string_view(text).substr(at, end - at), style));
    at = text.find_first_not_of(' ', end);
    if (at == std::string::npos) break;
  }
  return lines;
}

}  // namespace tailrace::app::top
