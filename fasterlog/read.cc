// Reading what is durable.
#include <algorithm>

#include "fasterlog/log_impl.h"

namespace tailrace::fasterlog {

Result<Record> LogImpl::read(Address address, std::vector<std::byte>& buffer) {
  LogSource source(*core_);
  if (address < begin()) return tl::unexpected(source.truncated(address));
  const Address limit = durable();
  if (address >= limit)
    return make_error(ErrorCode::kOutOfRange, "address " + std::to_string(address.value) +
                                                  " is not below durable (" +
                                                  std::to_string(limit.value) + ")");
  RecordReader reader(source, core_->options.page_bytes, storage::kBlockBytes);
  reader.seek(address);
  auto step = reader.next(limit);
  if (!step || step->status != RecordReader::Status::kRecord || step->record.address != address) {
    if (address < begin()) return tl::unexpected(source.truncated(address));
    if (!step) return tl::unexpected(std::move(step).error());
    return make_error(ErrorCode::kInvalidArgument, "no sound record begins at address " +
                                                       std::to_string(address.value) + " of " +
                                                       core_->segments.path_of(address).string());
  }
  const ParsedRecord& record = step->record;
  buffer.assign(record.payload.begin(), record.payload.end());
  return Record{address, record.end, record.epoch, record.kind, buffer};
}

std::unique_ptr<LogScanner> LogImpl::scan(Address from, ScanOptions options) {
  return make_scanner(*core_, from, options);
}

Result<> LogImpl::read_raw(Address from, size_t most_bytes, std::vector<std::byte>& into) {
  into.clear();
  LogSource source(*core_);
  if (from < begin()) return tl::unexpected(source.truncated(from));
  const Address limit = durable();
  if (from > limit)
    return make_error(ErrorCode::kOutOfRange, "address " + std::to_string(from.value) +
                                                  " is above durable (" +
                                                  std::to_string(limit.value) + ")");
  RecordReader reader(source, core_->options.page_bytes,
                      std::min<uint64_t>(std::max<uint64_t>(most_bytes, 4096), 1u << 20));
  reader.seek(from);
  uint64_t whole = 0;
  while (whole < most_bytes) {
    auto step = reader.next(limit);
    if (!step || step->status == RecordReader::Status::kBad) {
      into.clear();
      if (from < begin()) return tl::unexpected(source.truncated(from));
      if (!step) return tl::unexpected(std::move(step).error());
      return tl::unexpected(source.bad_record(step->bad_at, step->reason));
    }
    if (step->status == RecordReader::Status::kEnd) break;
    const ParsedRecord& record = step->record;
    const uint64_t end = record.end - from;
    if (end > most_bytes && whole > 0) break;
    const ByteSpan raw = reader.raw(record);
    into.resize(record.address - from);  // zeros where a page end was too short for a header
    into.insert(into.end(), raw.begin(), raw.end());
    if (record.kind == RecordKind::kCommitMark) {
      if (whole == 0 && mark_of(record).batch_begin != from) {
        into.clear();
        return make_error(ErrorCode::kInvalidArgument,
                          "no batch begins at address " + std::to_string(from.value));
      }
      whole = end;
    }
  }
  into.resize(whole);
  return {};
}

}  // namespace tailrace::fasterlog
