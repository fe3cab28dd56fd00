#include "statemachine/txn/txn_result.h"

#include <string>
#include <utility>

#include "statemachine/txn/txn.h"
#include "statemachine/txn/txn_layout.h"

namespace tailrace::statemachine {

namespace {

bool has_number(FoundKind found) {
  switch (found) {
    case FoundKind::kAbsent:
    case FoundKind::kValue:
    case FoundKind::kNoStream:
    case FoundKind::kTombstoned:
      return false;
    case FoundKind::kWithheld:
    case FoundKind::kPosition:
    case FoundKind::kVersion:
    case FoundKind::kLogTime:
    case FoundKind::kPartialIds:
    case FoundKind::kStreamFull:
    case FoundKind::kOnceFull:
    case FoundKind::kReadLimit:
      return true;
  }
  return false;
}

template <typename Sink>
void write_failed(const FailedCheck& failed, Sink& sink) {
  sink.number(FailedCheckHead{static_cast<uint8_t>(failed.list), static_cast<uint8_t>(failed.found),
                              failed.index});
  if (has_number(failed.found)) sink.number(failed.number);
  if (failed.found != FoundKind::kValue) return;
  sink.number(static_cast<uint16_t>(failed.value.size()));
  sink.bytes(failed.value);
}

template <typename Sink>
void write_effect_result(const EffectResult& result, Sink& sink) {
  const bool is_replayed = result.kind == EffectResultKind::kAppended && result.replayed;
  sink.number(EffectResultHead{static_cast<uint8_t>(result.kind),
                               is_replayed ? kResultReplayed : uint8_t{0}});
  switch (result.kind) {
    case EffectResultKind::kNothing:
    case EffectResultKind::kAbsent:
      return;
    case EffectResultKind::kNumber:
      sink.number(result.number);
      return;
    case EffectResultKind::kValue:
      sink.number(static_cast<uint32_t>(result.value.size()));
      sink.bytes(result.value);
      return;
    case EffectResultKind::kWithheld:
      sink.number(result.withheld_bytes);
      return;
    case EffectResultKind::kAppended:
      sink.number(result.first_version);
      sink.number(result.last_version);
      return;
  }
}

template <typename Sink>
void write_result(const TxnResult& result, Sink& sink) {
  TxnResultHead head{};
  head.version = kTxnResultVersion;
  head.flags = result.succeeded ? kResultSucceeded : 0;
  head.failed = static_cast<uint16_t>(result.failed.size());
  head.results = static_cast<uint16_t>(result.results.size());
  head.position = result.position;
  sink.number(head);
  for (const FailedCheck& failed : result.failed)
    write_failed(failed, sink);
  for (const EffectResult& each : result.results)
    write_effect_result(each, sink);
}

TxnResultHead read_result_head(ByteReader& reader) {
  const auto head = reader.number<TxnResultHead>();
  if (!reader.is_sound()) return head;
  if (head.version == 0) reader.damaged("version 0");
  if (head.version > kTxnResultVersion) reader.newer("version " + std::to_string(head.version));
  if ((head.flags & ~kResultSucceeded) != 0) reader.newer("flags " + std::to_string(head.flags));
  if (head.reserved != 0) reader.damaged("a reserved field is not zero");
  if (head.failed > kMaxTxnItems || head.results > kMaxTxnItems)
    reader.damaged("more than " + std::to_string(kMaxTxnItems) + " items");
  if (((head.flags & kResultSucceeded) != 0) != (head.failed == 0))
    reader.damaged(head.failed == 0 ? "nothing failed, but it has not succeeded"
                                    : "it has succeeded, but something failed");
  return head;
}

FailedCheck read_failed(ByteReader& reader) {
  FailedCheck failed;
  const auto head = reader.number<FailedCheckHead>();
  if (!reader.is_sound()) return failed;
  if (head.list > static_cast<uint8_t>(TxnList::kLast))
    reader.newer("list " + std::to_string(head.list));
  if (head.index >= kMaxTxnItems) reader.damaged("item " + std::to_string(head.index) + " failed");
  if (head.found == 0) reader.damaged("found is 0");
  if (head.found > static_cast<uint8_t>(FoundKind::kLast))
    reader.newer("found " + std::to_string(head.found));
  failed.list = TxnList{head.list};
  failed.index = head.index;
  failed.found = FoundKind{head.found};
  if (has_number(failed.found)) failed.number = reader.number<uint64_t>();
  if (failed.found != FoundKind::kValue) return failed;
  const size_t bytes = reader.number<uint16_t>();
  if (bytes > kMaxFoundBytes) reader.damaged("a value of " + std::to_string(bytes) + " bytes");
  failed.value = reader.bytes(bytes);
  return failed;
}

void read_versions(ByteReader& reader, EffectResult& result) {
  result.first_version = reader.number<uint64_t>();
  result.last_version = reader.number<uint64_t>();
  if (result.first_version > result.last_version) reader.damaged("versions out of order");
}

EffectResult read_effect_result(ByteReader& reader) {
  EffectResult result;
  const auto head = reader.number<EffectResultHead>();
  if (!reader.is_sound()) return result;
  if (head.kind == 0) reader.damaged("a result of kind 0");
  if (head.kind > static_cast<uint8_t>(EffectResultKind::kLast))
    reader.newer("a result of kind " + std::to_string(head.kind));
  result.kind = EffectResultKind{head.kind};
  const bool may_be_replayed = result.kind == EffectResultKind::kAppended;
  if ((head.flags & ~(may_be_replayed ? kResultReplayed : 0)) != 0)
    reader.newer("flags " + std::to_string(head.flags) + " of a result");
  result.replayed = (head.flags & kResultReplayed) != 0;
  if (result.kind == EffectResultKind::kNumber) result.number = reader.number<int64_t>();
  if (result.kind == EffectResultKind::kValue)
    result.value = reader.bytes(reader.number<uint32_t>());
  if (result.kind == EffectResultKind::kWithheld) result.withheld_bytes = reader.number<uint64_t>();
  if (result.kind == EffectResultKind::kAppended) read_versions(reader, result);
  return result;
}

}  // namespace

void TxnResult::clear() {
  succeeded = false;
  position = 0;
  failed.clear();
  results.clear();
}

FailedCheck found_value(TxnList list, uint16_t index, ByteSpan value) {
  FailedCheck failed{list, index, FoundKind::kValue, value, 0};
  if (value.size() > kMaxFoundBytes) failed = {list, index, FoundKind::kWithheld, {}, value.size()};
  return failed;
}

void limit_bytes(TxnResult& result) {
  // What each item takes at most without a value, or with one that would not be shorter without;
  // so the loops below end within the limit.
  constexpr size_t kFailed = sizeof(FailedCheckHead) + 8, kResult = sizeof(EffectResultHead) + 16;
  static_assert(sizeof(TxnResultHead) + kMaxTxnItems * (kFailed + kResult) <= kMostTxnResultBytes);
  size_t bytes = encoded_bytes(result);
  for (size_t i = result.results.size(); i > 0 && bytes > kMostTxnResultBytes; --i) {
    EffectResult& each = result.results[i - 1];
    if (each.kind != EffectResultKind::kValue || each.value.size() <= 4) continue;
    bytes = bytes + sizeof(uint64_t) - sizeof(uint32_t) - each.value.size();
    each.withheld_bytes = std::exchange(each.value, {}).size();
    each.kind = EffectResultKind::kWithheld;
  }
  for (size_t i = result.failed.size(); i > 0 && bytes > kMostTxnResultBytes; --i) {
    FailedCheck& each = result.failed[i - 1];
    if (each.found != FoundKind::kValue || each.value.size() <= 6) continue;
    bytes = bytes + sizeof(uint64_t) - sizeof(uint16_t) - each.value.size();
    each.number = std::exchange(each.value, {}).size();
    each.found = FoundKind::kWithheld;
  }
}

size_t encoded_bytes(const TxnResult& result) {
  ByteCounter counter;
  write_result(result, counter);
  return counter.counted();
}

void encode(const TxnResult& result, std::vector<std::byte>& into) {
  into.resize(encoded_bytes(result));
  ByteWriter writer(into.data());
  write_result(result, writer);
}

Result<> decode(ByteSpan bytes, TxnResult& into) {
  into.clear();
  ByteReader reader("no result of a transaction", bytes);
  const TxnResultHead head = read_result_head(reader);
  into.succeeded = (head.flags & kResultSucceeded) != 0;
  into.position = head.position;
  for (size_t left = head.failed; left > 0 && reader.is_sound(); --left)
    into.failed.push_back(read_failed(reader));
  for (size_t left = head.results; left > 0 && reader.is_sound(); --left)
    into.results.push_back(read_effect_result(reader));
  reader.expect_end();
  return reader.result();
}

}  // namespace tailrace::statemachine
