#include "app/cli/json_text.h"

#include <algorithm>
#include <cctype>

#include <nlohmann/json.hpp>
#include <openssl/evp.h>

namespace tailrace::app {

std::string base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
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

bool is_utf8(std::string_view text) {
  try {
    // The library says by an exception that a string is not UTF-8.
    [[maybe_unused]] const std::string checked = nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
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
