// Bytes that a sender's log holds, taken over as they are.
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
  // Here, and nowhere before or after: neither the wire nor the readers of this log do it again.
  BatchChain chain{last_mark_end_, copied_epoch_, last_mark_end_ <= kFirstAddress};
  const auto checked = check_batches(at, bytes, core_->options.page_bytes, chain);
  if (!checked) return tl::unexpected(with_context("raw bytes", checked.error()));
  // Readers stay below durable, and the flusher below the tail: nobody looks at these bytes yet.
  core_->ring.copy_in(at, *checked);
  for (const EpochStart& start : chain.starts)
    note_epoch(start.epoch, start.start);
  note_configurations(std::move(chain.configurations));
  last_mark_end_ = chain.mark_end;
  copied_epoch_ = chain.epoch;
  if (core_->options.time) core_->options.time->marked(chain.newest_time_ns);
  core_->ring.set_tail(at + bytes.size());
  flusher_.enqueued(at + bytes.size());
  return {};
}

}  // namespace tailrace::fasterlog
