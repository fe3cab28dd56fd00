#include "fasterlog/batch_writer.h"

#include <algorithm>

#include "fasterlog/format/record.h"

namespace tailrace::fasterlog {

BatchWriter::BatchWriter(Log& log, size_t gathered_bytes)
    : log_(log), most_log_bytes_(std::min(gathered_bytes, log.max_payload_bytes())) {
  bytes_.reserve(most_log_bytes_);
  records_.reserve(most_log_bytes_ / kHeaderBytes);
}

Result<> BatchWriter::add(RecordKind kind, ByteSpan payload, SteadyTime deadline) {
  TAILRACE_RETURN_IF_ERROR(check_embedder_kind(kind));  // or it would spoil the whole batch
  const uint64_t bytes = record_bytes(payload.size());
  if (log_bytes_ + bytes > most_log_bytes_) {
    TAILRACE_RETURN_IF_ERROR(enqueue(deadline));
    if (bytes > most_log_bytes_) {
      TAILRACE_ASSIGN_OR_RETURN(auto range, log_.enqueue(kind, payload, deadline));
      enqueued_end_ = range.end;
      return {};
    }
  }
  const size_t at = bytes_.size();
  bytes_.insert(bytes_.end(), payload.begin(), payload.end());
  records_.push_back({kind, {bytes_.data() + at, payload.size()}});
  log_bytes_ += bytes;
  return {};
}

Result<AddressRange> BatchWriter::enqueue(SteadyTime deadline) {
  if (records_.empty()) return AddressRange{enqueued_end(), enqueued_end()};
  TAILRACE_ASSIGN_OR_RETURN(auto range, log_.enqueue_batch(records_, deadline));
  enqueued_end_ = range.end;
  records_.clear();
  bytes_.clear();
  log_bytes_ = 0;
  return range;
}

}  // namespace tailrace::fasterlog
