#include "history/record_events.h"

#include <string>

#include "fasterlog/format/record.h"

namespace tailrace::history {

Result<> RecordEvents::each_of(const fasterlog::Record& record, const LoggedTxn& logged,
                               const statemachine::TxnEffect& append, const Sinks& sinks) {
  const std::string_view stream = as_text(append.name);
  const auto body_at = static_cast<uint64_t>(logged.body.data() - record.payload.data());
  const Address body = record.address + fasterlog::kHeaderBytes + body_at;
  for (uint32_t i = 0; i < append.event_count; ++i) {
    const uint32_t ordinal = append.first_event + i;
    TAILRACE_ASSIGN_OR_RETURN(
        const auto version,
        outcomes_.version(stream, {record.address.value, static_cast<uint16_t>(ordinal)}));
    if (!version) continue;
    const statemachine::TxnEvent& event = txn_.events[ordinal];
    EventEntry entry;
    entry.stream = stream;
    entry.version = *version;
    entry.position = body + event.offset;
    entry.record_address = record.address;
    entry.epoch = record.epoch;
    entry.time_ns = logged.time_ns;
    entry.type = event.type;
    entry.id = event.id;
    entry.tags = txn_.tags_of(event);
    entry.metadata = event.metadata;
    entry.content_type = event.content_type;
    entry.data = event.data;
    TAILRACE_RETURN_IF_ERROR(sinks.event(entry));
  }
  return {};
}

Result<> RecordEvents::each_floor(const Sinks& sinks) {
  for (const LoggedFloor& floor : outcomes_.floors()) {
    const size_t in_then = txn_.then.size();
    const bool is_then = floor.effect < in_then;
    const auto& list = is_then ? txn_.then : txn_.otherwise;
    const size_t index = is_then ? floor.effect : floor.effect - in_then;
    if (index >= list.size())
      return make_error(
          ErrorCode::kCorruption,
          "its outcomes name effect " + std::to_string(floor.effect) + ", which it does not have");
    TAILRACE_RETURN_IF_ERROR(sinks.floor({as_text(list[index].name), floor.version}));
  }
  return {};
}

Result<> RecordEvents::each(const fasterlog::Record& record, const Sinks& sinks) {
  if (record.kind != fasterlog::RecordKind::kData) return {};
  const auto named = [&](const Error& error) {
    return tl::unexpected(
        with_context("the record at address " + std::to_string(record.address.value), error));
  };
  const auto logged = outcomes_.transaction(record);
  if (!logged) return named(logged.error());
  if (!*logged) return {};
  if (const auto decoded = statemachine::decode((*logged)->body, txn_); !decoded)
    return named(decoded.error());
  for (const auto* list : {&txn_.then, &txn_.otherwise})
    for (const statemachine::TxnEffect& effect : *list)
      if (effect.kind == statemachine::TxnEffectKind::kAppend)
        TAILRACE_RETURN_IF_ERROR(each_of(record, **logged, effect, sinks));
  const auto told = each_floor(sinks);
  return told ? Result<>{} : Result<>(named(told.error()));
}

}  // namespace tailrace::history
