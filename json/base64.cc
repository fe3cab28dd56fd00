#include "json/base64.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace tailrace {

namespace {

constexpr char kBase64Digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint8_t kNoDigit = 0xff;

using Digits = std::array<char, 2>;
/// The two digits of each twelve bits: twice as fast as one by one.
constexpr auto kDigitPairs = [] {
  std::array<Digits, 4096> pairs{};
  for (size_t bits = 0; bits < pairs.size(); ++bits)
    pairs[bits] = {kBase64Digits[bits >> 6], kBase64Digits[bits & 0x3f]};
  return pairs;
}();

constexpr auto kDigitValues = [] {
  std::array<uint8_t, 256> values{};
  values.fill(kNoDigit);
  for (uint8_t value = 0; value < 64; ++value)
    values[static_cast<unsigned char>(kBase64Digits[value])] = value;
  return values;
}();

}  // namespace

void write_base64(std::string_view bytes, char* to) {
  const auto byte = [&bytes](size_t at) { return uint32_t{static_cast<unsigned char>(bytes[at])}; };
  size_t at = 0;
  for (; bytes.size() - at >= 3; at += 3, to += 4) {
    const uint32_t bits = byte(at) << 16 | byte(at + 1) << 8 | byte(at + 2);
    std::memcpy(to, kDigitPairs[bits >> 12].data(), 2);
    std::memcpy(to + 2, kDigitPairs[bits & 0xfff].data(), 2);
  }
  const size_t left = bytes.size() - at;
  if (left == 0) return;
  const uint32_t bits = byte(at) << 16 | (left == 2 ? byte(at + 1) << 8 : 0);
  std::memcpy(to, kDigitPairs[bits >> 12].data(), 2);
  to[2] = left == 2 ? kBase64Digits[bits >> 6 & 0x3f] : '=';
  to[3] = '=';
}

std::string base64(std::string_view bytes) {
  std::string text(base64_bytes(bytes.size()), '\0');
  write_base64(bytes, text.data());
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=')
    ++padding;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (size_t at = 0; at < text.size(); at += 4) {
    const size_t digits = at + 4 == text.size() ? 4 - padding : 4;
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; ++i) {
      const uint8_t value =
          i < digits ? kDigitValues[static_cast<unsigned char>(text[at + i])] : uint8_t{0};
      if (value == kNoDigit) return std::nullopt;
      bits = bits << 6 | value;
    }
    for (size_t i = 0; i + 1 < digits; ++i)
      bytes += static_cast<char>(bits >> (16 - 8 * i) & 0xff);
  }
  return bytes;
}

}  // namespace tailrace
