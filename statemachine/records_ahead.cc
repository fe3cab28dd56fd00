#include "statemachine/records_ahead.h"

#include <algorithm>

#include "statemachine/types/state_value.h"

namespace tailrace::statemachine {

namespace {

/// Whether it is a command that leaves the state as it is; as decode() reads its first byte.
bool is_event(ByteSpan payload) {
  return !payload.empty() && payload[0] == static_cast<std::byte>(Operation::kEvent);
}

}  // namespace

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
    item.key.assign(1, kUserKey);
    item.copied.clear();
    if (item.record.kind == kCommandRecord && is_event(item.record.payload)) {
      item.command = decode(item.record.payload);
      // Nothing of it is applied, so none of its bytes have to outlive the reader's.
      item.record.payload = {};
      if (item.command) item.command->key = item.command->value = {};
      continue;
    }
    if (item.record.payload.size() > kMostCopiedBytes) {
      last = true;
    } else {
      item.copied.assign(item.record.payload.begin(), item.record.payload.end());
      item.record.payload = item.copied;
    }
    if (item.record.kind != kCommandRecord) continue;
    item.command = decode(item.record.payload);
    if (!item.command || item.command->key.empty()) continue;
    item.key.append(as_text(item.command->key));
    keys[key_count++] = as_bytes(item.key);
  }
  session.prefetch({keys.data(), key_count});
}

}  // namespace tailrace::statemachine
