#include <cstddef>
#include <string>

#include "statemachine/txn/txn.h"
#include "statemachine/txn/txn_layout.h"
#include "statemachine/txn/txn_table.h"

namespace tailrace::statemachine {

namespace {

constexpr std::string_view kNoTxn = "no transaction";

TxnHead read_head(ByteReader& reader) {
  const auto head = reader.number<TxnHead>();
  if (!reader.is_sound()) return head;
  if (head.version == 0) reader.damaged("version 0");
  if (head.version > kTxnVersion) reader.newer("version " + std::to_string(head.version));
  if ((head.flags & ~kTxnHasOnce) != 0) reader.newer("flags " + std::to_string(head.flags));
  // Events count too; each is met before it is kept.
  if (size_t{head.checks} + head.then + head.otherwise > kMaxTxnItems)
    reader.damaged("more than " + std::to_string(kMaxTxnItems) + " items");
  return head;
}

OnceKey read_once(ByteReader& reader) {
  OnceKey once;
  once.high = reader.number<uint64_t>();
  once.low = reader.number<uint64_t>();
  once.until_ns = reader.number<uint64_t>();
  if (once.until_ns == 0) reader.damaged("a once key is remembered until 0");
  return once;
}

/// Reads what stands before each check and effect. False: it is of no kind that is known here.
template <typename Kind>
bool read_item_head(ByteReader& reader, TxnItemHead& head, Kind& kind, const char* what) {
  head = reader.number<TxnItemHead>();
  if (!reader.is_sound()) return false;
  kind = Kind{head.kind};
  if (head.kind == 0) {
    reader.damaged(std::string(what) + " of kind 0");
    return false;
  }
  if (is_known(kind)) return true;
  reader.newer(std::string(what) + " of kind " + std::to_string(head.kind));
  return false;
}

void expect_name(ByteReader& reader, NameOf name, size_t bytes) {
  if ((name == NameOf::kNothing) != (bytes == 0))
    reader.damaged(bytes == 0 ? "an empty name" : "a name of what has none");
}

TxnCheck read_check(ByteReader& reader) {
  TxnCheck check;
  TxnItemHead head;
  if (!read_item_head(reader, head, check.kind, "a check")) return check;
  const CheckInfo& info = info_of(check.kind);
  if (head.flags != 0) reader.newer("flags " + std::to_string(head.flags) + " of a check");
  expect_name(reader, info.name, head.name_bytes);
  uint32_t value_bytes = 0;
  if ((info.fields & kCheckHasValue) != 0) value_bytes = reader.number<uint32_t>();
  if ((info.fields & kCheckHasRange) != 0) {
    check.min = reader.number<int64_t>();
    check.max = reader.number<int64_t>();
  }
  if ((info.fields & kCheckHasAt) != 0) check.at = reader.number<uint64_t>();
  check.name = reader.bytes(head.name_bytes);
  check.value = reader.bytes(value_bytes);
  return check;
}

uint8_t known_flags(const EffectInfo& info) {
  if ((info.fields & kEffectHasTime) != 0) return kItemHasTime;
  if ((info.fields & kEffectHasEvents) != 0) return kItemExpected;
  if ((info.fields & kEffectHasPolicy) != 0)
    return kItemHasMaxCount | kItemHasMaxAge | kItemHasTruncateBefore | kItemHasDedupe;
  return 0;
}

void read_time(ByteReader& reader, TxnEffect& effect) {
  effect.expires_at_ns = reader.number<uint64_t>();
  if (effect.expires_at_ns == 0) reader.damaged("a time is flagged but not given");
}

void read_append(ByteReader& reader, uint8_t flags, TxnEffect& effect) {
  effect.expected = Expected{flags};
  if (effect.expected == Expected::kExact) effect.expected_version = reader.number<uint64_t>();
  effect.event_count = reader.number<uint16_t>();
  if (effect.event_count == 0) reader.damaged("an append without events");
}

void read_policy(ByteReader& reader, uint8_t flags, TxnEffect& effect) {
  if (flags == 0) reader.damaged("a policy that says nothing");
  if ((flags & kItemHasMaxCount) != 0) effect.max_count = reader.number<uint64_t>();
  if ((flags & kItemHasMaxAge) != 0) effect.max_age_ns = reader.number<uint64_t>();
  if ((flags & kItemHasTruncateBefore) != 0) effect.truncate_before = reader.number<uint64_t>();
  if ((flags & kItemHasDedupe) != 0) effect.dedupe = reader.number<uint64_t>();
  if (effect.dedupe.value_or(0) > kMaxTxnDedupe)
    reader.damaged(std::to_string(*effect.dedupe) + " ids to be remembered");
}

/// Up to the first of its events.
TxnEffect read_effect(ByteReader& reader) {
  TxnEffect effect;
  TxnItemHead head;
  if (!read_item_head(reader, head, effect.kind, "an effect")) return effect;
  const EffectInfo& info = info_of(effect.kind);
  if ((head.flags & ~known_flags(info)) != 0)
    reader.newer("flags " + std::to_string(head.flags) + " of " + std::string(info.title));
  expect_name(reader, info.name, head.name_bytes);
  if ((info.fields & kEffectHasTime) != 0 && (head.flags & kItemHasTime) != 0)
    read_time(reader, effect);
  uint32_t value_bytes = 0;
  if ((info.fields & kEffectHasValue) != 0) value_bytes = reader.number<uint32_t>();
  if ((info.fields & kEffectHasDelta) != 0) effect.delta = reader.number<int64_t>();
  if ((info.fields & kEffectHasEvents) != 0) read_append(reader, head.flags, effect);
  if ((info.fields & kEffectHasPolicy) != 0) read_policy(reader, head.flags, effect);
  effect.name = reader.bytes(head.name_bytes);
  effect.value = reader.bytes(value_bytes);
  return effect;
}

TxnEventHead read_event_head(ByteReader& reader) {
  const auto head = reader.number<TxnEventHead>();
  if ((head.flags & ~kEventHasId) != 0)
    reader.newer("flags " + std::to_string(head.flags) + " of an event");
  if (head.content_type > static_cast<uint8_t>(ContentType::kLast))
    reader.newer("content type " + std::to_string(head.content_type));
  if (head.tags > kMaxEventTags) reader.damaged(std::to_string(head.tags) + " tags of an event");
  if (head.metadata_bytes > kMaxEventMetadataBytes)
    reader.damaged(std::to_string(head.metadata_bytes) + " bytes of metadata");
  return head;
}

/// Its tags go behind `tags`, or nowhere.
TxnEvent read_event(ByteReader& reader, std::vector<std::string_view>* tags) {
  TxnEvent event;
  event.offset = static_cast<uint32_t>(reader.at());
  const TxnEventHead head = read_event_head(reader);
  if ((head.flags & kEventHasId) != 0) event.id = reader.number<EventIdBytes>();
  event.content_type = ContentType{head.content_type};
  event.type = reader.text(head.type_bytes);
  event.first_tag = tags != nullptr ? static_cast<uint32_t>(tags->size()) : 0;
  for (uint32_t tag = 0; tag < head.tags && reader.is_sound(); ++tag) {
    const size_t bytes = reader.number<uint8_t>();
    if (bytes == 0) reader.damaged("an empty tag");
    const std::string_view text = reader.text(bytes);
    if (tags != nullptr) tags->push_back(text);
  }
  event.tag_count = head.tags;
  event.metadata = reader.bytes(head.metadata_bytes);
  event.data = reader.bytes(head.data_bytes);
  return event;
}

/// Appends to `into`; the events of the appends too, as long as `room` items are not exceeded.
void read_effects(ByteReader& reader, size_t count, size_t& room, std::vector<TxnEffect>& list,
                  Txn& into) {
  for (; count > 0 && reader.is_sound(); --count) {
    TxnEffect effect = read_effect(reader);
    if (effect.event_count > room)
      reader.damaged("more than " + std::to_string(kMaxTxnItems) + " items with its events");
    else
      room -= effect.event_count;
    effect.first_event = static_cast<uint32_t>(into.events.size());
    for (uint32_t event = 0; event < effect.event_count && reader.is_sound(); ++event)
      into.events.push_back(read_event(reader, &into.tags));
    if (effect.event_count == 0) effect.first_event = 0;
    list.push_back(effect);
  }
}

}  // namespace

Result<> decode(ByteSpan body, Txn& into) {
  into.clear();
  ByteReader reader(kNoTxn, body);
  const TxnHead head = read_head(reader);
  into.time_ns = head.time_ns;
  if ((head.flags & kTxnHasOnce) != 0) into.once = read_once(reader);
  for (size_t check = 0; check < head.checks && reader.is_sound(); ++check)
    into.checks.push_back(read_check(reader));
  if (!reader.is_sound()) return reader.result();
  size_t room = kMaxTxnItems - head.checks - head.then - head.otherwise;
  read_effects(reader, head.then, room, into.then, into);
  read_effects(reader, head.otherwise, room, into.otherwise, into);
  reader.expect_end();
  return reader.result();
}

namespace {

/// The time at `offset` was how long from now.
void date_at(std::span<std::byte> body, size_t offset, uint64_t now_ns) {
  std::byte* const place = body.data() + offset;
  uint64_t time_ns = 0;
  if (__builtin_add_overflow(load<uint64_t>(place), now_ns, &time_ns)) time_ns = UINT64_MAX;
  store(place, time_ns);
}

}  // namespace

Result<> date(std::span<std::byte> body, uint64_t now_ns) {
  ByteReader reader(kNoTxn, body);
  const TxnHead head = read_head(reader);
  if (reader.is_sound() && head.time_ns != 0)
    return make_error(ErrorCode::kInvalidArgument, "the transaction has a time already");
  if ((head.flags & kTxnHasOnce) != 0 && read_once(reader).until_ns != 0)
    date_at(body, reader.at() - sizeof(uint64_t), now_ns);
  for (size_t check = 0; check < head.checks && reader.is_sound(); ++check)
    read_check(reader);
  for (size_t left = size_t{head.then} + head.otherwise; left > 0 && reader.is_sound(); --left) {
    const size_t begin = reader.at();
    const TxnEffect effect = read_effect(reader);
    if (effect.expires_at_ns != 0) date_at(body, begin + sizeof(TxnItemHead), now_ns);
    for (uint32_t event = 0; event < effect.event_count && reader.is_sound(); ++event)
      read_event(reader, nullptr);
  }
  reader.expect_end();
  TAILRACE_RETURN_IF_ERROR(reader.result());
  store(body.data() + offsetof(TxnHead, time_ns), now_ns);
  return {};
}

Result<TxnEvent> event_at(ByteSpan body, size_t offset, std::vector<std::string_view>& tags) {
  tags.clear();
  ByteReader head(kNoTxn, body);
  read_head(head);
  TAILRACE_RETURN_IF_ERROR(head.result());
  if (offset < sizeof(TxnHead) || offset > body.size())
    return make_error(ErrorCode::kCorruption, "no event begins at byte " + std::to_string(offset) +
                                                  " of a transaction of " +
                                                  std::to_string(body.size()) + " bytes");
  ByteReader reader(kNoTxn, body, offset);
  const TxnEvent event = read_event(reader, &tags);
  TAILRACE_RETURN_IF_ERROR(reader.result());
  return event;
}

Result<TxnEvent> event_alone(ByteSpan bytes, std::vector<std::string_view>& tags) {
  tags.clear();
  ByteReader reader("no event", bytes);
  const TxnEvent event = read_event(reader, &tags);
  reader.expect_end();
  TAILRACE_RETURN_IF_ERROR(reader.result());
  return event;
}

Result<TxnEvent> event_of(ByteSpan body, size_t ordinal, std::vector<std::string_view>& tags) {
  tags.clear();
  ByteReader reader(kNoTxn, body);
  const TxnHead head = read_head(reader);
  if ((head.flags & kTxnHasOnce) != 0) read_once(reader);
  for (size_t check = 0; check < head.checks && reader.is_sound(); ++check)
    read_check(reader);
  size_t events = 0;
  for (size_t left = size_t{head.then} + head.otherwise; left > 0 && reader.is_sound(); --left) {
    const uint32_t of_this = read_effect(reader).event_count;
    for (uint32_t event = 0; event < of_this && reader.is_sound(); ++event, ++events) {
      const bool is_it = events == ordinal;
      const TxnEvent read = read_event(reader, is_it ? &tags : nullptr);
      if (is_it && reader.is_sound()) return read;
    }
  }
  TAILRACE_RETURN_IF_ERROR(reader.result());
  return make_error(ErrorCode::kOutOfRange, "event " + std::to_string(ordinal) +
                                                " of a transaction with " + std::to_string(events));
}

Result<uint64_t> time_of_txn(ByteSpan body) {
  ByteReader reader(kNoTxn, body);
  const TxnHead head = read_head(reader);
  TAILRACE_RETURN_IF_ERROR(reader.result());
  return head.time_ns;
}

}  // namespace tailrace::statemachine
