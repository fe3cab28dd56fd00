#include "app/cli/printable.h"

#include <cstdint>

#include "core/utf8.h"

namespace tailrace::app {

namespace {

bool is_printable(uint32_t code) {
  const bool is_control = code < 0x20 || (code >= 0x7f && code < 0xa0);
  const bool breaks_line = code == 0x2028 || code == 0x2029;
  const bool turns_text = code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
                          (code >= 0x2066 && code <= 0x2069);
  return !is_control && !breaks_line && !turns_text;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto [code, bytes] = first_character(text);
    if (bytes > 0 && is_printable(code))
      out += text.substr(0, bytes);
    else
      out += '?';
    text.remove_prefix(bytes > 0 ? bytes : 1);
  }
  return out;
}

}  // namespace tailrace::app
