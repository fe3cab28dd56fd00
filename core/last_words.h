#pragma once
// Who is told what a broken invariant says, before it stops the process (core/check.h).

#include <string_view>

namespace tailrace {

/// Gets "FILE:LINE: MESSAGE". It runs on the thread that found the invariant broken, with whatever
/// locks that holds: it must take none that others hold for long, and return soon.
using LastWordsListener = void (*)(std::string_view message) noexcept;

/// Called once, by the first thread that finds one broken; nullptr: nobody is told. Any thread.
void set_last_words_listener(LastWordsListener listener) noexcept;

}  // namespace tailrace
