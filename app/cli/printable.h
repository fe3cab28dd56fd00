#pragma once
// Text of servers on a terminal.

#include <string>
#include <string_view>

namespace tailrace::app {

/// The text on one line, as UTF-8 that a terminal does not take for commands. A '?' stands for each
/// control character, each character that changes the direction of text, and each byte that is not
/// UTF-8.
std::string printable(std::string_view text);

}  // namespace tailrace::app
