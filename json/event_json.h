#pragma once
// The JSON of an event, the same on every door:
//
//   {"id":"uuid","type":"t","data":{"x":1},"meta":{},"tags":["a:1"]}
//
// Its data are in one of three members: `data` is any JSON value, `text` is text, `data_base64` is
// bytes. With `data_base64` the member `content_type` may say what they are (json, text, protobuf).
// JSON keeps its numbers, strings and the order of its members; the space between them is dropped.
// Any thread.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "json/json_view.h"
#include "json/json_writer.h"
#include "statemachine/txn/txn.h"

namespace tailrace {

/// An event with bytes of its own.
struct OwnedEvent {
  std::string type;
  std::optional<statemachine::EventIdBytes> id;
  std::vector<std::string> tags;
  std::string metadata;  // JSON, or nothing
  statemachine::ContentType content_type = statemachine::ContentType::kBytes;
  std::string data;
};

/// kInvalidArgument naming the member; `place` is the event's own in messages
/// ("then[0].append.events[2]"), empty for a line. Limits of length are left to validate().
Result<OwnedEvent> parse_event(JsonView json, std::string place);
Result<OwnedEvent> parse_event(std::string_view line);

/// A name of the table of content types: "bytes", "json", "text", "protobuf".
std::string_view name_of(statemachine::ContentType type);

/// Members of an object that is open: type, id, meta and tags where there are such, and the data.
/// What is said to be JSON and is not goes as `data_base64` with its `content_type`.
void write_event(const statemachine::TxnEvent& event, std::span<const std::string_view> tags,
                 JsonWriter& to);

}  // namespace tailrace
