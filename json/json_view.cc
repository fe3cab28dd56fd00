#include "json/json_view.h"

#include <algorithm>
#include <charconv>

#include "core/utf8.h"

namespace tailrace {

namespace {

bool is_space(char each) {
  return each == ' ' || each == '\t' || each == '\n' || each == '\r';
}
bool is_digit(char each) {
  return each >= '0' && each <= '9';
}

/// Of four hexadecimal digits; nothing if they are not.
std::optional<uint32_t> hex_of(std::string_view digits) {
  uint32_t code = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
  if (digits.size() != 4 || error != std::errc{} || end != digits.data() + 4) return std::nullopt;
  return code;
}

constexpr uint32_t kHighSurrogate = 0xd800, kLowSurrogate = 0xdc00, kSurrogateEnd = 0xe000;

/// Checks the grammar, from front to back.
class Checker {
 public:
  explicit Checker(std::string_view text) : text_(text) {}

  bool whole() {
    skip_space();
    if (!value(0)) return false;
    skip_space();
    return at_ == text_.size() || wrong("there is more behind the value");
  }
  /// "line 1, column 8: …"
  std::string problem() const {
    const std::string_view before = text_.substr(0, wrong_at_);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t begin = before.rfind('\n') + 1;  // npos + 1 is 0
    return "line " + std::to_string(line) + ", column " + std::to_string(wrong_at_ - begin + 1) +
           ": " + what_;
  }

