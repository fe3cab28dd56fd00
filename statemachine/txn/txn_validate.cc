#include <algorithm>
#include <limits>
#include <string>

#include "core/utf8.h"
#include "statemachine/txn/names.h"
#include "statemachine/txn/txn.h"
#include "statemachine/txn/txn_conflicts.h"
#include "statemachine/txn/txn_table.h"

// Each function says what is wrong behind the item's name, which its caller puts in front:
// ".type is 300 bytes long, 255 are allowed" becomes "then[3].append.events[0].type is …".

namespace tailrace::statemachine {

namespace {

constexpr const char* kLimitOfValues = " (server.max_value_bytes in the nodes' files)";

tl::unexpected<Error> refuse(std::string what) {
  return make_error(ErrorCode::kInvalidArgument, std::move(what));
}

std::string number_of(size_t number) {
  return std::to_string(number);
}

Result<> within(std::string item, const Result<>& checked) {
  if (checked) return {};
  return refuse(std::move(item) + checked.error().message);
}

Result<> check_length(const char* field, size_t bytes, size_t most, const char* where = "") {
  if (bytes <= most) return {};
  return refuse(std::string(field) + " is " + number_of(bytes) + " bytes long, " + number_of(most) +
                " are allowed" + where);
}

Result<> check_value(const char* field, ByteSpan value, const TxnLimits& limits) {
  const size_t most =
      std::min<size_t>(limits.max_value_bytes, std::numeric_limits<uint32_t>::max() - 64);
  return check_length(field, value.size(), most, kLimitOfValues);
}

Result<> check_text(const char* field, std::string_view text, size_t most) {
  TAILRACE_RETURN_IF_ERROR(check_length(field, text.size(), most));
  if (!is_utf8(text)) return refuse(std::string(field) + " is not UTF-8");
  return {};
}

constexpr bool is_control(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code <= 0x9f);
}

/// Of a text that is UTF-8.
Result<> check_control_characters(const char* field, std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Character next = first_character(text.substr(at));
    if (is_control(next.code))
      return refuse(std::string(field) + " has a control character, code " + number_of(next.code) +
                    ", at byte " + number_of(at) + "; none are allowed");
    at += next.bytes;
  }
  return {};
}

Result<> check_name(NameOf kind, ByteSpan name) {
  switch (kind) {
    case NameOf::kNothing:
      if (!name.empty()) return refuse(".name is given, but there is none here");
      return {};
    case NameOf::kKey:
      if (name.empty()) return refuse(".key is empty, a key has at least one byte");
      return check_length(".key", name.size(), kMaxKeyBytes);
    case NameOf::kStream:
      if (name.empty()) return refuse(".stream is empty, a name has at least one byte");
      TAILRACE_RETURN_IF_ERROR(check_text(".stream", as_text(name), kMaxStreamBytes));
      return check_control_characters(".stream", as_text(name));
  }
  return refuse(" has a name of no kind");
}

/// What is not encoded must not be there: else decoding would give another transaction.
Result<> check_is_absent(const char* field, bool is_given, std::string_view title) {
  if (!is_given) return {};
  return refuse(std::string(field) + " is given, but '" + std::string(title) + "' has none");
}

Result<> check_range(const TxnCheck& check) {
  if (check.min <= check.max) return {};
  return refuse(".min is " + std::to_string(check.min) + ", its max " + std::to_string(check.max) +
                ": min must not be above max");
}

template <typename Enumeration>
Result<> check_is_known(const char* field, Enumeration value) {
  if (value <= Enumeration::kLast) return {};
  return refuse(std::string(field) + " is " + number_of(static_cast<size_t>(value)) + ", " +
                number_of(static_cast<size_t>(Enumeration::kLast)) +
                " is the greatest that is known");
}

template <typename Kind>
Result<> check_kind(Kind kind) {
  if (is_known(kind)) return {};
  return refuse(".kind is " + number_of(static_cast<size_t>(kind)) + ", the kinds are 1 to " +
                number_of(static_cast<size_t>(Kind::kLast)));
}

