#include "statemachine/streams/dropped_pages.h"

#include <algorithm>

namespace tailrace::statemachine {

Result<> PageRemover::drop(DroppedPages pages, kv::Serial at) {
  if (pages.from >= pages.to) return {};
  TAILRACE_RETURN_IF_ERROR(remove(pages, at));
  if (pages.from == pages.to) return {};
  return write(numbers_.end_dropped++, pages, at);
}

Result<> PageRemover::go_on(kv::Serial at) {
  if (numbers_.first_dropped == numbers_.end_dropped) return {};
  TAILRACE_RETURN_IF_ERROR(load_front());
  TAILRACE_RETURN_IF_ERROR(remove(*front_, at));
  if (front_->from < front_->to) return write(numbers_.first_dropped, *front_, at);
  front_.reset();
  dropped_key(numbers_.first_dropped++, key_);
  TAILRACE_RETURN_IF_ERROR(session_.erase(as_bytes(key_), at));
  return {};
}

/// In one batch: pages on disk are looked for at the same time.
Result<> PageRemover::remove(DroppedPages& pages, kv::Serial at) {
  std::array<kv::Operation, kAtOnce> operations;
  const size_t count = std::min(kAtOnce, pages.to - pages.from);
  for (size_t i = 0; i < count; ++i) {
    page_key(pages.dense_id, pages.from + i, keys_[i]);
    operations[i].kind = kv::OperationKind::kErase;
    operations[i].key = as_bytes(keys_[i]);
    operations[i].serial = at;
  }
  pages.from += count;
  return session_.run({operations.data(), count});
}

Result<> PageRemover::load_front() {
  if (front_) return {};
  std::string value;
  dropped_key(numbers_.first_dropped, key_);
  TAILRACE_RETURN_IF_ERROR(session_.read(as_bytes(key_), value));
  TAILRACE_ASSIGN_OR_RETURN(front_, decode_dropped(as_bytes(value)));
  return {};
}

Result<> PageRemover::write(uint64_t number, const DroppedPages& pages, kv::Serial at) {
  dropped_key(number, key_);
  return session_.upsert(as_bytes(key_), as_bytes(encode_dropped(pages)), at);
}

}  // namespace tailrace::statemachine
