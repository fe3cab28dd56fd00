#pragma once
// JSON as it was written: the text is checked once, and then looked at where it stands. So what is
// only passed on (an event's data) keeps its numbers to the last digit and its members in their
// order. Views are valid as long as the text. Any thread.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace tailrace {

/// Objects and arrays within each other; deeper ones are refused. What is passed on may be less
/// deep, so that it finds room within others.
inline constexpr size_t kMostJsonDepth = 128, kMostPassedOnDepth = 64;

class JsonView {
 public:
  enum class Kind : uint8_t { kNull, kBoolean, kNumber, kString, kArray, kObject };

  /// The text is one value by RFC 8259, in UTF-8, and each string is text: without halves of
  /// surrogate pairs. kInvalidArgument naming line and column: "line 1, column 8: …".
  static Result<JsonView> parse(std::string_view text);

  Kind kind() const;
  /// As it stands there, without space around it.
  std::string_view text() const { return text_; }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_null() const { return is(Kind::kNull); }

  // ---- Each of that kind only.
  bool boolean() const { return text_.front() == 't'; }
  std::string string() const;
  /// Nothing: with a fraction or an exponent, or beyond 64 bits.
  std::optional<uint64_t> whole_number() const;
  std::optional<int64_t> signed_number() const;

  /// The elements of an array, or the members of an object, one after the other.
  class Items {
   public:
    /// False at the end. `name` is only set for members.
    bool next();
    const std::string& name() const { return name_; }
    JsonView value() const { return JsonView(value_); }

   private:
    friend class JsonView;
    Items(std::string_view rest, bool of_object) : rest_(rest), of_object_(of_object) {}
    std::string_view rest_, value_;
    std::string name_;
    const bool of_object_;
  };
  Items items() const;

 private:
  explicit JsonView(std::string_view text) : text_(text) {}
  std::string_view text_;
};

/// Appends a text that JsonView::parse() has let through without the space between its parts: it
/// stands on one line then. Returns how many of its objects and arrays are within each other.
size_t append_compact(std::string_view json, std::string& to);

/// "an object", "text": for messages.
std::string_view name_of(JsonView::Kind kind);

}  // namespace tailrace
