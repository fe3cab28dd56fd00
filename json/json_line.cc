#include "json/json_line.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <utility>

#include "core/utf8.h"
#include "json/base64.h"

namespace tailrace {

namespace {

constexpr size_t kLeastLineBytes = size_t{4} << 10;
// Escapes make six bytes of one: room is made for so many bytes at a time, not for all of a
// payload.
constexpr size_t kEscapedPieceBytes = size_t{16} << 10;
constexpr size_t kMostEscapeBytes = 6;
constexpr size_t kMostDigits = 20;

constexpr uint64_t each_byte(uint8_t value) {
  return 0x0101010101010101u * value;
}

/// The high bit of each byte that is `value`; above the first one there may be others.
constexpr uint64_t bytes_that_are(uint8_t value, uint64_t word) {
  const uint64_t zero_there = word ^ each_byte(value);
  return (zero_there - each_byte(1)) & ~zero_there & each_byte(0x80);
}

bool needs_escape(char each) {
  return static_cast<unsigned char>(each) < 0x20 || each == '"' || each == '\\';
}

/// How many bytes at the beginning need no escape. Eight at a time.
size_t plain_bytes(std::string_view text) {
  size_t at = 0;
  for (; text.size() - at >= sizeof(uint64_t); at += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, sizeof word);
    const uint64_t controls = (word - each_byte(0x20)) & ~word & each_byte(0x80);
    const uint64_t found = controls | bytes_that_are('"', word) | bytes_that_are('\\', word);
    if (found != 0) return at + static_cast<size_t>(std::countr_zero(found)) / 8;
  }
  while (at < text.size() && !needs_escape(text[at]))
    ++at;
  return at;
}

/// Writes the escape of one byte that needs it; its length.
size_t write_escape(char each, char* to) {
  const auto short_form = [to](char letter) {
    to[0] = '\\';
    to[1] = letter;
    return size_t{2};
  };
  switch (each) {
    case '"':
    case '\\':
      return short_form(each);
    case '\b':
      return short_form('b');
    case '\t':
      return short_form('t');
    case '\n':
      return short_form('n');
    case '\f':
      return short_form('f');
    case '\r':
      return short_form('r');
    default: {
      constexpr char kHexDigits[] = "0123456789abcdef";
      const auto code = static_cast<unsigned char>(each);
      std::memcpy(to, "\\u00", 4);
      to[4] = kHexDigits[code >> 4];
      to[5] = kHexDigits[code & 0xf];
      return kMostEscapeBytes;
    }
  }
}

}  // namespace

char* JsonLine::room(size_t bytes) {
  if (capacity_ - size_ < bytes) {
    const size_t capacity = std::max({kLeastLineBytes, 2 * capacity_, size_ + bytes});
    auto memory = std::make_unique_for_overwrite<char[]>(capacity);
    if (size_ > 0) std::memcpy(memory.get(), memory_.get(), size_);
    memory_ = std::move(memory);
    capacity_ = capacity;
  }
  return memory_.get() + size_;
}

void JsonLine::take(std::string_view bytes) {
  char* to = room(bytes.size());
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  size_ += bytes.size();
}

void JsonLine::begin_member(std::string_view name, std::string_view more_of_name) {
  take(size_ == 0 ? "{\"" : ",\"");
  take(name);
  take(more_of_name);
  take("\":");
}

template <typename Number>
void JsonLine::any_number(std::string_view name, Number value) {
  begin_member(name);
  char* to = room(kMostDigits);
  size_ += static_cast<size_t>(std::to_chars(to, to + kMostDigits, value).ptr - to);
}

void JsonLine::number(std::string_view name, uint64_t value) {
  any_number(name, value);
}

void JsonLine::signed_number(std::string_view name, int64_t value) {
  any_number(name, value);
}

void JsonLine::flag(std::string_view name, bool value) {
  begin_member(name);
  take(value ? "true" : "false");
}

void JsonLine::json(std::string_view name, std::string_view value) {
  begin_member(name);
  take(value);
}

void JsonLine::escaped(std::string_view bytes) {
  while (!bytes.empty()) {
    std::string_view piece = bytes.substr(0, kEscapedPieceBytes);
    bytes.remove_prefix(piece.size());
    char* const begin = room(piece.size() * kMostEscapeBytes);
    char* to = begin;
    while (!piece.empty()) {
      const size_t plain = plain_bytes(piece);
      std::memcpy(to, piece.data(), plain);
      to += plain;
      piece.remove_prefix(plain);
      if (piece.empty()) break;
      to += write_escape(piece.front(), to);
      piece.remove_prefix(1);
    }
    size_ += static_cast<size_t>(to - begin);
  }
}

void JsonLine::text(std::string_view name, std::string_view bytes) {
  begin_member(name);
  take("\"");
  if (is_utf8(bytes)) {
    escaped(bytes);
    take("\"");
    return;
  }
  write_base64(bytes, room(base64_bytes(bytes.size())));
  size_ += base64_bytes(bytes.size());
  take("\"");
  begin_member(name, "_encoding");
  take("\"base64\"");
}

std::string_view JsonLine::end() {
  take(size_ == 0 ? "{}\n" : "}\n");
  return {memory_.get(), std::exchange(size_, 0)};
}

void append_escaped(std::string_view utf8, std::string& to) {
  while (!utf8.empty()) {
    const size_t plain = plain_bytes(utf8);
    to += utf8.substr(0, plain);
    utf8.remove_prefix(plain);
    if (utf8.empty()) return;
    char escape[kMostEscapeBytes];
    to.append(escape, write_escape(utf8.front(), escape));
    utf8.remove_prefix(1);
  }
}

}  // namespace tailrace
