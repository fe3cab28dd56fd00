#include "statemachine/txn/txn.h"
#include "statemachine/txn/txn_layout.h"
#include "statemachine/txn/txn_table.h"

namespace tailrace::statemachine {

namespace {

/// A Sink is a ByteWriter or a ByteCounter, so what is counted is what is written.
template <typename Sink>
void write_check(const TxnCheck& check, Sink& sink) {
  const uint8_t fields = info_of(check.kind).fields;
  sink.number(
      TxnItemHead{static_cast<uint8_t>(check.kind), 0, static_cast<uint16_t>(check.name.size())});
  if ((fields & kCheckHasValue) != 0) sink.number(static_cast<uint32_t>(check.value.size()));
  if ((fields & kCheckHasRange) != 0) {
    sink.number(check.min);
    sink.number(check.max);
  }
  if ((fields & kCheckHasAt) != 0) sink.number(check.at);
  sink.bytes(check.name);
  if ((fields & kCheckHasValue) != 0) sink.bytes(check.value);
}

uint8_t flags_of(const TxnEffect& effect) {
  const uint8_t fields = info_of(effect.kind).fields;
  uint8_t flags = 0;
  if ((fields & kEffectHasTime) != 0 && effect.expires_at_ns != 0) flags |= kItemHasTime;
  if ((fields & kEffectHasEvents) != 0) flags |= static_cast<uint8_t>(effect.expected);
  if ((fields & kEffectHasPolicy) != 0) {
    if (effect.max_count) flags |= kItemHasMaxCount;
    if (effect.max_age_ns) flags |= kItemHasMaxAge;
    if (effect.truncate_before) flags |= kItemHasTruncateBefore;
    if (effect.dedupe) flags |= kItemHasDedupe;
  }
  return flags;
}

template <typename Sink>
void write_numbers(const TxnEffect& effect, Sink& sink) {
  const uint8_t fields = info_of(effect.kind).fields;
  if ((fields & kEffectHasTime) != 0 && effect.expires_at_ns != 0)
    sink.number(effect.expires_at_ns);
  if ((fields & kEffectHasValue) != 0) sink.number(static_cast<uint32_t>(effect.value.size()));
  if ((fields & kEffectHasDelta) != 0) sink.number(effect.delta);
  if ((fields & kEffectHasEvents) != 0) {
    if (effect.expected == Expected::kExact) sink.number(effect.expected_version);
    sink.number(static_cast<uint16_t>(effect.event_count));
  }
  if ((fields & kEffectHasPolicy) != 0)
    for (const auto& limit :
         {effect.max_count, effect.max_age_ns, effect.truncate_before, effect.dedupe})
      if (limit) sink.number(*limit);
}

template <typename Sink>
void write_event(const TxnEvent& event, std::span<const std::string_view> tags, Sink& sink) {
  TxnEventHead head{};
  head.flags = event.id ? kEventHasId : 0;
  head.content_type = static_cast<uint8_t>(event.content_type);
  head.type_bytes = static_cast<uint8_t>(event.type.size());
  head.tags = static_cast<uint8_t>(tags.size());
  head.metadata_bytes = static_cast<uint32_t>(event.metadata.size());
  head.data_bytes = static_cast<uint32_t>(event.data.size());
  sink.number(head);
  if (event.id) sink.number(*event.id);
  sink.bytes(as_bytes(event.type));
  for (const std::string_view tag : tags) {
    sink.number(static_cast<uint8_t>(tag.size()));
    sink.bytes(as_bytes(tag));
  }
  sink.bytes(event.metadata);
  sink.bytes(event.data);
}

template <typename Sink>
void write_effect(const Txn& txn, const TxnEffect& effect, Sink& sink) {
  const uint8_t fields = info_of(effect.kind).fields;
  sink.number(TxnItemHead{static_cast<uint8_t>(effect.kind), flags_of(effect),
                          static_cast<uint16_t>(effect.name.size())});
  write_numbers(effect, sink);
  sink.bytes(effect.name);
  if ((fields & kEffectHasValue) != 0) sink.bytes(effect.value);
  if ((fields & kEffectHasEvents) != 0)
    for (const TxnEvent& event : txn.events_of(effect))
      write_event(event, txn.tags_of(event), sink);
}

template <typename Sink>
void write_txn(const Txn& txn, Sink& sink) {
  sink.number(TxnHead{kTxnVersion, txn.once ? kTxnHasOnce : uint8_t{0},
                      static_cast<uint16_t>(txn.checks.size()),
                      static_cast<uint16_t>(txn.then.size()),
                      static_cast<uint16_t>(txn.otherwise.size()), txn.time_ns});
  if (txn.once) {
    sink.number(txn.once->high);
    sink.number(txn.once->low);
    sink.number(txn.once->until_ns);
  }
  for (const TxnCheck& check : txn.checks)
    write_check(check, sink);
  for (const auto* list : {&txn.then, &txn.otherwise})
    for (const TxnEffect& effect : *list)
      write_effect(txn, effect, sink);
}

}  // namespace

void Txn::clear() {
  time_ns = 0;
  once.reset();
  checks.clear();
  then.clear();
  otherwise.clear();
  events.clear();
  tags.clear();
}

void Txn::add_event(TxnEffect& append, TxnEvent event, std::span<const std::string_view> of_it) {
  if (append.event_count == 0) append.first_event = static_cast<uint32_t>(events.size());
  ++append.event_count;
  event.first_tag = static_cast<uint32_t>(tags.size());
  event.tag_count = static_cast<uint32_t>(of_it.size());
  tags.insert(tags.end(), of_it.begin(), of_it.end());
  events.push_back(event);
}

void encode_event(const TxnEvent& event, std::span<const std::string_view> tags,
                  std::string& into) {
  ByteCounter counter;
  write_event(event, tags, counter);
  into.resize(counter.counted());
  ByteWriter writer(reinterpret_cast<std::byte*>(into.data()));
  write_event(event, tags, writer);
}

size_t encoded_bytes(const Txn& txn) {
  ByteCounter counter;
  write_txn(txn, counter);
  return counter.counted();
}

void encode_at(const Txn& txn, std::byte* place) {
  ByteWriter writer(place);
  write_txn(txn, writer);
}

void encode(const Txn& txn, std::vector<std::byte>& into) {
  into.resize(encoded_bytes(txn));
  encode_at(txn, into.data());
}

}  // namespace tailrace::statemachine
