#pragma once
// Lines of text with a style for each character, and tables of them.

#include <string>
#include <string_view>
#include <vector>

namespace tailrace::app::top {

enum class Style : char {
  kPlain,
  kTitle,  // bold
  kFaint,
  kBad,   // bold, and red where there are colours
  kGood,  // and the parts of bars:
  kCheckpointed,
  kApplied,
  kCommitted,
  kDurable,
};

class Line {
 public:
  Line() = default;
  explicit Line(std::string_view text, Style style = Style::kPlain) { add(text, style); }

  /// Only printable ASCII is kept; see plain().
  Line& add(std::string_view text, Style style = Style::kPlain);
  /// Blanks up to the width.
  Line& pad(size_t width);
  /// Without what is beyond the width.
  Line& cut(size_t width);
  size_t width() const { return text_.size(); }

  /// Without blanks at its end.
  std::string text() const;
  /// With the commands of a terminal; bold and reverse also without colours.
  std::string ansi(bool colours) const;

 private:
  std::string text_;
  std::vector<Style> styles_;  // one a character
};

using Lines = std::vector<Line>;

struct Cell {
  std::string text;
  Style style = Style::kPlain;
};
struct Column {
  std::string heading;
  bool right = true;  // numbers; words stand at the left
  int priority = 0;   // where the width does not suffice, the columns of the highest number go
  size_t least = 0;   // its width, unless a cell is wider: so that it stands still
  std::vector<Cell> cells;
};
/// A line of headings and one a row.
Lines table(std::vector<Column> columns, size_t width);

/// `words`, broken into lines of the width between words where that is possible; all but the first
/// begin with `indent` blanks.
Lines wrapped(std::string_view words, size_t width, size_t indent, Style style);

}  // namespace tailrace::app::top
