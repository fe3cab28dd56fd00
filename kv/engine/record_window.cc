#include "kv/engine/record_window.h"

#include <algorithm>
#include <atomic>

#include "kv/log/format.h"

namespace tailrace::kv {

RecordWindow::RecordWindow(storage::FileSystem& file_system, Engine& engine)
    : engine_(engine), entries_(kMostRecords), fetcher_(file_system, engine) {}

RecordWindow::~RecordWindow() {
  drain();
}

// Reads in flight write into memory of ours.
void RecordWindow::drain() {
  while (fetcher_.in_flight() > 0) {
    if (!fetcher_.poll(std::chrono::milliseconds(100), nullptr)) return;
  }
}

void RecordWindow::clear() {
  used_ = 0;
  bytes_ = 0;
}

void RecordWindow::add(LogAddress address, Record& record) {
  Entry& entry = entries_[used_++];
  const uint64_t bytes = record.bytes();
  entry.address = address;
  entry.wanted = false;
  entry.copy.resize(bytes / sizeof(uint64_t));
  auto* from = reinterpret_cast<uint64_t*>(&record);
  for (uint64_t& word : entry.copy)
    word = std::atomic_ref<uint64_t>(*from++).load(std::memory_order_acquire);
  entry.fetch.found.clear();
  entry.fetch.error.reset();
  entry.fetch.done = true;
  bytes_ += bytes;
}

Result<> RecordWindow::follow(Entry& entry, const PointInLog* point, LogAddress from) {
  entry.fetch.key = HashedKey(entry.record().key());
  entry.fetch.point = point;
  entry.fetch.floor = entry.address;
  return fetcher_.start(entry.fetch, from);
}

// False when the next record is one of those that may still change.
Result<bool> RecordStream::open_walker() {
  if (walker_ && address_ < walked_until_) return true;
  walked_until_ = std::min(engine_.log().safe_read_only(), until_);
  if (address_ >= walked_until_) return false;
  TAILRACE_ASSIGN_OR_RETURN(
      walker_, LogWalker::create(file_system_, engine_.log(), address_, walked_until_));
  return true;
}

Result<> RecordStream::fill(RecordWindow& window) {
  HybridLog& log = engine_.log();
  while (address_ < until_ && !window.full()) {
    TAILRACE_ASSIGN_OR_RETURN(auto walking, open_walker());
    if (walking) {
      TAILRACE_ASSIGN_OR_RETURN(auto item, walker_->next());
      if (item) {
        window.add(item->address, *item->record);
        address_ = item->address + item->record->bytes();
      } else {
        // What is left are the zeros that end a block or a page.
        address_ = std::max(address_, align_up(walked_until_, kLogBlockBytes));
      }
      continue;
    }
    const storage::EpochProtection::Guard guard(engine_.protection());
    // Read-only by now, and gone to disk perhaps: by the walker, then.
    if (address_ < log.safe_read_only()) continue;
    address_ = log.next_record(address_, until_);
    if (address_ >= until_) break;
    window.add(address_, *log.record(address_));
    address_ += window.entries().back().record().bytes();
  }
  return {};
}

}  // namespace tailrace::kv
