#include "app/cli/json_text.h"

#include <nlohmann/json.hpp>

#include "core/utf8.h"

namespace tailrace::app {

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
