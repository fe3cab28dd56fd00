#pragma once
// One flat JSON object on one line, written member by member into memory that the next line uses
// again. For what prints a line a record or pair; json_writer.h writes nested values with the same
// escapes.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace tailrace {

/// Names are taken as they are: without quotes, backslashes and control characters, and each once.
/// One thread at a time.
class JsonLine {
 public:
  void number(std::string_view name, uint64_t value);
  void signed_number(std::string_view name, int64_t value);
  void flag(std::string_view name, bool value);
  /// One value that is JSON already, on one line.
  void json(std::string_view name, std::string_view value);
  /// Any bytes: as they are where they are UTF-8, else in base64, and then the member
  /// NAME_encoding says so. What stands in the way of JSON is escaped: quotes, backslashes and
  /// control characters below U+0020, and nothing else.
  void text(std::string_view name, std::string_view bytes);

  /// Ends the object: the line with its newline, which stays until the next member is written.
  std::string_view end();

 private:
  /// Room for so many bytes behind what is written.
  char* room(size_t bytes);
  void take(std::string_view bytes);
  void begin_member(std::string_view name, std::string_view more_of_name = {});
  template <typename Number>
  void any_number(std::string_view name, Number value);
  void escaped(std::string_view bytes);

  std::unique_ptr<char[]> memory_;
  size_t capacity_ = 0, size_ = 0;
};

/// A text in UTF-8 with the escapes of JsonLine::text(), without its quotes.
void append_escaped(std::string_view utf8, std::string& to);

}  // namespace tailrace
