#include "json/event_json.h"

#include <algorithm>
#include <array>

#include "core/utf8.h"
#include "json/base64.h"
#include "json/members.h"
#include "json/uuid.h"

namespace tailrace {

namespace {

using statemachine::ContentType;

constexpr std::string_view kEventMembers[] = {
    "id", "type", "data", "text", "meta", "data_base64", "content_type", "meta_base64", "tags"};

struct ContentTypeName {
  ContentType type;
  std::string_view name;
};
constexpr std::array kContentTypes{ContentTypeName{ContentType::kBytes, "bytes"},
                                   ContentTypeName{ContentType::kJson, "json"},
                                   ContentTypeName{ContentType::kText, "text"},
                                   ContentTypeName{ContentType::kProtobuf, "protobuf"}};

constexpr bool content_types_are_in_order() {
  for (size_t row = 0; row < kContentTypes.size(); ++row)
    if (static_cast<size_t>(kContentTypes[row].type) != row) return false;
  return kContentTypes.size() == static_cast<size_t>(ContentType::kLast) + 1;
}
static_assert(content_types_are_in_order());

/// JSON that is passed on, from the member `name`.
Result<std::string> passed_on(const Members& members, std::string_view name, JsonView json) {
  std::string text;
  text.reserve(json.text().size());
  if (append_compact(json.text(), text) > kMostPassedOnDepth)
    return members.refuse(name, "has more than " + std::to_string(kMostPassedOnDepth) +
                                    " objects and arrays within each other");
  return text;
}

/// The same of a record's bytes: on one line; nothing if they cannot stand within a line as JSON.
std::optional<std::string> shown_json(std::string_view bytes, bool is_object) {
  const auto json = JsonView::parse(bytes);
  if (!json || (is_object && !json->is(JsonView::Kind::kObject))) return std::nullopt;
  std::string text;
  text.reserve(bytes.size());
  if (append_compact(json->text(), text) > kMostPassedOnDepth) return std::nullopt;
  return text;
}

Result<> read_content_type(const Members& members, OwnedEvent& event) {
  TAILRACE_ASSIGN_OR_RETURN(const auto name, members.text("content_type"));
  if (!name) return {};
  if (!members.has("data_base64"))
    return members.refuse("content_type", "is for data_base64 only: data is JSON, text is text");
  const auto found = std::ranges::find(kContentTypes, *name, &ContentTypeName::name);
  if (found == kContentTypes.end())
    return members.refuse("content_type", "is to be bytes, json, text or protobuf");
  event.content_type = found->type;
  return {};
}

Result<> read_data(const Members& members, OwnedEvent& event) {
  const size_t given = size_t{members.has("data")} + size_t{members.has("text")} +
                       size_t{members.has("data_base64")};
  if (given > 1)
    return members.refuse("data", "has more than one form; give one of data, text, data_base64");
  if (const auto data = members.find("data")) {
    event.content_type = ContentType::kJson;
    TAILRACE_ASSIGN_OR_RETURN(event.data, passed_on(members, "data", *data));
  }
  TAILRACE_ASSIGN_OR_RETURN(auto text, members.text("text"));
  if (text) {
    event.content_type = ContentType::kText;
    event.data = *std::move(text);
  }
  if (members.has("data_base64")) {
    TAILRACE_ASSIGN_OR_RETURN(const auto digits, members.needed_text("data_base64"));
    auto bytes = from_base64(digits);
    if (!bytes) return members.refuse("data_base64", "is not base64 with its padding");
    event.data = *std::move(bytes);
  }
  return read_content_type(members, event);
}

Result<> read_metadata(const Members& members, OwnedEvent& event) {
  const auto meta = members.find("meta");
  if (meta && members.has("meta_base64"))
    return members.refuse("meta_base64", "and meta are both there; give one of them");
  if (meta && !meta->is(JsonView::Kind::kObject))
    return members.refuse("meta",
                          "is " + std::string(name_of(meta->kind())) + ", it is to be an object");
  if (meta) {
    TAILRACE_ASSIGN_OR_RETURN(event.metadata, passed_on(members, "meta", *meta));
  }
  if (!members.has("meta_base64")) return {};
  TAILRACE_ASSIGN_OR_RETURN(const auto digits, members.needed_text("meta_base64"));
  auto bytes = from_base64(digits);
  if (!bytes) return members.refuse("meta_base64", "is not base64 with its padding");
  event.metadata = *std::move(bytes);
  return {};
}

Result<> read_tags(const Members& members, OwnedEvent& event) {
  const auto tags = members.find("tags");
  if (!tags) return {};
  TAILRACE_ASSIGN_OR_RETURN(auto items, elements_of(*tags, members.place_of("tags")));
  while (items.next()) {
    const std::string place = "tags[" + std::to_string(event.tags.size()) + "]";
    if (event.tags.size() == statemachine::kMaxEventTags)
      return members.refuse(place, "is one too many, 16 are allowed");
    if (!items.value().is(JsonView::Kind::kString))
      return members.refuse(
          place, "is " + std::string(name_of(items.value().kind())) + ", it is to be text");
    event.tags.push_back(items.value().string());
  }
  return {};
}

void write_data(const statemachine::TxnEvent& event, JsonWriter& to) {
  const std::string_view data = as_text(event.data);
  const auto json = event.content_type == ContentType::kJson ? shown_json(data, false)
                                                             : std::optional<std::string>();
  if (json) {
    to.name("data").json(*json);
    return;
  }
  if (event.content_type == ContentType::kText && is_utf8(data)) {
    to.name("text").text(data);
    return;
  }
  to.name("data_base64").text(base64(data));
  if (event.content_type != ContentType::kBytes)
    to.name("content_type").text(name_of(event.content_type));
}

}  // namespace

std::string_view name_of(ContentType type) {
  const auto number = static_cast<size_t>(type);
  return number < kContentTypes.size() ? kContentTypes[number].name : "bytes";
}

Result<OwnedEvent> parse_event(JsonView json, std::string place) {
  TAILRACE_ASSIGN_OR_RETURN(const auto members, Members::of(json, std::move(place), kEventMembers));
  OwnedEvent event;
  TAILRACE_ASSIGN_OR_RETURN(const auto id, members.text("id"));
  if (id) {
    event.id = parse_uuid(*id);
    if (!event.id)
      return members.refuse("id", "is not a UUID: 32 hexadecimal digits, with dashes or without");
  }
  TAILRACE_ASSIGN_OR_RETURN(auto type, members.text("type"));
  event.type = std::move(type).value_or(std::string());
  TAILRACE_RETURN_IF_ERROR(read_data(members, event));
  TAILRACE_RETURN_IF_ERROR(read_metadata(members, event));
  TAILRACE_RETURN_IF_ERROR(read_tags(members, event));
  return event;
}

Result<OwnedEvent> parse_event(std::string_view line) {
  TAILRACE_ASSIGN_OR_RETURN(const auto json, JsonView::parse(line));
  return parse_event(json, {});
}

void write_event(const statemachine::TxnEvent& event, std::span<const std::string_view> tags,
                 JsonWriter& to) {
  if (!event.type.empty()) to.name("type").text(event.type);
  if (event.id) to.name("id").text(uuid_text(*event.id));
  if (const std::string_view meta = as_text(event.metadata); !meta.empty()) {
    if (const auto json = shown_json(meta, true))
      to.name("meta").json(*json);
    else
      to.name("meta_base64").text(base64(meta));
  }
  if (!tags.empty()) {
    to.name("tags").begin_array();
    for (const std::string_view tag : tags)
      to.text(tag);
    to.end_array();
  }
  write_data(event, to);
}

}  // namespace tailrace