Result<> check_check(const TxnCheck& check, const TxnLimits& limits) {
  TAILRACE_RETURN_IF_ERROR(check_kind(check.kind));
  const CheckInfo& info = info_of(check.kind);
  const auto lacks = [&](CheckFields field) { return (info.fields & field) == 0; };
  TAILRACE_RETURN_IF_ERROR(check_name(info.name, check.name));
  TAILRACE_RETURN_IF_ERROR(
      check_is_absent(".value", lacks(kCheckHasValue) && !check.value.empty(), info.title));
  TAILRACE_RETURN_IF_ERROR(
      check_is_absent(".min", lacks(kCheckHasRange) && check.min != 0, info.title));
  TAILRACE_RETURN_IF_ERROR(
      check_is_absent(".max", lacks(kCheckHasRange) && check.max != 0, info.title));
  TAILRACE_RETURN_IF_ERROR(check_is_absent(".at", lacks(kCheckHasAt) && check.at != 0, info.title));
  TAILRACE_RETURN_IF_ERROR(check_value(".value", check.value, limits));
  return check_range(check);
}

Result<> check_tags(std::span<const std::string_view> tags) {
  if (tags.size() > kMaxEventTags)
    return refuse(" has " + number_of(tags.size()) + " tags, " + number_of(kMaxEventTags) +
                  " are allowed");
  for (size_t i = 0; i < tags.size(); ++i) {
    const std::string field = ".tags[" + number_of(i) + "]";
    if (tags[i].empty()) return refuse(field + " is empty, a tag has at least one byte");
    TAILRACE_RETURN_IF_ERROR(check_text(field.c_str(), tags[i], kMaxEventTagBytes));
  }
  return {};
}

Result<> check_fields(const TxnEffect& effect, const EffectInfo& info) {
  const auto lacks = [&](EffectFields field) { return (info.fields & field) == 0; };
  const auto absent = [&](const char* field, bool is_given) {
    return check_is_absent(field, is_given, info.title);
  };
  TAILRACE_RETURN_IF_ERROR(absent(".value", lacks(kEffectHasValue) && !effect.value.empty()));
  TAILRACE_RETURN_IF_ERROR(
      absent(".expires_at", lacks(kEffectHasTime) && effect.expires_at_ns != 0));
  TAILRACE_RETURN_IF_ERROR(absent(".delta", lacks(kEffectHasDelta) && effect.delta != 0));
  TAILRACE_RETURN_IF_ERROR(
      absent(".expected", lacks(kEffectHasEvents) && effect.expected != Expected::kAny));
  TAILRACE_RETURN_IF_ERROR(
      absent(".events", lacks(kEffectHasEvents) && (effect.event_count | effect.first_event) != 0));
  const bool has_policy =
      effect.max_count || effect.max_age_ns || effect.truncate_before || effect.dedupe;
  TAILRACE_RETURN_IF_ERROR(absent(".policy", lacks(kEffectHasPolicy) && has_policy));
  if (!lacks(kEffectHasPolicy) && !has_policy)
    return refuse(
        " says nothing: one of max_count, max_age, truncate_before and dedupe is to be given");
  if (effect.dedupe.value_or(0) > kMaxTxnDedupe)
    return refuse(".dedupe is " + number_of(*effect.dedupe) + " ids, " + number_of(kMaxTxnDedupe) +
                  " are allowed");
  return check_is_absent(".expected_version",
                         effect.expected_version != 0 && effect.expected != Expected::kExact,
                         "an append without an exact version");
}

Result<> check_once(const OnceKey& once) {
  if (once.until_ns == 0) return refuse("once.until is 0, it is to be how long from now, in ns");
  if (once.until_ns <= kMaxOnceNs) return {};
  return refuse("once.until is " + number_of(once.until_ns) + " ns from now, " +
                number_of(kMaxOnceNs) + " are allowed");
}

/// Validates one transaction: items in the order of the body, and so events and tags in theirs.
class TxnValidator {
 public:
  TxnValidator(const Txn& txn, const TxnLimits& limits) : txn_(txn), limits_(limits) {}

  Result<> run() {
    TAILRACE_RETURN_IF_ERROR(check_counts());
    if (txn_.time_ns != 0)
      return refuse("time is " + number_of(txn_.time_ns) + ", the leader gives it: it is to be 0");
    if (txn_.once) TAILRACE_RETURN_IF_ERROR(check_once(*txn_.once));
    for (size_t i = 0; i < txn_.checks.size(); ++i)
      if (const auto checked = check_check(txn_.checks[i], limits_); !checked)
        return within("if[" + number_of(i) + "]", checked);
    TAILRACE_RETURN_IF_ERROR(check_list("then", txn_.then));
    TAILRACE_RETURN_IF_ERROR(check_list("else", txn_.otherwise));
    TAILRACE_RETURN_IF_ERROR(check_all_are_used());
    return check_bytes();
  }

