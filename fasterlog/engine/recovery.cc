#include "fasterlog/engine/recovery.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "fasterlog/format/read_ahead.h"
#include "fasterlog/format/record_reader.h"
#include "storage/aligned_buffer.h"

namespace tailrace::fasterlog {

namespace {

constexpr uint64_t kScanBytes = 4u << 20;
// Small enough to stay in the cache between its copy and its check.
constexpr uint64_t kReadAheadStep = 256u << 10;
constexpr uint64_t kProgressBytes = 64u << 20;

// The end of the last file of those that follow each other without a gap from `from` on.
Address contiguous_end(const SegmentFiles& segments, Address from) {
  uint64_t index = segments.index_of(from);
  while (segments.file(index))
    ++index;
  return std::max(from, Address{index * segments.segment_bytes()});
}

// True when the batch that `mark` ends is wholly there.
Result<bool> batch_is_whole(DiskSource& source, const ParsedRecord& mark, uint64_t page_bytes) {
  RecordReader reader(source, page_bytes, kScanBytes);
  reader.seek(mark_of(mark).batch_begin);
  if (reader.position().value % kRecordAlignment != 0) return false;
  while (reader.position() < mark.end) {
    auto step = reader.next(mark.end);
    if (!step) {
      if (step.error().code == ErrorCode::kNotFound) return false;
      return tl::unexpected(std::move(step).error());
    }
    if (step->status != RecordReader::Status::kRecord) return false;
    if (step->record.kind == RecordKind::kCommitMark) return step->record.address == mark.address;
  }
  return false;
}

// What stands there may be a mark of a batch behind `durable`. Asked before its checksum: stale
// events of text have a place for each event that looks like a mark of megabytes, and the checksums
// of all of them would take many minutes. A mark's zeros end at the next such place.
bool may_be_mark(Address at, ByteSpan bytes, Address durable) {
  const auto header = load<RecordHeader>(bytes.data());
  if (header.flags != 0 || header.reserved16 != 0 || header.reserved32 != 0) return false;
  if (header.payload_bytes < kMarkPayloadBytes ||
      header.payload_bytes > bytes.size() - kHeaderBytes)
    return false;
  const Address batch_begin{load<uint64_t>(bytes.data() + kHeaderBytes)};
  if (batch_begin < durable || batch_begin >= at) return false;
  return all_zero(bytes.subspan(kLeastMarkBytes, header.payload_bytes - kMarkPayloadBytes));
}

// Looks for whole batches beyond the first hole. Other bytes there say nothing: a recycled segment
// is full of stale ones.
Result<> look_beyond(const SegmentFiles& segments, uint64_t page_bytes, Address durable,
                     Address hole, RecoveredLog& found) {
  DiskSource source(segments);
  // A page at a time and one more: a mark never crosses a page.
  TAILRACE_ASSIGN_OR_RETURN(auto page, storage::AlignedBuffer::allocate(page_bytes));
  for (const uint64_t index : segments.indexes()) {
    const Address segment_begin{index * segments.segment_bytes()};
    const Address segment_end = segment_begin + segments.segment_bytes();
    if (segment_end <= durable) continue;
    for (Address at = std::max(segment_begin, Address{align_down(durable.value, page_bytes)});
         at < segment_end; at = at + page_bytes) {
      TAILRACE_RETURN_IF_ERROR(source.read(at, page_bytes, page.span()));
      const uint64_t skip = at < durable ? durable - at : 0;
      const ByteSpan bytes = ByteSpan(page.span()).subspan(skip);
      if (all_zero(bytes)) continue;
      for (uint64_t offset = skip; offset + kLeastMarkBytes <= page_bytes;
           offset += kRecordAlignment) {
        if (page.data()[offset + offsetof(RecordHeader, kind)] !=
                std::byte{static_cast<uint8_t>(RecordKind::kCommitMark)} ||
            at + offset <= hole)
          continue;
        const ByteSpan left = ByteSpan(page.span()).subspan(offset);
        if (!may_be_mark(at + offset, left, durable)) continue;
        const ParseOutcome outcome = parse_record(at + offset, left, page_bytes);
        if (outcome.status != ParseStatus::kOk || mark_of(outcome.record).batch_begin < durable)
          continue;
        found.report.discarded_end = std::max(found.report.discarded_end, outcome.record.end);
        if (found.report.valid_beyond_hole) continue;
        TAILRACE_ASSIGN_OR_RETURN(found.report.valid_beyond_hole,
                                  batch_is_whole(source, outcome.record, page_bytes));
      }
    }
  }
  return {};
}

}  // namespace

Result<RecoveredLog> scan_log(storage::FileSystem& file_system, const SegmentFiles& segments,
                              const LogMetadata& metadata,
                              const std::function<void(uint64_t, uint64_t)>& progress) {
  RecoveredLog found;
  Address durable = metadata.begin;
  Address end = contiguous_end(segments, metadata.begin);
  // A truncation of the suffix was cut short: what lies beyond is dead already.
  if (metadata.cut != Address{}) end = std::min(end, metadata.cut);
  // The epoch of what was before begin; all later ones are read from the records. (Where META knows
  // none before begin, the one that begins there.)
  for (const EpochStart& epoch : metadata.epochs) {
    if (epoch.start < metadata.begin || (found.epochs.empty() && epoch.start == metadata.begin))
      found.epochs = {epoch};
  }
  std::vector<EpochStart> unfinished = found.epochs;
  // Likewise the configuration in force there.
  for (const ConfigurationRecord& each : metadata.configurations) {
    if (each.end <= metadata.begin) found.configurations = {each};
  }
  ConfigurationTable unfinished_configurations;
  found.marks.push_back(metadata.begin);

  TAILRACE_ASSIGN_OR_RETURN(auto source, ReadAheadSource::create(file_system, segments, end));
  RecordReader reader(*source, metadata.page_bytes, kReadAheadStep);
  reader.seek(metadata.begin);
  uint64_t told = 0;
  const auto hole = [&](Address at, std::string_view reason) {
    found.hole = at;
    found.hole_reason = reason;
  };
  if (metadata.begin == kFirstAddress && segments.file(0)) {
    TAILRACE_ASSIGN_OR_RETURN(auto first, storage::AlignedBuffer::allocate(storage::kBlockBytes));
    TAILRACE_RETURN_IF_ERROR(segments.read_aligned(Address{}, first.span()));
    if (!all_zero(ByteSpan(first.span()).first(kFirstAddress.value)))
      return make_error(ErrorCode::kCorruption,
                        segments.path_of(Address{}).string() +
                            ": the bytes before the first record are not zero");
  }
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(auto step, reader.next(end));
    if (step.status == RecordReader::Status::kEnd) {
      hole(next_record_address(reader.position(), metadata.page_bytes), "the files end here");
      break;
    }
    if (step.status == RecordReader::Status::kBad) {
      hole(step.bad_at, step.reason);
      break;
    }
    const ParsedRecord& record = step.record;
    if (unfinished.empty() || record.epoch > unfinished.back().epoch) {
      unfinished.push_back({record.epoch, record.address});
    } else if (record.epoch < unfinished.back().epoch) {
      hole(record.address, "a record of an older epoch after a newer one");
      break;
    }
    if (record.kind == RecordKind::kConfiguration)
      unfinished_configurations.push_back(configuration_of(record));
    if (record.kind == RecordKind::kCommitMark) {
      if (mark_of(record).batch_begin != durable) {
        hole(record.address, "a commit mark that does not continue the one before");
        break;
      }
      durable = record.end;
      found.newest_time_ns = std::max(found.newest_time_ns, mark_of(record).unix_time_ns);
      found.epochs = unfinished;
      std::move(unfinished_configurations.begin(), unfinished_configurations.end(),
                std::back_inserter(found.configurations));
      unfinished_configurations.clear();
      if (durable - found.marks.back() >= metadata.page_bytes) found.marks.push_back(durable);
    }
    if (progress && record.end - metadata.begin >= told + kProgressBytes) {
      told = record.end - metadata.begin;
      progress(told, end - metadata.begin);
    }
  }
  found.report.begin = metadata.begin;
  found.report.durable = durable;
  // Sound records of a batch that has no mark.
  found.report.discarded_end = std::max(durable, found.hole);
  found.report.scanned_bytes = found.hole > metadata.begin ? found.hole - metadata.begin : 0;
  found.report.last_epoch = found.epochs.empty() ? Epoch{} : found.epochs.back().epoch;
  if (durable < metadata.proven)
    return make_error(
        ErrorCode::kCorruption,
        segments.path_of(found.hole).string() + ": bad record at address " +
            std::to_string(found.hole.value) + " (" + found.hole_reason + "), below address " +
            std::to_string(metadata.proven.value) +
            ", up to which this log was once on the disk. Nothing was changed. Where other nodes "
            "have "
            "the data, move the data directory away and start the node; on a single node `tailrace "
            "log check` lists what is bad and `tailrace log repair` says what it would keep.");
  if (!metadata.clean && metadata.cut == Address{})
    TAILRACE_RETURN_IF_ERROR(
        look_beyond(segments, metadata.page_bytes, durable, found.hole, found));
  return found;
}

