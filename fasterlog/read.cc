// Reading what is durable.
#include <algorithm>

#include "fasterlog/log_impl.h"

namespace tailrace::fasterlog {

namespace {
// Records of a batch often are neighbours: what one read brings serves several of them.
constexpr uint64_t kBatchReadBytes = 64u << 10;
constexpr uint64_t kMostRawMemory = 1u << 20;
}  // namespace

tl::unexpected<Error> LogImpl::out_of_range(Address address) const {
  return make_error(ErrorCode::kOutOfRange, "address " + std::to_string(address.value) +
                                                " is not below durable (" +
                                                std::to_string(durable().value) + ")");
}

Result<Record> LogImpl::read(Address address, std::vector<std::byte>& buffer) {
  LogSource source(*core_);
  RecordReader reader(source, core_->options.page_bytes, storage::kBlockBytes);
  TAILRACE_ASSIGN_OR_RETURN(auto record, read_one(source, reader, address));
  buffer.assign(record.payload.begin(), record.payload.end());
  record.payload = buffer;
  return record;
}

Result<> LogImpl::read_batch(std::span<const Address> addresses,
                             const std::function<bool(const Record&)>& visit) {
  LogSource source(*core_);
  RecordReader reader(source, core_->options.page_bytes, kBatchReadBytes);
  const uint64_t cuts = core_->cut_count.load();
  for (const Address address : addresses) {
    if (core_->cut_count.load() != cuts) reader.forget();
    TAILRACE_ASSIGN_OR_RETURN(auto record, read_one(source, reader, address));
    if (!visit(record)) return {};
  }
  return {};
}

Result<Record> LogImpl::read_one(const LogSource& source, RecordReader& reader, Address address) {
  const uint64_t cuts = core_->cut_count.load();
  if (address < begin()) return tl::unexpected(source.truncated(address));
  const Address limit = durable();
  if (address >= limit) return out_of_range(address);
  reader.seek(address);
  auto step = reader.next(limit);
  if (!step || step->status != RecordReader::Status::kRecord || step->record.address != address) {
    if (address < begin()) return tl::unexpected(source.truncated(address));
    if (address >= durable()) return out_of_range(address);
    if (core_->cut_count.load() != cuts) {
      // The bytes changed under us: look again.
      reader.forget();
      return read_one(source, reader, address);
    }
    if (!step) return tl::unexpected(std::move(step).error());
    return make_error(ErrorCode::kInvalidArgument, "no sound record begins at address " +
                                                       std::to_string(address.value) + " of " +
                                                       core_->segments.path_of(address).string());
  }
  const ParsedRecord& record = step->record;
  return Record{address, record.end, record.epoch, record.kind, record.payload};
}

std::unique_ptr<LogScanner> LogImpl::scan(Address from, ScanOptions options) {
  return make_scanner(*core_, from, options);
}

Result<> LogImpl::read_raw(Address from, size_t most_bytes, std::vector<std::byte>& into) {
  return read_batches(from, most_bytes, core_->durable, into);
}

Result<> LogImpl::read_raw_flushing(Address from, size_t most_bytes, std::vector<std::byte>& into) {
  // What failed to be written is no longer held against the ring's reuse.
  return read_batches(from, most_bytes, core_->failed.load() ? core_->durable : core_->flushing,
                      into);
}

// A leader ships some thousand times a second: new memory, zeroed by the system, would cost it more
// than the copy.
storage::AlignedBuffer LogImpl::take_raw_memory() {
  const MutexLock lock(raw_memory_mutex_);
  return std::move(raw_memory_);
}

void LogImpl::keep_raw_memory(storage::AlignedBuffer memory) {
  if (memory.size() > kMostRawMemory) return;
  const MutexLock lock(raw_memory_mutex_);
  if (raw_memory_.size() < memory.size()) raw_memory_ = std::move(memory);
}

bool LogImpl::copy_batches(Address from, size_t most_bytes, Address limit, uint64_t cuts,
                           std::vector<std::byte>& into) {
  // What is in memory now stays there until this thread leaves the epoch, and no cut changes it.
  const storage::EpochProtection::Guard guard(core_->protection);
  const PageRing& ring = core_->ring;
  const uint64_t page = ring.page_bytes();
  if (from < ring.head() || core_->cut_count.load() != cuts) return false;
  Address at = from, end = from;
  while (end - from < most_bytes) {
    const bool first = at == from;
    at = next_record_address(at, page);
    if (at >= limit) break;
    const CheckedBytes bytes = ring.view(at, limit);
    // Whoever asks may be wrong about `from`: that a record begins there is shown by its checksum.
    const ParseOutcome outcome =
        first ? parse_record(at, bytes.span(), page) : view_record(at, bytes, page);
    if (outcome.status != ParseStatus::kOk) return false;
    const ParsedRecord& record = outcome.record;
    if (record.end - from > most_bytes && end > from) break;
    at = record.end;
    if (record.kind != RecordKind::kCommitMark) continue;
    if (end == from && mark_of(record).batch_begin != from) return false;
    end = at;
  }
  into.reserve(end - from);
  for (Address next = from; next < end;) {
    const ByteSpan part = ring.view(next, end).span();
    into.insert(into.end(), part.begin(), part.end());
    next = next + part.size();
  }
  return true;
}

Result<> LogImpl::read_batches(Address from, size_t most_bytes,
                               const std::atomic<uint64_t>& readable,
                               std::vector<std::byte>& into) {
  into.clear();
  LogSource source(*core_);
  const uint64_t cuts = core_->cut_count.load();
  if (from < begin()) return tl::unexpected(source.truncated(from));
  const Address limit{readable.load()};
  if (from > limit)
    return make_error(ErrorCode::kOutOfRange, "address " + std::to_string(from.value) +
                                                  " is above what can be read (" +
                                                  std::to_string(limit.value) + ")");
  if (copy_batches(from, most_bytes, limit, cuts, into)) return {};
  RecordReader reader(source, core_->options.page_bytes,
                      std::min<uint64_t>(std::max<uint64_t>(most_bytes, 4096), kMostRawMemory),
                      take_raw_memory());
  struct GivesBack {
    LogImpl& log;
    RecordReader& reader;
    ~GivesBack() { log.keep_raw_memory(reader.take_memory()); }
  } const gives_back{*this, reader};
  reader.seek(from);
  into.reserve(std::min<uint64_t>(most_bytes, limit - from));
  uint64_t whole = 0;
  while (whole < most_bytes) {
    auto step = reader.next(limit);
    if (!step || step->status == RecordReader::Status::kBad) {
      into.clear();
      if (from < begin()) return tl::unexpected(source.truncated(from));
      if (core_->cut_count.load() != cuts) return read_batches(from, most_bytes, readable, into);
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
        if (core_->cut_count.load() != cuts) return read_batches(from, most_bytes, readable, into);
        return make_error(ErrorCode::kInvalidArgument,
                          "no batch begins at address " + std::to_string(from.value));
      }
      whole = end;
    }
  }
  // What was there before a cut must not go together with what came after it.
  if (core_->cut_count.load() != cuts) return read_batches(from, most_bytes, readable, into);
  into.resize(whole);
  return {};
}

}  // namespace tailrace::fasterlog
