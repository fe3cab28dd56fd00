// Bytes that a sender's log holds, taken over as they are.
#include <algorithm>

#include "fasterlog/log_impl.h"
#include "fasterlog/time/log_time.h"

namespace tailrace::fasterlog {

Result<> LogImpl::try_append_raw(Address at, ByteSpan bytes) {
  if (auto failure = core_->failure_copy()) return tl::unexpected(*failure);
  if (core_->mode.load() != Mode::kCopy) return refuse_role("a copy");
  if (at != core_->ring.tail())
    return make_error(ErrorCode::kFailedPrecondition,
                      "raw bytes for address " + std::to_string(at.value) +
                          ", but the log's tail is " + std::to_string(tail().value));
  if (bytes.empty()) return {};
  if (bytes.size() > core_->ring.bytes() / 4 * 3)
    return make_error(ErrorCode::kResourceExhausted,
                      std::to_string(bytes.size()) +
                          " raw bytes never fit in the buffer; raise buffer_pages to the sender's");
  if (at + bytes.size() > core_->ring.raw_limit()) {
    core_->probe.would_block.add();
    flusher_.want_room();
    if (core_->disk_full.load()) return refuse_disk();
    return make_error(ErrorCode::kWouldBlock, "the log's buffer is full");
  }
  Address mark_end = last_mark_end_;
  Epoch epoch = copied_epoch_;
  RawContent content;
  TAILRACE_RETURN_IF_ERROR(check_raw(at, bytes, mark_end, epoch, content));
  // Readers stay below durable, and the flusher below the tail: nobody looks at these bytes yet.
  core_->ring.copy_in(at, bytes);
  for (const EpochStart& start : content.starts)
    note_epoch(start.epoch, start.start);
  note_configurations(std::move(content.configurations));
  last_mark_end_ = mark_end;
  copied_epoch_ = epoch;
  if (core_->options.time) core_->options.time->marked(content.newest_time_ns);
  core_->ring.set_tail(at + bytes.size());
  flusher_.enqueued(at + bytes.size());
  return {};
}

Result<> LogImpl::check_raw(Address at, ByteSpan bytes, Address& mark_end, Epoch& epoch,
                            RawContent& content) const {
  const auto bad = [](Address address, std::string_view reason) {
    return make_error(ErrorCode::kCorruption, "raw bytes: bad record at address " +
                                                  std::to_string(address.value) + " (" +
                                                  std::string(reason) + ")");
  };
  const uint64_t page = core_->options.page_bytes;
  const bool any = last_mark_end_ > kFirstAddress;
  uint64_t done = 0;
  while (done < bytes.size()) {
    const Address address = next_record_address(at + done, page);
    const uint64_t gap = address - (at + done);
    if (gap > bytes.size() - done || !all_zero(bytes.subspan(done, gap)))
      return bad(at + done, "the unused end of the page is not zero");
    done += gap;
    const ParseOutcome outcome = parse_record(address, bytes.subspan(done), page);
    if (outcome.status == ParseStatus::kNeedMore) return bad(address, "it is cut off");
    if (outcome.status == ParseStatus::kBad) return bad(address, outcome.reason);
    const ParsedRecord& record = outcome.record;
    if (record.epoch < epoch) return bad(address, "a record of an older epoch after a newer one");
    if (record.epoch > epoch || (!any && content.starts.empty()))
      content.starts.push_back({record.epoch, address});
    epoch = record.epoch;
    if (record.kind == RecordKind::kConfiguration)
      content.configurations.push_back(configuration_of(record));
    if (record.kind == RecordKind::kCommitMark) {
      if (mark_of(record).batch_begin != mark_end)
        return bad(address, "a commit mark that does not continue the one before");
      mark_end = record.end;
      content.newest_time_ns = std::max(content.newest_time_ns, mark_of(record).unix_time_ns);
    }
    done += record.end - address;
  }
  if (mark_end != at + bytes.size())
    return bad(at + bytes.size(), "the bytes do not end in a commit mark");
  return {};
}

}  // namespace tailrace::fasterlog
