// Giving the log's beginning back.
#include <algorithm>

#include "fasterlog/log_impl.h"

namespace tailrace::fasterlog {

Result<Address> LogImpl::truncate_before(Address address) {
  if (core_->closed.load()) return make_error(ErrorCode::kClosed, "the log was closed");
  const MutexLock truncating(truncate_mutex_);
  if (address > durable())
    return make_error(ErrorCode::kOutOfRange, "address " + std::to_string(address.value) +
                                                  " is above durable (" +
                                                  std::to_string(durable().value) + ")");
  TAILRACE_ASSIGN_OR_RETURN(const Address to, begin_not_above(address));
  if (to > begin()) {
    auto written = core_->keeper.update([&](LogMetadata& metadata) {
      // What is truncated was durable: META may say so at once.
      metadata.begin = to;
      metadata.proven = std::max(metadata.proven, to);
      core_->describe_proven(metadata);
      drop_epochs_before(to, metadata.epochs);
      drop_configurations_before(to, metadata.configurations);
    });
    if (!written) return give_up(std::move(written).error());
    const MutexLock lock(core_->index_mutex);
    core_->begin.store(to.value);
    drop_epochs_before(to, core_->epochs);
    if (core_->configurations->size() > 1) {
      auto table = *core_->configurations;
      drop_configurations_before(to, table);
      core_->configurations = std::make_shared<const ConfigurationTable>(std::move(table));
    }
    const auto keep = std::upper_bound(core_->marks.begin(), core_->marks.end(), to);
    core_->marks.erase(core_->marks.begin(), keep);
    core_->marks.insert(core_->marks.begin(), to);
  }
  if (auto removed = core_->segments.remove_before(core_->segments.index_of(begin())); !removed)
    return give_up(std::move(removed).error());
  flusher_.nudge();
  return to;
}

// A failed write or fsync is final, here as in a flush. A full disk is none: META stays as it was.
tl::unexpected<Error> LogImpl::give_up(Error error) {
  error = with_context("truncate the log", std::move(error));
  if (error.code != ErrorCode::kResourceExhausted) flusher_.fail(error);
  return tl::unexpected(std::move(error));
}

Result<> LogImpl::discard_before(Address address) {
  const uint64_t bytes = core_->segments.segment_bytes();
  return core_->segments.discard_before(align_up(address.value, bytes) / bytes);
}

Address LogImpl::first_byte() const {
  return Address{core_->segments.index_of(begin()) * core_->segments.segment_bytes()};
}

std::vector<OldBytes> LogImpl::old_bytes() const {
  return core_->segments.old_bytes(durable());
}

uint64_t LogImpl::reclaimable_segments(Address limit) const {
  const auto to = begin_not_above(std::min(limit, durable()));
  return to ? core_->segments.count_before(core_->segments.index_of(*to)) : 0;
}

uint64_t LogImpl::reclaimable_bytes(Address limit) const {
  return core_->segments.bytes_freed_by_removing(reclaimable_segments(limit));
}

Result<Address> LogImpl::begin_not_above(Address address) const {
  const Address most = std::min(address, core_->consumers.limit(durable()));
  const Address now = begin();
  if (most <= now) return now;
  auto found = mark_end_not_above(most);
  if (found) found = std::max(now, *found);
  return found;
}

Result<Address> LogImpl::mark_end_at(Address address) const {
  if (core_->closed.load()) return make_error(ErrorCode::kClosed, "the log was closed");
  if (address > durable())
    return make_error(ErrorCode::kOutOfRange, "address " + std::to_string(address.value) +
                                                  " is above durable (" +
                                                  std::to_string(durable().value) + ")");
  auto found = mark_end_not_above(address);
  // Begin may have moved meanwhile.
  if (address < begin() || (found && *found < begin()))
    return make_error(ErrorCode::kTruncated, "address " + std::to_string(address.value) +
                                                 " is below begin (" +
                                                 std::to_string(begin().value) + ")");
  return found;
}

Result<Address> LogImpl::mark_end_not_above(Address address) const {
  Address from;
  {
    const MutexLock lock(core_->index_mutex);
    const auto above = std::upper_bound(core_->marks.begin(), core_->marks.end(), address);
    from = above == core_->marks.begin() ? begin() : *std::prev(above);
  }
  LogSource source(*core_);
  RecordReader reader(source, core_->options.page_bytes, 1u << 20);
  reader.seek(from);
  Address found = from;
  const Address limit = durable();
  while (reader.position() < address) {
    TAILRACE_ASSIGN_OR_RETURN(auto step, reader.next(limit));
    if (step.status == RecordReader::Status::kBad)
      return tl::unexpected(source.bad_record(step.bad_at, step.reason));
    if (step.status == RecordReader::Status::kEnd || step.record.end > address) break;
    if (step.record.kind == RecordKind::kCommitMark) found = step.record.end;
  }
  return found;
}

}  // namespace tailrace::fasterlog
