#include "core/utf8.h"

#include <cstring>

namespace tailrace {

namespace {

constexpr size_t kAsciiBlockBytes = 32;

bool is_ascii_block(const char* at) {
  uint64_t words[kAsciiBlockBytes / sizeof(uint64_t)];
  std::memcpy(words, at, sizeof words);
  return ((words[0] | words[1] | words[2] | words[3]) & 0x8080808080808080u) == 0;
}

inline Utf8Character decode_one(const char* at, size_t left) {
  const auto byte = [at](size_t i) { return static_cast<unsigned char>(at[i]); };
  const auto continues = [&](size_t i) { return (byte(i) & 0xc0u) == 0x80u; };
  const auto bits = [&](size_t i) { return byte(i) & 0x3fu; };
  const uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xe0) {
    // 0x80 to 0xbf begin nothing, 0xc0 and 0xc1 only overlong forms.
    if (first < 0xc2 || left < 2 || !continues(1)) return {};
    return {(first & 0x1fu) << 6 | bits(1), 2};
  }
  if (first < 0xf0) {
    if (left < 3 || !continues(1) || !continues(2)) return {};
    const uint32_t code = (first & 0xfu) << 12 | bits(1) << 6 | bits(2);
    const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
    if (code < 0x800 || is_surrogate) return {};
    return {code, 3};
  }
  if (first > 0xf4 || left < 4 || !continues(1) || !continues(2) || !continues(3)) return {};
  const uint32_t code = (first & 0x7u) << 18 | bits(1) << 12 | bits(2) << 6 | bits(3);
  if (code < 0x10000 || code > 0x10ffff) return {};
  return {code, 4};
}

}  // namespace

Utf8Character first_character(std::string_view text) {
  return decode_one(text.data(), text.size());
}

bool is_utf8(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    // Most text is ASCII. Text that is not is asked for it once a block, not once a character.
    const auto left = static_cast<size_t>(end - at);
    const char* block_end = end;
    if (left >= kAsciiBlockBytes) {
      block_end = at + kAsciiBlockBytes;
      if (is_ascii_block(at)) {
        at = block_end;
        continue;
      }
    }
    while (at < block_end) {
      const size_t bytes = decode_one(at, static_cast<size_t>(end - at)).bytes;
      if (bytes == 0) return false;
      at += bytes;
    }
  }
  return true;
}

}  // namespace tailrace
