#include "json/txn_json.h"

#include <algorithm>
#include <limits>

#include "json/members.h"
#include "json/time_text.h"
#include "json/txn_effects.h"
#include "json/uuid.h"

namespace tailrace {

namespace {

using statemachine::CheckKind;
using statemachine::TxnCheck;
using statemachine::TxnEffect;

constexpr std::string_view kTxnMembers[] = {"once", "if", "then", "else"};
constexpr std::string_view kLoggedTxnMembers[] = {"time_ns", "once", "if", "then", "else"};
constexpr std::string_view kOnceMembers[] = {"key", "ttl"};
constexpr std::string_view kLoggedOnceMembers[] = {"key", "until_ns"};
constexpr std::string_view kCheckMembers[] = {
    "key",    "key_base64", "stream", "before",        "absent",
    "exists", "none",       "equals", "equals_base64", "modified_at",
    "min",    "max",        "at",     "group",         "unacknowledged"};

std::string item_place(std::string_view list, size_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

/// What a check may say of a key or of a stream, besides its name.
struct CheckForm {
  std::string_view member;
  CheckKind kind;
};
constexpr CheckForm kKeyForms[] = {{"absent", CheckKind::kKeyAbsent},
                                   {"exists", CheckKind::kKeyExists},
                                   {"equals", CheckKind::kKeyEquals},
                                   {"equals_base64", CheckKind::kKeyEquals},
                                   {"modified_at", CheckKind::kKeyModifiedAt},
                                   {"min", CheckKind::kKeyNumber},
                                   {"max", CheckKind::kKeyNumber}};
constexpr CheckForm kStreamForms[] = {{"at", CheckKind::kStreamAt},
                                      {"none", CheckKind::kStreamAbsent},
                                      {"exists", CheckKind::kStreamExists}};

/// The one kind that the members besides `names` have; an error names what is wrong with them.
Result<CheckKind> kind_of(const Members& members, std::span<const std::string_view> names,
                          std::span<const CheckForm> forms, const char* choice) {
  std::optional<CheckKind> kind;
  for (const auto& [member, value] : members.all()) {
    if (std::ranges::find(names, member) != names.end()) continue;
    const auto form = std::ranges::find(forms, member, &CheckForm::member);
    if (form == forms.end())
      return members.refuse(
          member, "is not for " + std::string(names.front()) + " checks; " + choice + " is");
    if (kind && *kind != form->kind)
      return members.refuse(member, "is one condition too many; give each a check of its own");
    kind = form->kind;
  }
  if (!kind) return refuse_json(members.place(), std::string("says no condition: ") + choice);
  return *kind;
}

Result<TxnCheck> read_key_check(const Members& members, OwnedTxn& to) {
  constexpr std::string_view kNames[] = {"key", "key_base64"};
  TxnCheck check;
  TAILRACE_ASSIGN_OR_RETURN(check.kind,
                            kind_of(members, kNames, kKeyForms,
                                    "one of absent, exists, equals, modified_at, or min and max"));
  TAILRACE_ASSIGN_OR_RETURN(auto key, members.needed_bytes("key"));
  check.name = as_bytes(to.hold(std::move(key)));
  if (check.kind == CheckKind::kKeyAbsent) TAILRACE_RETURN_IF_ERROR(members.check_true("absent"));
  if (check.kind == CheckKind::kKeyExists) TAILRACE_RETURN_IF_ERROR(members.check_true("exists"));
  if (check.kind == CheckKind::kKeyEquals) {
    TAILRACE_ASSIGN_OR_RETURN(auto value, members.needed_bytes("equals"));
    check.value = as_bytes(to.hold(std::move(value)));
  }
  if (check.kind == CheckKind::kKeyModifiedAt) {
    TAILRACE_ASSIGN_OR_RETURN(const auto at, members.whole_number("modified_at"));
    check.at = *at;
  }
  if (check.kind == CheckKind::kKeyNumber) {
    TAILRACE_ASSIGN_OR_RETURN(const auto min, members.signed_number("min"));
    TAILRACE_ASSIGN_OR_RETURN(const auto max, members.signed_number("max"));
    check.min = min.value_or(std::numeric_limits<int64_t>::min());
    check.max = max.value_or(std::numeric_limits<int64_t>::max());
  }
  return check;
}

Result<TxnCheck> read_stream_check(const Members& members, OwnedTxn& to) {
  constexpr std::string_view kNames[] = {"stream"};
  TxnCheck check;
  TAILRACE_ASSIGN_OR_RETURN(check.kind,
                            kind_of(members, kNames, kStreamForms, "one of at, none, exists"));
  TAILRACE_ASSIGN_OR_RETURN(auto stream, members.needed_text("stream"));
  check.name = as_bytes(to.hold(std::move(stream)));
  if (check.kind == CheckKind::kStreamAbsent) TAILRACE_RETURN_IF_ERROR(members.check_true("none"));
  if (check.kind == CheckKind::kStreamExists)
    TAILRACE_RETURN_IF_ERROR(members.check_true("exists"));
  if (check.kind == CheckKind::kStreamAt) {
    TAILRACE_ASSIGN_OR_RETURN(const auto at, members.whole_number("at"));
    check.at = *at;
  }
  return check;
}

Result<TxnCheck> read_time_check(const Members& members) {
  TAILRACE_ASSIGN_OR_RETURN(const auto text, members.needed_text("before"));
  const auto time_ns = parse_rfc3339_ns(text);
  if (!time_ns)
    return members.refuse("before", "is not a time from 1970 on, such as 2026-12-01T00:00:00Z");
  if (members.all().size() > 1)
    return refuse_json(members.place(), "has more than its time; give each condition a check");
  TxnCheck check;
  check.kind = CheckKind::kBefore;
  check.at = *time_ns;
  return check;
}

Result<TxnCheck> read_check(JsonView json, std::string place, OwnedTxn& to) {
  TAILRACE_ASSIGN_OR_RETURN(const auto members, Members::of(json, std::move(place), kCheckMembers));
  for (const std::string_view name : {"group", "unacknowledged"})
    if (members.has(name)) return members.refuse(name, "is not supported yet");
  if (members.has("before")) return read_time_check(members);
  const bool of_key = members.has("key") || members.has("key_base64");
  if (of_key) return read_key_check(members, to);
  if (members.has("stream")) return read_stream_check(members, to);
  return refuse_json(members.place(), "names neither a key, nor a stream, nor a time (before)");
}

Result<> read_checks(JsonView json, OwnedTxn& to) {
  TAILRACE_ASSIGN_OR_RETURN(auto items, elements_of(json, "if"));
  while (items.next()) {
    std::string place = item_place("if", to.txn.checks.size());
    if (to.txn.checks.size() == statemachine::kMaxTxnItems)
      return refuse_json(place, "is one too many: a transaction has at most 4096 items");
    TAILRACE_ASSIGN_OR_RETURN(const auto check, read_check(items.value(), std::move(place), to));
    to.txn.checks.push_back(check);
  }
  return {};
}

Result<> read_effects(JsonView json, std::string_view list, TxnTimes times,
                      std::vector<TxnEffect>& into, OwnedTxn& to) {
  TAILRACE_ASSIGN_OR_RETURN(auto items, elements_of(json, list));
  while (items.next()) {
    std::string place = item_place(list, into.size());
    if (into.size() == statemachine::kMaxTxnItems)
      return refuse_json(place, "is one too many: a transaction has at most 4096 items");
    TAILRACE_ASSIGN_OR_RETURN(const auto effect,
                              read_effect(items.value(), std::move(place), times, to));
    into.push_back(effect);
  }
  return {};
}

Result<> read_once(JsonView json, TxnTimes times, OwnedTxn& to) {
  const bool logged = times == TxnTimes::kInLog;
  statemachine::OnceKey once;
  once.until_ns = std::chrono::nanoseconds(kDefaultOnceTime).count();
  std::optional<Uuid> key;
  std::string place = "once";
  if (json.is(JsonView::Kind::kString)) {
    key = parse_uuid(json.string());
  } else {
    TAILRACE_ASSIGN_OR_RETURN(
        const auto members,
        Members::of(json, "once",
                    logged ? std::span<const std::string_view>(kLoggedOnceMembers) : kOnceMembers));
    TAILRACE_ASSIGN_OR_RETURN(const auto text, members.needed_text("key"));
    place = members.place_of("key");
    key = parse_uuid(text);
    if (logged) {
      TAILRACE_ASSIGN_OR_RETURN(const auto until_ns, members.whole_number("until_ns"));
      if (!until_ns) return members.missing("until_ns");
      once.until_ns = *until_ns;
    } else if (members.has("ttl")) {
      TAILRACE_ASSIGN_OR_RETURN(once.until_ns, read_time_to_live_ns(members));
    }
  }
  if (!key)
    return refuse_json(place,
                       "is not 128 bits: 32 hexadecimal digits, with a UUID's dashes or "
                       "without");
  for (size_t i = 0; i < 8; ++i) {
    once.high = once.high << 8 | static_cast<uint8_t>((*key)[i]);
    once.low = once.low << 8 | static_cast<uint8_t>((*key)[8 + i]);
  }
  to.txn.once = once;
  return {};
}

}  // namespace

void OwnedTxn::add_event(TxnEffect& append, OwnedEvent event) {
  std::vector<std::string_view> tags;
  for (std::string& tag : event.tags)
    tags.push_back(hold(std::move(tag)));
  statemachine::TxnEvent view;
  view.type = hold(std::move(event.type));
  view.id = event.id;
  view.metadata = as_bytes(hold(std::move(event.metadata)));
  view.content_type = event.content_type;
  view.data = as_bytes(hold(std::move(event.data)));
  txn.add_event(append, view, tags);
}

namespace {

Result<OwnedTxn> read_txn(JsonView json, TxnTimes times) {
  const bool logged = times == TxnTimes::kInLog;
  const std::span<const std::string_view> known =
      logged ? std::span<const std::string_view>(kLoggedTxnMembers) : kTxnMembers;
  TAILRACE_ASSIGN_OR_RETURN(const auto members, Members::of(json, {}, known));
  OwnedTxn to;
  TAILRACE_ASSIGN_OR_RETURN(const auto time_ns, members.whole_number("time_ns"));
  to.txn.time_ns = time_ns.value_or(0);
  if (const auto once = members.find("once"); once && !once->is_null())
    TAILRACE_RETURN_IF_ERROR(read_once(*once, times, to));
  if (const auto checks = members.find("if")) TAILRACE_RETURN_IF_ERROR(read_checks(*checks, to));
  // Events stand in this order, whatever that of the members.
  if (const auto then = members.find("then"))
    TAILRACE_RETURN_IF_ERROR(read_effects(*then, "then", times, to.txn.then, to));
  if (const auto otherwise = members.find("else"))
    TAILRACE_RETURN_IF_ERROR(read_effects(*otherwise, "else", times, to.txn.otherwise, to));
  return to;
}

}  // namespace

Result<OwnedTxn> parse_txn(std::string_view text) {
  TAILRACE_ASSIGN_OR_RETURN(const auto json, JsonView::parse(text));
  return read_txn(json, TxnTimes::kFromNow);
}

Result<OwnedTxn> parse_logged_txn(JsonView json) {
  return read_txn(json, TxnTimes::kInLog);
}

}  // namespace tailrace
