#pragma once
// The parts of the screen, from top to bottom. Internal.

#include "app/top/screen.h"

namespace tailrace::app::top {

Lines header_lines(const View& view, const ScreenOptions& options);
/// At most `most` lines.
Lines problem_lines(const View& view, size_t width, size_t most);
/// The rows of `shown` (indexes into view.nodes).
Lines node_lines(const View& view, const std::vector<size_t>& shown, size_t width);
Lines watermark_lines(const View& view, const std::vector<size_t>& shown, size_t width);
/// `compact`: one line.
Lines stage_lines(const View& view, size_t width, bool compact);
/// What holds truncation back, and how full the fullest store is.
Lines room_lines(const View& view, size_t width);
Lines help_lines(size_t width);

}  // namespace tailrace::app::top
