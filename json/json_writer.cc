#include "json/json_writer.h"

#include "core/utf8.h"
#include "json/base64.h"
#include "json/json_line.h"

namespace tailrace {

void JsonWriter::separate() {
  if (needs_comma_) to_ += ',';
}

JsonWriter& JsonWriter::begin(char opens) {
  separate();
  to_ += opens;
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::end(char closes) {
  to_ += closes;
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::name(std::string_view name) {
  separate();
  to_ += '"';
  to_ += name;
  to_ += "\":";
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::value_of(std::string_view text) {
  separate();
  to_ += text;
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::text(std::string_view utf8) {
  separate();
  to_ += '"';
  append_escaped(utf8, to_);
  to_ += '"';
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::bytes(std::string_view name, std::string_view bytes) {
  if (is_utf8(bytes)) return this->name(name).text(bytes);
  return this->name(std::string(name) + "_base64").text(base64(bytes));
}

}  // namespace tailrace
