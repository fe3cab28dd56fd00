#pragma once
// JSON on one line, written from front to back behind what a string holds. One thread.

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace tailrace {

/// Whoever writes keeps to the grammar: in an object a name before each value.
class JsonWriter {
 public:
  explicit JsonWriter(std::string& to) : to_(to) {}

  JsonWriter& begin_object() { return begin('{'); }
  JsonWriter& end_object() { return end('}'); }
  JsonWriter& begin_array() { return begin('['); }
  JsonWriter& end_array() { return end(']'); }
  /// Taken as it is: without quotes, backslashes and control characters.
  JsonWriter& name(std::string_view name);

  JsonWriter& number(std::unsigned_integral auto value) { return value_of(std::to_string(value)); }
  JsonWriter& number(std::signed_integral auto value) { return value_of(std::to_string(value)); }
  JsonWriter& flag(bool value) { return value_of(value ? "true" : "false"); }
  /// UTF-8.
  JsonWriter& text(std::string_view utf8);
  /// One value that is JSON already.
  JsonWriter& json(std::string_view json) { return value_of(json); }
  /// A member of any bytes: `name` where they are UTF-8, else NAME_base64.
  JsonWriter& bytes(std::string_view name, std::string_view bytes);

 private:
  JsonWriter& begin(char opens);
  JsonWriter& end(char closes);
  JsonWriter& value_of(std::string_view text);
  void separate();

  std::string& to_;
  bool needs_comma_ = false;
};

}  // namespace tailrace
