#pragma once
// Bytes as text: in JSON as they are where they are UTF-8, else in base64.

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace tailrace::app {

std::string base64(std::string_view bytes);
bool is_utf8(std::string_view text);
/// Sets `name` to the text; to base64, and NAME_encoding, when it is not UTF-8.
void set_text(nlohmann::ordered_json& to, const std::string& name, std::string_view text);

}  // namespace tailrace::app
