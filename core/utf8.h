#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tailrace {

struct Utf8Character {
  uint32_t code = 0;
  size_t bytes = 0;  // 0: the text does not begin with a character of UTF-8
};

/// The first character of a text that is not empty, as RFC 3629 has it: no overlong forms, no
/// surrogates, nothing beyond U+10FFFF.
Utf8Character first_character(std::string_view text);
bool is_utf8(std::string_view text);

}  // namespace tailrace
