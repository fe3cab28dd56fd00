#include "json/members.h"

#include <algorithm>

#include "core/nearest.h"
#include "json/base64.h"

namespace tailrace {

namespace {

// Of a name that nobody knows: it may be of any length.
constexpr size_t kMostShownBytes = 64;

std::string unknown_member(std::string_view name, std::span<const std::string_view> known) {
  if (const auto meant = nearest(name, known))
    return "is not known; did you mean " + std::string(*meant) + "?";
  std::string what = "is not known; known here:";
  for (const std::string_view one : known)
    what += (&one == known.data() ? " " : ", ") + std::string(one);
  return what;
}

std::string kind_needed(std::string_view wanted, JsonView found) {
  return "is " + std::string(name_of(found.kind())) + ", it is to be " + std::string(wanted);
}

}  // namespace

tl::unexpected<Error> refuse_json(std::string_view place, std::string_view what) {
  return make_error(ErrorCode::kInvalidArgument,
                    std::string(place.empty() ? "the object" : place) + " " + std::string(what));
}

Result<Members> Members::of(JsonView json, std::string place,
                            std::span<const std::string_view> known) {
  Members members;
  members.place_ = std::move(place);
  if (!json.is(JsonView::Kind::kObject))
    return refuse_json(members.place_.empty() ? "it" : members.place_,
                       kind_needed("an object", json));
  auto items = json.items();
  while (items.next()) {
    const auto name = std::ranges::find(known, items.name());
    if (name == known.end())
      return members.refuse(items.name().substr(0, kMostShownBytes),
                            unknown_member(items.name(), known));
    if (members.has(*name)) return members.refuse(*name, "is there twice");
    members.found_.emplace_back(*name, items.value());
  }
  return members;
}

std::string Members::place_of(std::string_view name) const {
  return place_.empty() ? std::string(name) : place_ + "." + std::string(name);
}

std::optional<JsonView> Members::find(std::string_view name) const {
  const auto found =
      std::ranges::find_if(found_, [&](const auto& one) { return one.first == name; });
  return found == found_.end() ? std::nullopt : std::optional(found->second);
}

Result<std::optional<std::string>> Members::text(std::string_view name) const {
  const auto found = find(name);
  if (!found) return std::nullopt;
  if (!found->is(JsonView::Kind::kString)) return refuse(name, kind_needed("text", *found));
  return found->string();
}

Result<std::optional<std::string>> Members::bytes(std::string_view name) const {
  const std::string coded = std::string(name) + "_base64";
  TAILRACE_ASSIGN_OR_RETURN(auto plain, text(name));
  TAILRACE_ASSIGN_OR_RETURN(const auto digits, text(coded));
  if (!digits) return plain;
  if (plain) return refuse(coded, "and " + std::string(name) + " are both there; give one of them");
  auto decoded = from_base64(*digits);
  if (!decoded) return refuse(coded, "is not base64 with its padding");
  return decoded;
}

Result<std::optional<uint64_t>> Members::whole_number(std::string_view name) const {
  const auto found = find(name);
  if (!found) return std::nullopt;
  const auto number =
      found->is(JsonView::Kind::kNumber) ? found->whole_number() : std::optional<uint64_t>();
  if (!number) return refuse(name, "is not a whole number from 0 to 18446744073709551615");
  return number;
}

Result<std::optional<int64_t>> Members::signed_number(std::string_view name) const {
  const auto found = find(name);
  if (!found) return std::nullopt;
  const auto number =
      found->is(JsonView::Kind::kNumber) ? found->signed_number() : std::optional<int64_t>();
  if (!number) return refuse(name, "is not a whole number of 64 bits");
  return number;
}

Result<std::string> Members::needed_text(std::string_view name) const {
  TAILRACE_ASSIGN_OR_RETURN(auto found, text(name));
  if (!found) return missing(name);
  return *std::move(found);
}

Result<std::string> Members::needed_bytes(std::string_view name) const {
  TAILRACE_ASSIGN_OR_RETURN(auto found, bytes(name));
  if (!found) return missing(name);
  return *std::move(found);
}

Result<> Members::check_true(std::string_view name) const {
  const auto found = find(name);
  if (found && found->is(JsonView::Kind::kBoolean) && found->boolean()) return {};
  return refuse(name, "is to be true, or left out");
}

tl::unexpected<Error> Members::missing(std::string_view name) const {
  return refuse(name, "is missing");
}

Result<JsonView::Items> elements_of(JsonView json, std::string_view place) {
  if (json.is(JsonView::Kind::kArray)) return json.items();
  return refuse_json(place, kind_needed("an array", json));
}

}  // namespace tailrace
