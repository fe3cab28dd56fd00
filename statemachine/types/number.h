#pragma once
// Numbers as the values of users' keys: decimal signed 64-bit integers.

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tailrace::statemachine {

inline std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Nothing: the text is not a number, or the sum is beyond what 64 bits hold.
inline std::optional<int64_t> sum_of(std::string_view text, int64_t delta) {
  const std::optional<int64_t> number = parse_integer(text);
  int64_t sum = 0;
  if (!number || __builtin_add_overflow(*number, delta, &sum)) return std::nullopt;
  return sum;
}

}  // namespace tailrace::statemachine
