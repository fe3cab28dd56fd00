#include "json/txn_effects.h"

#include <algorithm>
#include <vector>

#include "json/time_text.h"
#include "statemachine/txn/txn_table.h"

namespace tailrace {

namespace {

using statemachine::Expected;
using statemachine::TxnEffect;
using statemachine::TxnEffectKind;

constexpr uint64_t kMillisecondNs = 1'000'000;

// What stands for an effect of a later version.
constexpr std::string_view kNotYet[] = {"group", "ack", "nack", "replay"};

constexpr std::string_view kPutMembers[] = {"key", "key_base64", "value", "value_base64", "ttl"};
constexpr std::string_view kLoggedPutMembers[] = {"key", "key_base64", "value", "value_base64",
                                                  "expires_at_ns"};
constexpr std::string_view kKeyMembers[] = {"key", "key_base64"};
constexpr std::string_view kAddMembers[] = {"key", "key_base64", "delta"};
constexpr std::string_view kExpireMembers[] = {"key", "key_base64", "ttl"};
constexpr std::string_view kLoggedExpireMembers[] = {"key", "key_base64", "expires_at_ns"};
constexpr std::string_view kAppendMembers[] = {"stream", "expected", "events"};
constexpr std::string_view kPolicyMembers[] = {"stream", "max_count", "max_age", "truncate_before",
                                               "dedupe"};
constexpr std::string_view kLoggedPolicyMembers[] = {"stream", "max_count", "max_age_ns",
                                                     "truncate_before", "dedupe"};
constexpr std::string_view kStreamMembers[] = {"stream"};

std::span<const std::string_view> members_of(TxnEffectKind kind, TxnTimes times) {
  const bool logged = times == TxnTimes::kInLog;
  switch (kind) {
    case TxnEffectKind::kPut:
      return logged ? std::span<const std::string_view>(kLoggedPutMembers) : kPutMembers;
    case TxnEffectKind::kDelete:
    case TxnEffectKind::kGet:
      return kKeyMembers;
    case TxnEffectKind::kAdd:
      return kAddMembers;
    case TxnEffectKind::kExpire:
      return logged ? std::span<const std::string_view>(kLoggedExpireMembers) : kExpireMembers;
    case TxnEffectKind::kAppend:
      return kAppendMembers;
    case TxnEffectKind::kPolicy:
      return logged ? std::span<const std::string_view>(kLoggedPolicyMembers) : kPolicyMembers;
    case TxnEffectKind::kDeleteStream:
    case TxnEffectKind::kTombstone:
      return kStreamMembers;
  }
  return {};
}

/// What an effect may be called: the names of the table, and those of later versions.
const std::vector<std::string_view>& effect_names() {
  static const auto names = [] {
    std::vector<std::string_view> all;
    for (const statemachine::EffectInfo& info : statemachine::kEffectTable)
      all.push_back(info.title);
    all.insert(all.end(), std::begin(kNotYet), std::end(kNotYet));
    return all;
  }();
  return names;
}

Result<> read_expected(const Members& members, TxnEffect& effect) {
  const auto found = members.find("expected");
  if (!found) return {};
  const auto refused = members.refuse("expected", "is to be a version, any, none or exists");
  if (found->is(JsonView::Kind::kNumber)) {
    const auto version = found->whole_number();
    if (!version) return refused;
    effect.expected = Expected::kExact;
    effect.expected_version = *version;
    return {};
  }
  if (!found->is(JsonView::Kind::kString)) return refused;
  const std::string word = found->string();
  if (word != "any" && word != "none" && word != "exists") return refused;
  if (word == "none") effect.expected = Expected::kNone;
  if (word == "exists") effect.expected = Expected::kExists;
  return {};
}

Result<> read_append(const Members& members, TxnEffect& effect, OwnedTxn& to) {
  TAILRACE_RETURN_IF_ERROR(read_expected(members, effect));
  const auto events = members.find("events");
  if (!events) return members.missing("events");
  const std::string place = members.place_of("events");
  TAILRACE_ASSIGN_OR_RETURN(auto items, elements_of(*events, place));
  while (items.next()) {
    std::string item = place + "[" + std::to_string(effect.event_count) + "]";
    if (to.txn.events.size() == statemachine::kMaxTxnItems)
      return refuse_json(item, "is one too many: a transaction has at most 4096 items");
    TAILRACE_ASSIGN_OR_RETURN(auto event, parse_event(items.value(), std::move(item)));
    to.add_event(effect, std::move(event));
  }
  return {};
}

Result<> read_policy(const Members& members, TxnEffect& effect) {
  TAILRACE_ASSIGN_OR_RETURN(effect.max_age_ns, members.whole_number("max_age_ns"));
  TAILRACE_ASSIGN_OR_RETURN(effect.max_count, members.whole_number("max_count"));
  TAILRACE_ASSIGN_OR_RETURN(effect.truncate_before, members.whole_number("truncate_before"));
  TAILRACE_ASSIGN_OR_RETURN(effect.dedupe, members.whole_number("dedupe"));
  const auto age = members.find("max_age");
  if (!age) return {};
  const bool none = age->is(JsonView::Kind::kNumber) && age->whole_number() == 0;
  const auto milliseconds = age->is(JsonView::Kind::kString) ? parse_duration_ms(age->string())
                                                             : std::optional<uint64_t>();
  if (!none && !milliseconds)
    return members.refuse("max_age", "is to be a time with a unit, such as 30s or 7d, or 0: none");
  effect.max_age_ns = none ? 0 : *milliseconds * kMillisecondNs;
  return {};
}

/// Of a put or an expire.
Result<> read_time(const Members& members, TxnTimes times, TxnEffect& effect) {
  if (times == TxnTimes::kInLog) {
    TAILRACE_ASSIGN_OR_RETURN(const auto time_ns, members.whole_number("expires_at_ns"));
    effect.expires_at_ns = time_ns.value_or(0);
    return {};
  }
  const auto time = members.find("ttl");
  const bool is_expire = effect.kind == TxnEffectKind::kExpire;
  if (is_expire && !time)
    return members.refuse("ttl", "is missing; with null the key lives until it is deleted");
  if (!time || (is_expire && time->is_null())) return {};
  TAILRACE_ASSIGN_OR_RETURN(effect.expires_at_ns, read_time_to_live_ns(members));
  return {};
}

/// What a kind has besides its name.
Result<> read_fields(const Members& members, TxnTimes times, TxnEffect& effect, OwnedTxn& to) {
  switch (effect.kind) {
    case TxnEffectKind::kPut: {
      TAILRACE_ASSIGN_OR_RETURN(auto value, members.needed_bytes("value"));
      effect.value = as_bytes(to.hold(std::move(value)));
      return read_time(members, times, effect);
    }
    case TxnEffectKind::kAdd: {
      TAILRACE_ASSIGN_OR_RETURN(const auto delta, members.signed_number("delta"));
      if (!delta) return members.missing("delta");
      effect.delta = *delta;
      return {};
    }
    case TxnEffectKind::kExpire:
      return read_time(members, times, effect);
    case TxnEffectKind::kAppend:
      return read_append(members, effect, to);
    case TxnEffectKind::kPolicy:
      return read_policy(members, effect);
    case TxnEffectKind::kDelete:
    case TxnEffectKind::kGet:
    case TxnEffectKind::kDeleteStream:
    case TxnEffectKind::kTombstone:
      return {};
  }
  return {};
}

}  // namespace

Result<uint64_t> read_time_to_live_ns(const Members& members) {
  TAILRACE_ASSIGN_OR_RETURN(const auto text, members.needed_text("ttl"));
  const auto milliseconds = parse_duration_ms(text);
  if (!milliseconds || *milliseconds == 0)
    return members.refuse("ttl",
                          "is not a time from 1ms to 36500d with a unit, such as 250ms, "
                          "30s, 5m, 1h or 7d");
  return *milliseconds * kMillisecondNs;
}

Result<TxnEffect> read_effect(JsonView json, std::string place, TxnTimes times, OwnedTxn& to) {
  TAILRACE_ASSIGN_OR_RETURN(const auto outer, Members::of(json, std::move(place), effect_names()));
  if (outer.all().size() != 1)
    return refuse_json(outer.place(), "is to have one member, which names the effect");
  const auto& [name, body] = outer.all().front();
  if (std::ranges::find(kNotYet, name) != std::end(kNotYet))
    return outer.refuse(name, "is not supported yet");
  const auto info =
      std::ranges::find(statemachine::kEffectTable, name, &statemachine::EffectInfo::title);
  TAILRACE_ASSIGN_OR_RETURN(const auto members,
                            Members::of(body, outer.place_of(name), members_of(info->kind, times)));
  TxnEffect effect;
  effect.kind = info->kind;
  const bool of_stream = info->name == statemachine::NameOf::kStream;
  TAILRACE_ASSIGN_OR_RETURN(
      auto named, of_stream ? members.needed_text("stream") : members.needed_bytes("key"));
  effect.name = as_bytes(to.hold(std::move(named)));
  TAILRACE_RETURN_IF_ERROR(read_fields(members, times, effect, to));
  return effect;
}

}  // namespace tailrace
