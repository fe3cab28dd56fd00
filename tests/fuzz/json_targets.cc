// What people and programs write as JSON: transactions and events.
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/check.h"
#include "json/event_json.h"
#include "json/json_view.h"
#include "json/txn_json.h"
#include "json/txn_result_json.h"
#include "tests/fuzz/targets.h"

namespace tailrace::fuzz {
namespace {

/// What the view lets through is JSON, and means what another reader says.
void check_json(std::string_view text) {
  const auto view = JsonView::parse(text);
  if (!view) return;
  const auto other = nlohmann::json::parse(text, nullptr, false);
  // The other reader refuses numbers that are beyond its own.
  const bool may_be_huge = text.size() > 300 || text.find_first_of("eE") != std::string_view::npos;
  if (other.is_discarded() && may_be_huge) return;
  TAILRACE_CHECK(!other.is_discarded(), "what is not JSON is let through");
  std::string compact;
  append_compact(view->text(), compact);
  TAILRACE_CHECK(nlohmann::json::parse(compact, nullptr, false) == other, "compact JSON differs");
  if (view->is(JsonView::Kind::kString))
    TAILRACE_CHECK(other.is_string() && view->string() == other.get<std::string>(), "another text");
}

/// An event that was understood is written so that it is understood as the same.
void check_event_line(std::string_view line) {
  const auto event = parse_event(line);
  if (!event) {
    TAILRACE_CHECK(event.error().code == ErrorCode::kInvalidArgument, "refused by another code");
    return;
  }
  OwnedTxn owned;
  statemachine::TxnEffect append{.kind = statemachine::TxnEffectKind::kAppend};
  owned.add_event(append, *event);
  std::string written;
  JsonWriter to(written);
  to.begin_object();
  write_event(owned.txn.events[0], owned.txn.tags_of(owned.txn.events[0]), to);
  to.end_object();
  const auto again = parse_event(written);
  TAILRACE_CHECK(again.has_value(), "an event's own JSON is refused: " + written);
  TAILRACE_CHECK(again->type == event->type && again->id == event->id &&
                     again->tags == event->tags && again->metadata == event->metadata &&
                     again->content_type == event->content_type && again->data == event->data,
                 "an event comes back as another one: " + written);
}

/// A dump has all of what the log has.
void check_logged_txn(std::vector<std::byte>& body) {
  statemachine::Txn txn;
  TAILRACE_CHECK(statemachine::date(body, 1'800'000'000'000'000'000), "it is not dated");
  TAILRACE_CHECK(statemachine::decode(body, txn), "what was dated is not decoded");
  std::string text;
  JsonWriter to(text);
  write_txn(txn, to);
  const auto json = JsonView::parse(text);
  TAILRACE_CHECK(json.has_value(), "the JSON of a transaction is none: " + text);
  const auto read = parse_logged_txn(*json);
  TAILRACE_CHECK(read.has_value(), "its own JSON is refused: " + text);
  std::vector<std::byte> again;
  statemachine::encode(read->txn, again);
  TAILRACE_CHECK(again == body, "the log's transaction comes back as another one: " + text);
}

/// What was understood and is let in is encoded and decoded to the same.
void check_txn(std::string_view text) {
  const auto owned = parse_txn(text);
  if (!owned) {
    TAILRACE_CHECK(owned.error().code == ErrorCode::kInvalidArgument, "refused by another code");
    return;
  }
  if (!statemachine::validate(owned->txn, {size_t{4} << 20, size_t{1} << 20})) return;
  std::vector<std::byte> body, again;
  statemachine::encode(owned->txn, body);
  statemachine::Txn decoded;
  TAILRACE_CHECK(statemachine::decode(body, decoded), "what was validated is not decoded");
  statemachine::encode(decoded, again);
  TAILRACE_CHECK(again == body, "a transaction loses bytes");
  check_logged_txn(body);
}

void check_result_json(ByteSpan input) {
  statemachine::TxnResult result;
  if (!statemachine::decode(input, result)) return;
  std::string text;
  JsonWriter to(text);
  write_txn_result(result, to);
  TAILRACE_CHECK(JsonView::parse(text), "a result's JSON is none: " + text);
}

}  // namespace

// Input: JSON text; or the bytes of a result.
void json_forms(ByteSpan input) {
  check_result_json(input);
  check_json(as_text(input));
  check_event_line(as_text(input));
  check_txn(as_text(input));
}

}  // namespace tailrace::fuzz
