#include "statemachine/records_ahead.h"

#include <algorithm>

#include "statemachine/command/plain_event.h"
#include "statemachine/types/state_value.h"

namespace tailrace::statemachine {

void RecordsAhead::read(fasterlog::LogScanner& scanner, Address limit, size_t most,
                        uint64_t most_log_bytes, kv::Session& session) {
  count_ = 0;
  error_.reset();
  std::array<ByteSpan, kMost> keys;
  size_t key_count = 0;
  uint64_t log_bytes = 0;
  bool last = false;
  while (!last && count_ < std::min(most, kMost) && log_bytes < most_log_bytes) {
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
    item.key.assign(1, kUserKey);
    item.copied.clear();
    if (item.record.payload.size() > kMostCopiedBytes) {
      last = true;
    } else {
      item.copied.assign(item.record.payload.begin(), item.record.payload.end());
      item.record.payload = item.copied;
    }
    if (item.record.kind != kCommandRecord) continue;
    item.command = decode(item.record.payload);
    if (!item.command || item.command->operation == Operation::kEvent || item.command->key.empty())
      continue;
    item.key.append(as_text(item.command->key));
    keys[key_count++] = as_bytes(item.key);
  }
  session.prefetch({keys.data(), key_count});
}

}  // namespace tailrace::statemachine