 private:
  bool wrong(const char* what) {
    if (what_ == nullptr) what_ = what, wrong_at_ = at_;
    return false;
  }
  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool take(char wanted) {
    if (at_end() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void skip_space() {
    while (!at_end() && is_space(text_[at_]))
      ++at_;
  }

  bool value(size_t depth) {
    switch (peek()) {
      case '{':
        return container(depth, '}', true);
      case '[':
        return container(depth, ']', false);
      case '"':
        return string();
      case 't':
        return word("true");
      case 'f':
        return word("false");
      case 'n':
        return word("null");
      default:
        return number();
    }
  }

  bool word(std::string_view wanted) {
    if (text_.substr(at_, wanted.size()) != wanted) return wrong("a value is expected");
    at_ += wanted.size();
    return true;
  }

  bool container(size_t depth, char end, bool of_object) {
    if (depth >= kMostJsonDepth) return wrong("more than 128 objects and arrays within each other");
    ++at_;
    skip_space();
    if (take(end)) return true;
    for (;;) {
      if (of_object && !name()) return false;
      if (!value(depth + 1)) return false;
      skip_space();
      if (take(end)) return true;
      if (!take(',')) return wrong(of_object ? "',' or '}' is expected" : "',' or ']' is expected");
      skip_space();
    }
  }

  bool name() {
    if (peek() != '"') return wrong("a member's name in quotes is expected");
    if (!string()) return false;
    skip_space();
    if (!take(':')) return wrong("':' is expected behind a member's name");
    skip_space();
    return true;
  }

  bool digits() {
    if (!is_digit(peek())) return false;
    while (is_digit(peek()))
      ++at_;
    return true;
  }

  bool number() {
    take('-');
    if (!take('0') && !digits()) return wrong("a value is expected");
    if (is_digit(peek())) return wrong("a number does not begin with 0");
    if (take('.') && !digits()) return wrong("a digit is expected behind the point");
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (!digits()) return wrong("a digit is expected in the exponent");
    }
    return true;
  }

  bool string() {
    ++at_;
    for (;;) {
      if (at_end()) return wrong("the text has no closing quote");
      const char each = text_[at_];
      if (static_cast<unsigned char>(each) < 0x20)
        return wrong("a control character is to be written as an escape, as \\n or \\u0007");
      if (each == '\\') {
        if (!escape()) return false;
        continue;
      }
      ++at_;
      if (each == '"') return true;
    }
  }

  bool escape() {
    const char letter = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (letter != 'u') {
      if (letter == '\0' || std::string_view("\"\\/bfnrt").find(letter) == std::string_view::npos)
        return wrong("an unknown escape");
      at_ += 2;
      return true;
    }
    const auto code = hex_of(text_.substr(at_ + 2, std::min<size_t>(4, text_.size() - at_ - 2)));
    if (!code) return wrong("four hexadecimal digits are expected behind \\u");
    if (*code >= kLowSurrogate && *code < kSurrogateEnd) return wrong("half of a surrogate pair");
    if (*code >= kHighSurrogate && *code < kLowSurrogate) {
      const bool more = text_.substr(at_ + 6, 2) == "\\u" && text_.size() - at_ >= 12;
      const auto low = more ? hex_of(text_.substr(at_ + 8, 4)) : std::nullopt;
      if (!low || *low < kLowSurrogate || *low >= kSurrogateEnd)
        return wrong("half of a surrogate pair");
      at_ += 6;
    }
    at_ += 6;
    return true;
  }

  const std::string_view text_;
  size_t at_ = 0, wrong_at_ = 0;
  const char* what_ = nullptr;
};

// The following look at text that was checked.

/// Of the string that begins there, with its quotes.
size_t string_bytes(std::string_view text) {
  size_t at = 1;
  while (text[at] != '"')
    at += text[at] == '\\' ? 2 : 1;
  return at + 1;
}

/// Of the value that begins there.
size_t value_bytes(std::string_view text) {
  if (text.front() == '"') return string_bytes(text);
  if (text.front() != '{' && text.front() != '[')
    return std::min(text.find_first_of(",]} \t\n\r"), text.size());
  size_t depth = 0, at = 0;
  do {
    const char each = text[at];
    if (each == '"') {
      at += string_bytes(text.substr(at));
      continue;
    }
    if (each == '{' || each == '[') ++depth;
    if (each == '}' || each == ']') --depth;
    ++at;
  } while (depth > 0);
  return at;
}

void drop_space(std::string_view& text) {
  while (!text.empty() && is_space(text.front()))
    text.remove_prefix(1);
}

void append_character(uint32_t code, std::string& to) {
  const auto byte = [&to](uint32_t value) { to += static_cast<char>(value); };
  const auto tail = [&](uint32_t shift) { byte(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x80) return byte(code);
  if (code < 0x800) {
    byte(0xc0 | code >> 6);
  } else if (code < 0x10000) {
    byte(0xe0 | code >> 12);
    tail(6);
  } else {
    byte(0xf0 | code >> 18);
    tail(12);
    tail(6);
  }
  tail(0);
}

char short_escape(char letter) {
  switch (letter) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return letter;
  }
}

/// Of a string with its quotes.
std::string text_of(std::string_view quoted) {
  std::string text;
  text.reserve(quoted.size());
  for (size_t at = 1; at + 1 < quoted.size();) {
    if (quoted[at] != '\\') {
      text += quoted[at++];
      continue;
    }
    if (quoted[at + 1] != 'u') {
      text += short_escape(quoted[at + 1]);
      at += 2;
      continue;
    }
    uint32_t code = *hex_of(quoted.substr(at + 2, 4));
    at += 6;
    if (code >= kHighSurrogate && code < kLowSurrogate) {
      const uint32_t low = *hex_of(quoted.substr(at + 2, 4));
      code = 0x10000 + ((code - kHighSurrogate) << 10 | (low - kLowSurrogate));
      at += 6;
    }
    append_character(code, text);
  }
  return text;
}

template <typename Number>
std::optional<Number> number_of(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

Result<JsonView> JsonView::parse(std::string_view text) {
  if (!is_utf8(text)) return make_error(ErrorCode::kInvalidArgument, "the text is not UTF-8");
  Checker checker(text);
  if (!checker.whole()) return make_error(ErrorCode::kInvalidArgument, checker.problem());
  drop_space(text);
  return JsonView(text.substr(0, value_bytes(text)));
}

JsonView::Kind JsonView::kind() const {
  switch (text_.front()) {
    case '{':
      return Kind::kObject;
    case '[':
      return Kind::kArray;
    case '"':
      return Kind::kString;
    case 't':
    case 'f':
      return Kind::kBoolean;
    case 'n':
      return Kind::kNull;
    default:
      return Kind::kNumber;
  }
}

std::string JsonView::string() const {
  return text_of(text_);
}

std::optional<uint64_t> JsonView::whole_number() const {
  return number_of<uint64_t>(text_);
}

std::optional<int64_t> JsonView::signed_number() const {
  return number_of<int64_t>(text_);
}

JsonView::Items JsonView::items() const {
  return Items(text_.substr(1), is(Kind::kObject));
}

bool JsonView::Items::next() {
  drop_space(rest_);
  if (rest_.front() == ',') rest_.remove_prefix(1);
  drop_space(rest_);
  if (rest_.front() == '}' || rest_.front() == ']') return false;
  if (of_object_) {
    const size_t bytes = string_bytes(rest_);
    name_ = text_of(rest_.substr(0, bytes));
    rest_.remove_prefix(bytes);
    drop_space(rest_);
    rest_.remove_prefix(1);  // the colon
    drop_space(rest_);
  }
  value_ = rest_.substr(0, value_bytes(rest_));
  rest_.remove_prefix(value_.size());
  return true;
}

size_t append_compact(std::string_view json, std::string& to) {
  size_t depth = 0, deepest = 0;
  while (!json.empty()) {
    const char each = json.front();
    if (each == '"') {
      const size_t bytes = string_bytes(json);
      to += json.substr(0, bytes);
      json.remove_prefix(bytes);
      continue;
    }
    if (each == '{' || each == '[') deepest = std::max(deepest, ++depth);
    if (each == '}' || each == ']') --depth;
    if (!is_space(each)) to += each;
    json.remove_prefix(1);
  }
  return deepest;
}

std::string_view name_of(JsonView::Kind kind) {
  switch (kind) {
    case JsonView::Kind::kNull:
      return "null";
    case JsonView::Kind::kBoolean:
      return "true or false";
    case JsonView::Kind::kNumber:
      return "a number";
    case JsonView::Kind::kString:
      return "text";
    case JsonView::Kind::kArray:
      return "an array";
    case JsonView::Kind::kObject:
      return "an object";
  }
  return "a value";
}

}  // namespace tailrace
