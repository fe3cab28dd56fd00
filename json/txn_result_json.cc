#include "json/txn_result_json.h"

#include "json/time_text.h"

namespace tailrace {

namespace {

using statemachine::EffectResult;
using statemachine::EffectResultKind;
using statemachine::FailedCheck;
using statemachine::FoundKind;
using statemachine::TxnList;

void write_found(const FailedCheck& check, JsonWriter& to) {
  to.name("found").begin_object();
  switch (check.found) {
    case FoundKind::kAbsent:
      to.name("absent").flag(true);
      break;
    case FoundKind::kValue:
      to.bytes("value", as_text(check.value));
      break;
    case FoundKind::kWithheld:
      to.name("withheld_bytes").number(check.number);
      break;
    case FoundKind::kPosition:
      to.name("modified_at").number(check.number);
      break;
    case FoundKind::kNoStream:
      to.name("none").flag(true);
      break;
    case FoundKind::kVersion:
      to.name("version").number(check.number);
      break;
    case FoundKind::kTombstoned:
      to.name("tombstoned").flag(true);
      break;
    case FoundKind::kLogTime:
      to.name("log_time").text(rfc3339_text(check.number));
      break;
    case FoundKind::kPartialIds:
      to.name("partial_ids").number(check.number);
      break;
    case FoundKind::kStreamFull:
      to.name("full").flag(true).name("version").number(check.number);
      break;
    case FoundKind::kOnceFull:
      to.name("once_keys").number(check.number);
      break;
    case FoundKind::kReadLimit:
      to.name("read_limit_bytes").number(check.number);
      break;
  }
  to.end_object();
}

void write_failed(const FailedCheck& check, JsonWriter& to) {
  to.begin_object();
  switch (check.list) {
    case TxnList::kChecks:
      break;
    case TxnList::kThen:
      to.name("list").text("then");
      break;
    case TxnList::kElse:
      to.name("list").text("else");
      break;
    case TxnList::kOnce:
      to.name("list").text("once");
      break;
  }
  to.name("index").number(check.index);
  write_found(check, to);
  to.end_object();
}

void write_effect_result(const EffectResult& result, JsonWriter& to) {
  to.begin_object();
  switch (result.kind) {
    case EffectResultKind::kNothing:
      break;
    case EffectResultKind::kNumber:
      to.name("number").number(result.number);
      break;
    case EffectResultKind::kValue:
      to.bytes("value", as_text(result.value));
      break;
    case EffectResultKind::kAbsent:
      to.name("absent").flag(true);
      break;
    case EffectResultKind::kWithheld:
      to.name("withheld_bytes").number(result.withheld_bytes);
      break;
    case EffectResultKind::kAppended:
      to.name("first").number(result.first_version);
      to.name("last").number(result.last_version);
      to.name("replayed").flag(result.replayed);
      break;
  }
  to.end_object();
}

}  // namespace

void write_txn_result(const statemachine::TxnResult& result, JsonWriter& to) {
  to.begin_object();
  to.name("succeeded").flag(result.succeeded);
  to.name("position").number(result.position);
  if (!result.succeeded) {
    to.name("failed").begin_array();
    for (const FailedCheck& check : result.failed)
      write_failed(check, to);
    to.end_array();
  }
  if (result.succeeded || !result.results.empty()) {
    to.name("results").begin_array();
    for (const EffectResult& each : result.results)
      write_effect_result(each, to);
    to.end_array();
  }
  to.end_object();
}

}  // namespace tailrace
