#include "statemachine/records_ahead.h"

#include <algorithm>

#include "statemachine/command/plain_event.h"
#include "statemachine/types/state_value.h"

namespace tailrace::statemachine {

void RecordsAhead::read(fasterlog::LogScanner& scanner, Address limit, size_t most,
                        uint64_t most_log_bytes, kv::Session& session, StreamIndex& streams) {
  count_ = txn_key_count_ = stream_count_ = 0;
  error_.reset();
  const size_t most_items = std::min(most, is_cold_ ? kMostCold : kMost);
  std::array<ByteSpan, kMostCold + kMostTxnKeys> keys;
  size_t key_count = 0;
  uint64_t log_bytes = 0;
  bool last = false;
  while (!last && count_ < most_items && log_bytes < most_log_bytes) {
    auto record = scanner.next(limit);
    if (!record) {
      error_ = std::move(record).error();
      break;
    }
    if (!*record) break;
    Item& item = items_[count_++];
    item.record = **record;
    log_bytes += item.record.end - item.record.address;
    item.plain_event = item.record.kind == kCommandRecord && is_plain_event(item.record.payload);
    if (item.plain_event) continue;  // its bytes need not outlive the reader's
    clear(item);
    if (item.record.payload.size() > most_copied(item.record.payload)) {
      last = true;
    } else {
      item.copied.assign(item.record.payload.begin(), item.record.payload.end());
      item.record.payload = item.copied;
    }
    if (item.record.kind != kCommandRecord) continue;
    item.command = decode(item.record.payload);
    if (!item.command) continue;
    if (item.command->operation == Operation::kTxn) note_txn(item);
    if (!item.command || item.command->operation == Operation::kEvent || item.command->key.empty())
      continue;
    item.key.append(as_text(item.command->key));
    keys[key_count++] = as_bytes(item.key);
  }
  for (size_t i = 0; i < txn_key_count_; ++i)
    keys[key_count++] = as_bytes(txn_keys_[i]);
  session.prefetch({keys.data(), key_count});
  is_cold_ = false;
  if (stream_count_ == 0) return;
  if (auto begun = streams.prefetch({streams_.data(), stream_count_}); !begun && !error_)
    error_ = std::move(begun).error();
  is_cold_ = streams.cold() * 8 > stream_count_;
}

void RecordsAhead::clear(Item& item) {
  item.key.assign(1, kUserKey);
  item.copied.clear();
  const Txn& txn = item.txn;
  if (txn.checks.capacity() + txn.then.capacity() + txn.otherwise.capacity() +
          txn.events.capacity() + txn.tags.capacity() >
      kMostItemsKept)
    item.txn = Txn();
}

size_t RecordsAhead::most_copied(ByteSpan payload) {
  const bool is_txn = !payload.empty() && payload[0] == static_cast<std::byte>(Operation::kTxn);
  return is_txn ? kMostCopiedTxnBytes : kMostCopiedBytes;
}

/// Its keys and streams, both lists': which one is applied is not known yet.
void RecordsAhead::note_txn(Item& item) {
  if (auto decoded = decode(item.command->value, item.txn); !decoded) {
    item.command = tl::unexpected(std::move(decoded).error());
    return;
  }
  for (const TxnCheck& check : item.txn.checks) {
    if (check.name.empty()) continue;
    if (is_of_stream(check.kind))
      note_stream(as_text(check.name), 0);
    else
      note_key(check.name);
  }
  for (const auto* list : {&item.txn.then, &item.txn.otherwise})
    for (const TxnEffect& effect : *list)
      if (is_of_stream(effect.kind))
        note_stream(as_text(effect.name), effect.event_count);
      else
        note_key(effect.name);
}

void RecordsAhead::note_key(ByteSpan key) {
  if (txn_key_count_ < txn_keys_.size())
    txn_keys_[txn_key_count_++].assign(1, kUserKey).append(as_text(key));
}

void RecordsAhead::note_stream(std::string_view stream, size_t events) {
  if (stream_count_ < streams_.size()) streams_[stream_count_++] = {stream, events};
}

}  // namespace tailrace::statemachine
