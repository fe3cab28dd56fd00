#include "app/cli/json_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <cstring>

#include <nlohmann/json.hpp>
#include <openssl/evp.h>

#include "core/utf8.h"

namespace tailrace::app {

namespace {

constexpr char kBase64Digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

using Digits = std::array<char, 2>;
/// The two digits of each twelve bits: twice as fast as one by one.
constexpr auto kDigitPairs = [] {
  std::array<Digits, 4096> pairs{};
  for (size_t bits = 0; bits < pairs.size(); ++bits)
    pairs[bits] = {kBase64Digits[bits >> 6], kBase64Digits[bits & 0x3f]};
  return pairs;
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
  // The library ignores spaces around it and counts the padding as zeros.
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=')
    ++padding;
  const std::string_view digits = text.substr(0, text.size() - padding);
  const auto is_digit = [](unsigned char each) {
    return std::isalnum(each) != 0 || each == '+' || each == '/';
  };
  if (text.size() % 4 != 0 || !std::all_of(digits.begin(), digits.end(), is_digit))
    return std::nullopt;
  std::string bytes(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  if (length < 0) return std::nullopt;
  bytes.resize(static_cast<size_t>(length) - padding);
  return bytes;
}

std::string json_text(const nlohmann::json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string json_text(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void set_text(nlohmann::ordered_json& to, const std::string& name, std::string_view text) {
  if (is_utf8(text)) {
    to[name] = text;
    return;
  }
  to[name] = base64(text);
  to[name + "_encoding"] = "base64";
}

}  // namespace tailrace::app
