#include "kv/checkpoint/snapshot_capture.h"

#include <algorithm>
#include <atomic>
#include <vector>

namespace tailrace::kv {

namespace {

using storage::kBlockBytes;

// Under protection at a time: others wait that long for an epoch at most.
constexpr uint64_t kCopiedAtATime = 128u << 10;
constexpr size_t kRecordsAtATime = 2048;

// Writers of the next version may store into records between those that stand still.
void copy_words(std::byte* to, std::byte* from, uint64_t bytes) {
  auto* words = reinterpret_cast<uint64_t*>(from);
  for (uint64_t at = 0; at < bytes; at += 8) {
    const uint64_t word = std::atomic_ref<uint64_t>(*words++).load(std::memory_order_relaxed);
    store(to + at, word);
  }
}

class Capturing {
 public:
  Capturing(const SnapshotCapture& what, ChunkWriter& writer)
      : log_(what.log),
        protection_(what.protection),
        what_(what),
        writer_(writer),
        from_(what.from),
        changed_(log_.page_bytes() / kBlockBytes) {}

  Result<LogAddress> run() {
    LogAddress at = align_down(from_, kBlockBytes);
    while (at < what_.until) {
      const LogAddress page = align_down(at, log_.page_bytes());
      at = std::max(at, page + log_.first_offset());
      const LogAddress end = std::min(what_.until, page + log_.page_bytes());
      const bool here = at >= end || (mark_changes(page, end) ? copy_page(at, end) : evicted());
      if (failure_) return tl::unexpected(*failure_);
      at = here ? page + log_.page_bytes() : from_;
    }
    return std::min(from_, what_.until);
  }

 private:
  bool is_in_memory(LogAddress page) const { return page + log_.page_bytes() > log_.head(); }
  bool evicted() {
    from_ = std::max(from_, log_.head());
    return false;
  }

  /// Which of the page's blocks are to be written. False when the page has been evicted.
  bool mark_changes(LogAddress page, LogAddress end) {
    const auto& changes = what_.changes;
    std::fill(changed_.begin(), changed_.end(), !changes.has_value());
    if (!changes) return true;
    for (LogAddress at = std::max(page, align_up(changes->end, kBlockBytes)); at < end;
         at += kBlockBytes)
      changed_[(at - page) / kBlockBytes] = true;
    const LogAddress limit = std::min(end, changes->end);
    LogAddress at = page + log_.first_offset();
    bool first = true;
    while (at < limit) {
      const storage::EpochProtection::Guard guard(protection_);
      if (!is_in_memory(page)) return false;
      // The log may begin within the page.
      if (first) at = std::max(at, log_.head());
      first = false;
      for (size_t count = 0; count < kRecordsAtATime; ++count) {
        at = log_.next_record(at, limit);
        if (at >= limit) break;
        const Record& record = *log_.record(at);
        const LogAddress next = at + record.bytes();
        if (is_change(record)) {
          for (LogAddress block = align_down(at, kBlockBytes); block < next; block += kBlockBytes)
            changed_[(block - page) / kBlockBytes] = true;
        }
        at = next;
      }
    }
    return true;
  }

  bool is_change(const Record& record) const {
    const uint64_t since =
        (record.version_bits() - what_.changes->after) & uint64_t{Record::kVersionMask};
    return since > 0 && since <= what_.changes->version - what_.changes->after;
  }

  /// False when the page has been evicted.
  bool copy_page(LogAddress at, LogAddress end) {
    const LogAddress page = align_down(at, log_.page_bytes());
    while (at < end) {
      if (!changed_[(at - page) / kBlockBytes]) {
        at += kBlockBytes;
        continue;
      }
      auto room = writer_.room();
      if (!room) return fail(std::move(room.error()));
      const uint64_t most = std::min<uint64_t>({room->size(), end - at, kCopiedAtATime});
      uint64_t bytes = 0;
      while (bytes < most && changed_[(at + bytes - page) / kBlockBytes])
        bytes += kBlockBytes;
      {
        const storage::EpochProtection::Guard guard(protection_);
        if (!is_in_memory(page)) return evicted();
        copy_words(room->data(), reinterpret_cast<std::byte*>(log_.record(at)), bytes);
      }
      for (const LogAddress copied_to = at + bytes; at < copied_to; at += kBlockBytes)
        writer_.took_block(at);
      if (what_.progress) {
        if (auto go_on = what_.progress(writer_.bytes_written()); !go_on) {
          return fail(std::move(go_on.error()));
        }
      }
    }
    return true;
  }

  bool fail(Error error) {
    failure_ = std::move(error);
    return false;
  }

  HybridLog& log_;
  storage::EpochProtection& protection_;
  const SnapshotCapture& what_;
  ChunkWriter& writer_;
  LogAddress from_;
  std::vector<bool> changed_;  // by block of the present page
  std::optional<Error> failure_;
};

}  // namespace

Result<SnapshotCapture::Captured> SnapshotCapture::write(storage::FileSystem& file_system,
                                                         const storage::Path& path,
                                                         uint64_t token) const {
  // Of an incremental one nobody knows; the file then grows as it is written.
  const LogAddress first = align_down(from, kBlockBytes);
  const uint64_t expected = changes || first >= until ? 0 : until - first;
  TAILRACE_ASSIGN_OR_RETURN(
      auto writer, ChunkWriter::create(file_system, path, kSnapshotChunk, token, expected));
  TAILRACE_ASSIGN_OR_RETURN(auto captured_from, Capturing(*this, *writer).run());
  TAILRACE_ASSIGN_OR_RETURN(auto file, writer->finish());
  return Captured{file, captured_from};
}

}  // namespace tailrace::kv
