#pragma once
// The screen of `tailrace top`: a view as lines of text.

#include <string>

#include "app/top/lines.h"
#include "app/top/view.h"

namespace tailrace::app::top {

struct ScreenOptions {
  size_t width = 80;
  size_t height = 0;  // 0: as many lines as there are; else exactly so many
  std::string time;   // of the view, as people are shown it
  double interval_s = 1;
  bool keys = false;  // the last line tells them
  bool paused = false;
  bool help = false;  // explanations in place of the figures
};

Lines screen(const View& view, const ScreenOptions& options);

}  // namespace tailrace::app::top
