// A transaction of the log as JSON; the other way round is txn_json.cc.
#include <array>
#include <limits>

#include "json/time_text.h"
#include "json/txn_json.h"
#include "json/uuid.h"
#include "statemachine/txn/txn_table.h"

namespace tailrace {

namespace {

using statemachine::CheckKind;
using statemachine::Expected;
using statemachine::Txn;
using statemachine::TxnCheck;
using statemachine::TxnEffect;
using statemachine::TxnEffectKind;

void write_name(statemachine::NameOf kind, ByteSpan name, JsonWriter& to) {
  switch (kind) {
    case statemachine::NameOf::kNothing:
      break;
    case statemachine::NameOf::kKey:
      to.bytes("key", as_text(name));
      break;
    case statemachine::NameOf::kStream:
      to.bytes("stream", as_text(name));
      break;
  }
}

void write_check(const TxnCheck& check, JsonWriter& to) {
  to.begin_object();
  write_name(info_of(check.kind).name, check.name, to);
  switch (check.kind) {
    case CheckKind::kKeyEquals:
      to.bytes("equals", as_text(check.value));
      break;
    case CheckKind::kKeyAbsent:
      to.name("absent").flag(true);
      break;
    case CheckKind::kKeyExists:
    case CheckKind::kStreamExists:
      to.name("exists").flag(true);
      break;
    case CheckKind::kKeyModifiedAt:
      to.name("modified_at").number(check.at);
      break;
    case CheckKind::kKeyNumber:
      to.name("min").number(check.min).name("max").number(check.max);
      break;
    case CheckKind::kStreamAt:
      to.name("at").number(check.at);
      break;
    case CheckKind::kStreamAbsent:
      to.name("none").flag(true);
      break;
    case CheckKind::kBefore:
      to.name("before").text(rfc3339_text(check.at));
      break;
  }
  to.end_object();
}

void write_expected(const TxnEffect& append, JsonWriter& to) {
  switch (append.expected) {
    case Expected::kAny:
      break;
    case Expected::kNone:
      to.name("expected").text("none");
      break;
    case Expected::kExists:
      to.name("expected").text("exists");
      break;
    case Expected::kExact:
      to.name("expected").number(append.expected_version);
      break;
  }
}

void write_events(const Txn& txn, const TxnEffect& append, JsonWriter& to) {
  to.name("events").begin_array();
  for (const statemachine::TxnEvent& event : txn.events_of(append)) {
    to.begin_object();
    write_event(event, txn.tags_of(event), to);
    to.end_object();
  }
  to.end_array();
}

void write_policy(const TxnEffect& policy, JsonWriter& to) {
  if (policy.max_count) to.name("max_count").number(*policy.max_count);
  if (policy.max_age_ns) to.name("max_age_ns").number(*policy.max_age_ns);
  if (policy.truncate_before) to.name("truncate_before").number(*policy.truncate_before);
  if (policy.dedupe) to.name("dedupe").number(*policy.dedupe);
}

void write_effect(const Txn& txn, const TxnEffect& effect, JsonWriter& to) {
  const statemachine::EffectInfo& info = info_of(effect.kind);
  to.begin_object().name(info.title).begin_object();
  write_name(info.name, effect.name, to);
  switch (effect.kind) {
    case TxnEffectKind::kPut:
      to.bytes("value", as_text(effect.value));
      if (effect.expires_at_ns != 0) to.name("expires_at_ns").number(effect.expires_at_ns);
      break;
    case TxnEffectKind::kExpire:
      if (effect.expires_at_ns != 0) to.name("expires_at_ns").number(effect.expires_at_ns);
      break;
    case TxnEffectKind::kAdd:
      to.name("delta").number(effect.delta);
      break;
    case TxnEffectKind::kAppend:
      write_expected(effect, to);
      write_events(txn, effect, to);
      break;
    case TxnEffectKind::kPolicy:
      write_policy(effect, to);
      break;
    case TxnEffectKind::kDelete:
    case TxnEffectKind::kGet:
    case TxnEffectKind::kDeleteStream:
    case TxnEffectKind::kTombstone:
      break;
  }
  to.end_object().end_object();
}

void write_once(const statemachine::OnceKey& once, JsonWriter& to) {
  Uuid key{};
  for (size_t i = 0; i < 8; ++i) {
    key[i] = static_cast<std::byte>(once.high >> (56 - 8 * i));
    key[8 + i] = static_cast<std::byte>(once.low >> (56 - 8 * i));
  }
  to.name("once").begin_object();
  to.name("key").text(uuid_text(key)).name("until_ns").number(once.until_ns);
  to.end_object();
}

void write_list(std::string_view name, const Txn& txn, const std::vector<TxnEffect>& list,
                JsonWriter& to) {
  if (list.empty()) return;
  to.name(name).begin_array();
  for (const TxnEffect& effect : list)
    write_effect(txn, effect, to);
  to.end_array();
}

}  // namespace

void write_txn(const Txn& txn, JsonWriter& to) {
  to.begin_object();
  to.name("time_ns").number(txn.time_ns);
  if (txn.once) write_once(*txn.once, to);
  if (!txn.checks.empty()) {
    to.name("if").begin_array();
    for (const TxnCheck& check : txn.checks)
      write_check(check, to);
    to.end_array();
  }
  write_list("then", txn, txn.then, to);
  write_list("else", txn, txn.otherwise, to);
  to.end_object();
}

}  // namespace tailrace