 private:
  Result<> check_counts() const {
    const size_t items =
        txn_.checks.size() + txn_.then.size() + txn_.otherwise.size() + txn_.events.size();
    if (items <= kMaxTxnItems) return {};
    return refuse("the transaction has " + number_of(items) +
                  " items (checks, effects and events), " + number_of(kMaxTxnItems) +
                  " are allowed");
  }

  Result<> check_list(const char* name, const std::vector<TxnEffect>& list) {
    const auto item = [&](size_t i) { return std::string(name) + "[" + number_of(i) + "]"; };
    for (size_t i = 0; i < list.size(); ++i) {
      if (const auto checked = check_kind(list[i].kind); !checked) return within(item(i), checked);
      if (const auto checked = check_effect(list[i]); !checked)
        return within(item(i) + "." + std::string(info_of(list[i].kind).title), checked);
    }
    if (const auto conflict = first_conflict(list)) return refuse(describe(*conflict, name, list));
    return {};
  }

  Result<> check_effect(const TxnEffect& effect) {
    const EffectInfo& info = info_of(effect.kind);
    TAILRACE_RETURN_IF_ERROR(check_name(info.name, effect.name));
    TAILRACE_RETURN_IF_ERROR(check_is_known(".expected", effect.expected));
    TAILRACE_RETURN_IF_ERROR(check_fields(effect, info));
    TAILRACE_RETURN_IF_ERROR(check_value(".value", effect.value, limits_));
    if ((info.fields & kEffectHasEvents) != 0) return check_events(effect);
    return {};
  }

  Result<> check_events(const TxnEffect& append) {
    if (append.event_count == 0) return refuse(" has no events, it is to have at least one");
    if (append.first_event != next_event_ || append.event_count > txn_.events.size() - next_event_)
      return refuse(".events are " + number_of(append.event_count) + " from " +
                    number_of(append.first_event) + " on, they are to begin at " +
                    number_of(next_event_) + " and there are " + number_of(txn_.events.size()));
    for (size_t i = 0; i < append.event_count; ++i)
      if (const auto checked = check_event(txn_.events[next_event_ + i]); !checked)
        return within(".events[" + number_of(i) + "]", checked);
    next_event_ += append.event_count;
    return check_ids(txn_.events_of(append));
  }

  Result<> check_ids(std::span<const TxnEvent> events) const {
    const auto repeated = first_repeated_id(events);
    if (!repeated) return {};
    return refuse(".events[" + number_of(repeated->second) + "].id is that of .events[" +
                  number_of(repeated->first) + "]; each event has an id of its own");
  }

  Result<> check_event(const TxnEvent& event) {
    TAILRACE_RETURN_IF_ERROR(check_text(".type", event.type, kMaxEventTypeBytes));
    TAILRACE_RETURN_IF_ERROR(
        check_length(".metadata", event.metadata.size(), kMaxEventMetadataBytes));
    TAILRACE_RETURN_IF_ERROR(check_is_known(".content_type", event.content_type));
    if (event.id == EventIdBytes{}) return refuse(".id is all zeros; give another one, or none");
    TAILRACE_RETURN_IF_ERROR(check_value(".data", event.data, limits_));
    if (event.first_tag != next_tag_ || event.tag_count > txn_.tags.size() - next_tag_)
      return refuse(".tags are " + number_of(event.tag_count) + " from " +
                    number_of(event.first_tag) + " on, they are to begin at " +
                    number_of(next_tag_) + " and there are " + number_of(txn_.tags.size()));
    next_tag_ += event.tag_count;
    return check_tags(txn_.tags_of(event));
  }

  Result<> check_all_are_used() const {
    if (next_event_ != txn_.events.size())
      return refuse("the transaction has " + number_of(txn_.events.size()) +
                    " events, its appends have " + number_of(next_event_));
    if (next_tag_ != txn_.tags.size())
      return refuse("the transaction has " + number_of(txn_.tags.size()) +
                    " tags, its events have " + number_of(next_tag_));
    return {};
  }

  Result<> check_bytes() const {
    const size_t most =
        std::min<size_t>(limits_.max_bytes, std::numeric_limits<uint32_t>::max() - 64);
    return check_length("the transaction", encoded_bytes(txn_), most);
  }

  const Txn& txn_;
  const TxnLimits& limits_;
  size_t next_event_ = 0, next_tag_ = 0;
};

}  // namespace

Result<> validate(const Txn& txn, const TxnLimits& limits) {
  return TxnValidator(txn, limits).run();
}

}  // namespace tailrace::statemachine
