#include "fasterlog/offline/inspect.h"

#include <algorithm>
#include <array>

#include "fasterlog/engine/consumers.h"
#include "fasterlog/format/record_reader.h"
#include "fasterlog/format/segment_files.h"
#include "fasterlog/offline/batch_tracker.h"

namespace tailrace::fasterlog {

namespace {

constexpr int kInspections = 3;

uint64_t size_or_zero(const Result<uint64_t>& size) {
  return size ? *size : 0;
}

Result<InspectReport> look(storage::FileSystem& file_system, const LogFiles& files) {
  const LogMetadata& metadata = files.metadata;
  const SegmentFiles& segments = *files.segments;
  InspectReport report;
  report.metadata = metadata;
  report.metadata_error = files.metadata_error;
  uint64_t end_index = segments.index_of(metadata.begin);
  while (segments.file(end_index))
    ++end_index;
  for (const uint64_t index : segments.indexes()) {
    const Address first{index * metadata.segment_bytes};
    report.segments.push_back(
        {segment_name(first.value), first, size_or_zero(segments.file(index)->size())});
  }
  for (const std::string& name : files.names) {
    if (!name.ends_with(kSpareSuffix)) continue;
    // It may have become a segment meanwhile.
    const auto file =
        file_system.open(files.directory / name, {storage::OpenMode::kReadOnly, false});
    if (file) report.spares.push_back({name, size_or_zero((*file)->size())});
  }
  Address end = std::max(metadata.begin, Address{end_index * metadata.segment_bytes});
  // What lies behind a cut is dead, whatever it looks like.
  if (metadata.cut != Address{}) end = std::min(end, metadata.cut);
  DiskSource source(segments);
  RecordReader reader(source, metadata.page_bytes, 4u << 20);
  reader.seek(metadata.begin);
  report.durable = metadata.begin;
  BatchTracker tracker(metadata.begin,
                       report.metadata_error.has_value() && metadata.begin > kFirstAddress,
                       metadata.page_bytes, metadata.epochs);
  uint64_t records = 0;
  std::array<InspectReport::Totals, 256> kinds{}, whole{};  // by kind; of whole batches
  bool nothing_behind = false;
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(auto step, reader.next(end));
    if (step.status != RecordReader::Status::kRecord) {
      const bool bad = step.status == RecordReader::Status::kBad;
      report.first_bad = bad ? step.bad_at : reader.position();
      report.first_bad_reason = bad ? step.reason : "the files end here";
      nothing_behind = next_record_address(report.durable, metadata.page_bytes) ==
                           next_record_address(report.first_bad, metadata.page_bytes) &&
                       (!bad || step.reason == kNothingWritten);
      break;
    }
    const ParsedRecord& record = step.record;
    const BatchTracker::Verdict verdict = tracker.take(record);
    if (verdict == BatchTracker::Verdict::kBroken) {
      report.first_bad = record.address;
      report.first_bad_reason = tracker.reason();
      break;
    }
    if (verdict == BatchTracker::Verdict::kWholeBatch) {
      report.durable = record.end;
      report.records = records;
      ++report.batches;
      whole = kinds;
    } else if (record.kind != RecordKind::kPadding) {
      ++records;
      auto& totals = kinds[static_cast<uint8_t>(record.kind)];
      ++totals.records;
      totals.payload_bytes += record.payload.size();
    }
  }
  for (size_t kind = 0; kind < whole.size(); ++kind) {
    if (whole[kind].records > 0) report.kinds[static_cast<RecordKind>(kind)] = whole[kind];
  }
  report.epochs = tracker.epochs();
  ConsumerTable consumers(file_system, files.directory);
  if (auto loaded = consumers.load(); !loaded) report.consumers_error = std::move(loaded).error();
  report.consumers = consumers.all(report.durable);
  report.first_bad_file = segments.path_of(report.first_bad).string();
  report.damaged = report.durable < metadata.proven;
  if (nothing_behind && !report.damaged) report.first_bad_reason = "the log ends here";
  return report;
}

/// A log in use moves on while it is looked at. False when another look would tell more; what is
/// taken for damage only because of that is no damage.
Result<bool> settled(storage::FileSystem& file_system, const LogFiles& files,
                     InspectReport& report) {
  if (files.metadata_error) return true;
  // Segments are given away, and overwritten, and bytes cut off, only after META said so.
  TAILRACE_ASSIGN_OR_RETURN(auto now, read_log_metadata(file_system, files.directory));
  report.in_use = now != files.metadata;
  // Also where META had proven nothing beyond the begin: the log did not end there.
  const bool truncated = report.first_bad < now.begin;
  if (!report.in_use || (!report.damaged && !truncated)) return true;
  const bool cut = now.cut != Address{} || now.proven < files.metadata.proven;
  if (!truncated && !cut) return false;
  report.damaged = false;
  report.durable = std::max(report.metadata.begin, std::min(now.proven, files.metadata.proven));
  report.first_bad_reason = truncated ? "the log in use was truncated up to " +
                                            std::to_string(now.begin.value) + " meanwhile"
                                      : std::string("the log in use was cut meanwhile");
  return false;
}

}  // namespace

Result<InspectReport> inspect(storage::FileSystem& file_system, const storage::Path& directory,
                              LogSizes sizes) {
  bool moved = false;
  for (int number = 1;; ++number) {
    TAILRACE_ASSIGN_OR_RETURN(auto files, open_log_files(file_system, directory, sizes));
    TAILRACE_ASSIGN_OR_RETURN(auto report, look(file_system, files));
    TAILRACE_ASSIGN_OR_RETURN(auto done, settled(file_system, files, report));
    report.in_use = report.in_use || moved;
    if (done || number == kInspections) return report;
    moved = true;
  }
}

}  // namespace tailrace::fasterlog
