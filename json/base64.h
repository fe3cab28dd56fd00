#pragma once
// Bytes as text in base64 (RFC 4648), with padding. Any thread.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tailrace {

std::string base64(std::string_view bytes);
/// Of so many bytes in base64, with its padding.
constexpr size_t base64_bytes(size_t bytes) {
  return (bytes + 2) / 3 * 4;
}
/// The same, written to where base64_bytes() have room.
void write_base64(std::string_view bytes, char* to);
/// Nothing when the text is not base64, with its padding.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace tailrace
