#pragma once
// Bytes as text: in JSON as they are where they are UTF-8, else in base64.

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "json/base64.h"

namespace tailrace::app {

/// The JSON's text, on one line or indented. Never throws: what is not UTF-8 in a string that was
/// not set by set_text() (a file's name, a server's message) becomes U+FFFD.
std::string json_text(const nlohmann::json& json, int indent = -1);
std::string json_text(const nlohmann::ordered_json& json, int indent = -1);
/// Sets `name` to the text; to base64, and NAME_encoding, when it is not UTF-8.
void set_text(nlohmann::ordered_json& to, const std::string& name, std::string_view text);

}  // namespace tailrace::app
