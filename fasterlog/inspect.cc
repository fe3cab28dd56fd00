#include "fasterlog/inspect.h"

#include "fasterlog/record_reader.h"
#include "fasterlog/segment_files.h"

namespace tailrace::fasterlog {

Result<InspectReport> inspect(storage::FileSystem& file_system, const storage::Path& directory) {
  auto metadata = read_log_metadata(file_system, directory);
  if (!metadata) return tl::unexpected(std::move(metadata).error());
  SegmentFiles segments(file_system, directory, metadata->segment_bytes);
  TAILRACE_RETURN_IF_ERROR(segments.open_existing(false));
  InspectReport report;
  report.metadata = *metadata;
  uint64_t end_index = segments.index_of(metadata->begin);
  while (segments.file(end_index))
    ++end_index;
  for (const uint64_t index : segments.indexes()) {
    const Address first{index * metadata->segment_bytes};
    report.segments.push_back({segment_name(first.value), first});
  }
  const Address end = std::max(metadata->begin, Address{end_index * metadata->segment_bytes});
  DiskSource source(segments);
  RecordReader reader(source, metadata->page_bytes, 4u << 20);
  reader.seek(metadata->begin);
  report.durable = metadata->begin;
  for (const EpochStart& epoch : metadata->epochs) {
    if (epoch.start <= metadata->begin) report.epochs = {epoch};
  }
  std::vector<EpochStart> unfinished = report.epochs;
  uint64_t records = 0;
  for (;;) {
    auto step = reader.next(end);
    if (!step) return tl::unexpected(std::move(step).error());
    if (step->status != RecordReader::Status::kRecord) {
      const bool bad = step->status == RecordReader::Status::kBad;
      report.first_bad = bad ? step->bad_at : reader.position();
      report.first_bad_reason = bad ? step->reason : "the files end here";
      break;
    }
    const ParsedRecord& record = step->record;
    report.first_bad = record.address;
    if (!unfinished.empty() && record.epoch < unfinished.back().epoch) {
      report.first_bad_reason = "a record of an older epoch after a newer one";
      break;
    }
    if (unfinished.empty() || record.epoch > unfinished.back().epoch)
      unfinished.push_back({record.epoch, record.address});
    if (record.kind == RecordKind::kCommitMark) {
      if (mark_of(record).batch_begin != report.durable) {
        report.first_bad_reason = "a commit mark that does not continue the one before";
        break;
      }
      report.durable = record.end;
      report.epochs = unfinished;
      report.records = records;
      ++report.batches;
    } else if (record.kind != RecordKind::kPadding) {
      ++records;
    }
  }
  report.first_bad_file = segments.path_of(report.first_bad).string();
  report.damaged = report.durable < metadata->proven;
  return report;
}

}  // namespace tailrace::fasterlog