Result<> sync_unproven(const SegmentFiles& segments, Address proven, Address durable) {
  for (uint64_t index = segments.index_of(proven); index < segments.index_of(durable); ++index) {
    if (const auto file = segments.file(index)) TAILRACE_RETURN_IF_ERROR(file->sync());
  }
  return {};
}

Result<> discard_beyond(SegmentFiles& segments, Address begin, Address durable) {
  TAILRACE_RETURN_IF_ERROR(segments.remove_before(segments.index_of(begin)));
  const uint64_t index = segments.index_of(durable);
  TAILRACE_RETURN_IF_ERROR(segments.remove_from(index + 1));
  const std::shared_ptr<storage::File> file = segments.file(index);
  if (!file) return {};
  // The block that durable lies in is rewritten with the same bytes below it.
  const Address block_begin{align_down(durable.value, storage::kBlockBytes)};
  const uint64_t kept_below =
      align_up(durable.value, storage::kBlockBytes) - index * segments.segment_bytes();
  if (block_begin != durable) {
    TAILRACE_ASSIGN_OR_RETURN(auto block, storage::AlignedBuffer::allocate(storage::kBlockBytes));
    const uint64_t kept = durable - block_begin;
    TAILRACE_RETURN_IF_ERROR(
        segments.read_aligned(block_begin, block.span(), durable == kFirstAddress ? 0 : kept));
    std::memset(block.data() + kept, 0, storage::kBlockBytes - kept);
    TAILRACE_RETURN_IF_ERROR(
        file->write_at(block_begin.value % segments.segment_bytes(), block.span()));
  }
  return segments.zero_from(index, kept_below);
}

}  // namespace tailrace::fasterlog
