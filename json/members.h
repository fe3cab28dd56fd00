#pragma once
// The members of one JSON object, of which each has a name that is known: what is missing, what is
// of another kind and what nobody knows is told with its place: "then[2].put.vlaue is not known;
// did you mean value?". Internal to the forms of this folder.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"
#include "json/json_view.h"

namespace tailrace {

/// kInvalidArgument: "`place` `what`".
tl::unexpected<Error> refuse_json(std::string_view place, std::string_view what);

class Members {
 public:
  /// `place`: of the object in messages ("then[2].put"), empty at the top. `known`: the names of
  /// its members, which outlive this. kInvalidArgument when it is not an object, or has a member
  /// that is unknown or there twice.
  static Result<Members> of(JsonView json, std::string place,
                            std::span<const std::string_view> known);

  /// "then[2].put.value"
  std::string place_of(std::string_view name) const;
  const std::string& place() const { return place_; }
  std::optional<JsonView> find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name).has_value(); }
  /// In the order in which they were written.
  const std::vector<std::pair<std::string_view, JsonView>>& all() const { return found_; }

  // Nothing: it is not there. An error: it is of another kind.
  Result<std::optional<std::string>> text(std::string_view name) const;
  /// Of the member `name`, or in base64 of NAME_base64; both are refused.
  Result<std::optional<std::string>> bytes(std::string_view name) const;
  Result<std::optional<uint64_t>> whole_number(std::string_view name) const;
  Result<std::optional<int64_t>> signed_number(std::string_view name) const;
  /// The same, and an error where it is not there.
  Result<std::string> needed_text(std::string_view name) const;
  Result<std::string> needed_bytes(std::string_view name) const;
  /// An error unless it is `true`.
  Result<> check_true(std::string_view name) const;

  tl::unexpected<Error> missing(std::string_view name) const;
  tl::unexpected<Error> refuse(std::string_view name, std::string_view what) const {
    return refuse_json(place_of(name), what);
  }

 private:
  std::string place_;
  std::vector<std::pair<std::string_view, JsonView>> found_;
};

/// As Members: of text or an array in the place of a member.
Result<JsonView::Items> elements_of(JsonView json, std::string_view place);

}  // namespace tailrace
