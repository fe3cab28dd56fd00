#include "fasterlog/offline/check_log.h"

#include <algorithm>

#include "fasterlog/engine/consumers.h"
#include "fasterlog/offline/batch_tracker.h"
#include "fasterlog/offline/damage_walker.h"
#include "storage/aligned_buffer.h"
#include "storage/atomic_file.h"

namespace tailrace::fasterlog {

namespace {

constexpr uint64_t kProgressBytes = 16u << 20;
constexpr int kLooks = 3;

/// What follows from the findings alone.
void sum_up(CheckReport& report) {
  report.bad_bytes = 0;
  report.durable = report.last_batch_end;
  for (const Finding& finding : report.findings) {
    if (finding.place != Place::kBelowProven && finding.place != Place::kBelowEnd) continue;
    if (report.bad_bytes == 0) report.durable = finding.whole_before;
    report.bad_bytes += finding.end - finding.first;
  }
}

bool is_payload(RecordKind kind) {
  return kind != RecordKind::kPadding && kind != RecordKind::kCommitMark;
}

/// One look at a log's files.
class Look {
 public:
  Look(storage::FileSystem& file_system, const LogFiles& files, const CheckOptions& options)
      : file_system_(file_system),
        files_(files),
        options_(options),
        start_(files.metadata.begin),
        // Without META the log may begin in the middle of a batch.
        tracker_(start_, files.metadata_error.has_value() && start_ > kFirstAddress,
                 files.metadata.page_bytes, files.metadata.epochs, files.metadata.configurations) {}

  Result<CheckReport> run() {
    report_.metadata = files_.metadata;
    report_.metadata_error = files_.metadata_error;
    report_.possible_page_bytes = files_.possible_page_bytes;
    report_.segments = files_.segments->indexes().size();
    report_.checked_from = report_.last_batch_end = start_;
    report_.checked_to = std::max(files_.end(), files_.metadata.proven);
    if (files_.metadata.cut != Address{})
      report_.checked_to = std::min(report_.checked_to, files_.metadata.cut);
    TAILRACE_RETURN_IF_ERROR(look_at_names());
    TAILRACE_RETURN_IF_ERROR(look_at_first_bytes());
    TAILRACE_RETURN_IF_ERROR(walk());
    conclude();
    TAILRACE_RETURN_IF_ERROR(look_at_consumers());
    return std::move(report_);
  }

 private:
  struct Open {
    Finding finding;
    AddressRange not_zero;
    bool no_file = false;
    bool may_grow = false;
  };

  void add_file(const std::string& name, std::string reason) {
    Finding finding;
    finding.file = files_.path_of(name);
    // Errors name the file themselves.
    const std::string named = finding.file + ": ";
    if (reason.starts_with(named)) reason.erase(0, named.size());
    finding.reason = std::move(reason);
    report_.findings.push_back(std::move(finding));
  }

  Result<> look_at_names() {
    if (files_.metadata_error)
      add_file(kMetadataName, files_.metadata_error->code == ErrorCode::kNotFound
                                  ? "it is missing"
                                  : files_.metadata_error->message);
    const uint64_t segment_bytes = files_.segments->segment_bytes();
    for (const std::string& name : files_.misplaced)
      add_file(name,
               "no segment of " + std::to_string(segment_bytes) + " bytes begins at that address");
    for (const std::string& name : files_.names) {
      if (name == kMetadataName || name == kConsumersName || name == "LOCK" ||
          name == storage::reserve_of(kMetadataName) ||
          name == storage::reserve_of(kConsumersName) || name.ends_with(kSpareSuffix) ||
          parse_segment_name(name))
        continue;
      const bool temporary = name == std::string(kMetadataName) + ".tmp" ||
                             name == std::string(kConsumersName) + ".tmp";
      report_.notes.push_back(files_.path_of(name) +
                              (temporary ? ": left by a replacement that a crash cut short; the "
                                           "next one overwrites it"
                                         : ": not of the log"));
    }
    for (const uint64_t index : files_.segments->indexes()) {
      const Address first{index * segment_bytes};
      const std::string path = files_.segments->path_of(first).string();
      if (first + segment_bytes <= start_)
        report_.notes.push_back(path +
                                ": below begin, left by a truncation that a crash cut "
                                "short; the next open deletes it");
      TAILRACE_ASSIGN_OR_RETURN(const auto size, files_.segments->file(index)->size());
      if (size != segment_bytes)
        report_.notes.push_back(path + ": " + std::to_string(size) + " bytes long; a segment has " +
                                std::to_string(segment_bytes));
    }
    return {};
  }

  Result<> look_at_first_bytes() {
    if (start_ != kFirstAddress || !files_.segments->file(0)) return {};
    TAILRACE_ASSIGN_OR_RETURN(auto block, storage::AlignedBuffer::allocate(storage::kBlockBytes));
    std::string unreadable;
    TAILRACE_RETURN_IF_ERROR(
        read_around_bad_blocks(*files_.segments, Address{}, block.span(), unreadable));
    const ByteSpan bytes = ByteSpan(block.span()).first(kFirstAddress.value);
    if (!unreadable.empty() || all_zero(bytes)) return {};
    BadStretch bad;
    bad.end = kFirstAddress;
    bad.reason = "the bytes before the first record are not zero";
    bad.not_zero = {bad.first, bad.end};
    bad.holds_nothing = true;
    add(bad);
    return {};
  }

  void add(const BadStretch& bad) {
    const SegmentFiles& segments = *files_.segments;
    if (!open_.empty()) {
      Open& last = open_.back();
      if (last.may_grow && !bad.holds_nothing && last.finding.end == bad.first &&
          last.no_file == bad.no_file &&
          segments.index_of(last.finding.first) == segments.index_of(bad.first)) {
        last.finding.end = bad.end;
        if (last.not_zero.empty()) {
          last.not_zero = bad.not_zero;
        } else if (!bad.not_zero.empty()) {
          last.not_zero.end = bad.not_zero.end;
        }
        return;
      }
    }
    Open open;
    open.finding.first = bad.first;
    open.finding.end = bad.end;
    open.finding.file = segments.path_of(bad.first).string();
    open.finding.offset = bad.first.value % segments.segment_bytes();
    open.finding.reason = bad.reason;
    open.finding.holds_nothing = bad.holds_nothing;
    open.finding.whole_before = report_.last_batch_end;
    open.finding.records_before = report_.records;
    open.not_zero = bad.not_zero;
    open.no_file = bad.no_file;
    open.may_grow = !bad.holds_nothing;
    open_.push_back(std::move(open));
  }

  void take(const ParsedRecord& record) {
    report_.sound_bytes += record.end - record.address;
    if (is_payload(record.kind)) ++pending_;
    switch (tracker_.take(record)) {
      case BatchTracker::Verdict::kRecord:
        break;
      case BatchTracker::Verdict::kWholeBatch:
        report_.records += std::exchange(pending_, 0);
        ++report_.batches;
        note_possible_begin(record);
        if (!open_.empty()) ++report_.batches_behind_damage;
        report_.last_batch_end = record.end;
        break;
      case BatchTracker::Verdict::kLostBegin:
        report_.records_outside += std::exchange(pending_, 0);
        break;
      case BatchTracker::Verdict::kBroken:
        report_.records_outside += std::exchange(pending_, 0);
        BadStretch bad;
        bad.first = record.address;
        bad.end = record.end;
        bad.reason = tracker_.reason();
        bad.not_zero = {bad.first, bad.end};
        add(bad);
        open_.back().may_grow = false;
        tracker_.damage(record.end);
        break;
    }
  }

  void note_possible_begin(const ParsedRecord& mark) {
    if (report_.possible_begin != Address{}) return;
    const bool whole = mark_of(mark).batch_begin == start_;
    report_.possible_begin = whole ? start_ : mark.end;
    if (!whole) report_.records_before_possible_begin = report_.records;
  }

  Result<> walk() {
    DamageWalker walker(*files_.segments, files_.metadata.page_bytes);
    walker.seek(start_, report_.checked_to);
    uint64_t told = 0;
    for (;;) {
      TAILRACE_ASSIGN_OR_RETURN(auto step, walker.next());
      if (step.status == DamageWalker::Status::kEnd) break;
      if (step.status == DamageWalker::Status::kRecord) {
        take(step.record);
      } else {
        add(step.bad);
        if (!step.bad.holds_nothing) {
          report_.records_outside += std::exchange(pending_, 0);
          tracker_.damage(step.bad.end);
        }
      }
      const uint64_t checked = walker.position() > start_ ? walker.position() - start_ : 0;
      if (options_.progress && checked >= told + kProgressBytes) {
        told = checked;
        options_.progress(checked, report_.checked_to - start_);
      }
    }
    report_.records_outside += pending_;
    report_.epochs = tracker_.epochs();
    report_.configurations = tracker_.configurations();
    return {};
  }

  void conclude() {
    const Address proven = files_.metadata.proven;
    const Address last = report_.last_batch_end;
    for (Open& open : open_) {
      Finding& finding = open.finding;
      if (finding.first < proven) {
        finding.place = Place::kBelowProven;
        // Zeros behind proven and behind all batches are as they should be.
        if (finding.first >= last && finding.end > proven)
          finding.end = std::max(proven, open.not_zero.end);
      } else if (finding.first < last) {
        finding.place = Place::kBelowEnd;
      } else {
        finding.place = Place::kBeyond;
        if (open.not_zero.empty() && !open.no_file) continue;
        if (!open.no_file) {
          finding.offset += open.not_zero.first - finding.first;
          finding.first = open.not_zero.first;
          finding.end = open.not_zero.end;
        }
      }
      report_.findings.push_back(std::move(finding));
    }
    sum_up(report_);
  }

  Result<> look_at_consumers() {
    ConsumerTable consumers(file_system_, files_.directory);
    if (auto loaded = consumers.load(); !loaded) {
      if (loaded.error().code == ErrorCode::kUnsupported) return loaded;
      add_file(kConsumersName, loaded.error().message);
      std::rotate(report_.findings.begin(), report_.findings.end() - 1, report_.findings.end());
      return {};
    }
    for (const ConsumerStatus& consumer : consumers.all(report_.durable)) {
      if (consumer.position > report_.last_batch_end)
        report_.notes.push_back(files_.path_of(kConsumersName) + ": consumer '" + consumer.name +
                                "' stands at " + std::to_string(consumer.position.value) +
                                ", behind the log's end; the next open sets it back");
    }
    return {};
  }

  storage::FileSystem& file_system_;
  const LogFiles& files_;
  const CheckOptions& options_;
  const Address start_;
  CheckReport report_;
  BatchTracker tracker_;
  std::vector<Open> open_;
  uint64_t pending_ = 0;  // records whose batch has no verdict yet
};

/// A log in use moves on while it is looked at. What is bad in `report` only because of that is
/// taken out; false when another look would tell more.
Result<bool> settled(storage::FileSystem& file_system, const LogFiles& files, CheckReport& report) {
  if (files.metadata_error) return true;
  // Asked before META is read again: a log that is closed in between has written META before.
  const bool behind_proven =
      std::any_of(report.findings.begin(), report.findings.end(),
                  [](const Finding& finding) { return finding.place == Place::kBelowEnd; });
  if (behind_proven) {
    const auto unlocked = file_system.check_unlocked(files.directory);
    report.in_use = !unlocked && unlocked.error().code == ErrorCode::kInUse;
  }
  auto now = read_log_metadata(file_system, files.directory);
  if (!now) return !report.damaged();
  report.in_use = report.in_use || *now != files.metadata;
  if (!report.damaged() || !report.in_use) return true;
  // Segments below begin are given away and overwritten.
  std::erase_if(report.findings, [&](const Finding& finding) {
    return finding.place != Place::kFile && finding.end <= now->begin;
  });
  // Nothing changes below proven. Behind it several flushes are on their way to the disk at once,
  // and a later one may be there before an earlier one.
  for (Finding& finding : report.findings) {
    if (finding.place != Place::kBelowEnd) continue;
    finding.place = Place::kBeyond;
    finding.reason += " (may be on its way to the disk: the log is in use)";
  }
  sum_up(report);
  // Its end may have been cut off and written anew.
  return !report.damaged() || now->proven >= files.metadata.proven;
}

}  // namespace

std::string_view name_of(Place place) {
  switch (place) {
    case Place::kFile:
      return "file";
    case Place::kBelowProven:
      return "below_proven";
    case Place::kBelowEnd:
      return "below_end";
    case Place::kBeyond:
      return "beyond";
  }
  return "unknown";
}

bool CheckReport::damaged() const {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.place != Place::kBeyond; });
}

Result<CheckReport> check_log(storage::FileSystem& file_system, const storage::Path& directory,
                              const CheckOptions& options) {
  bool moved = false;
  for (int look = 1;; ++look) {
    TAILRACE_ASSIGN_OR_RETURN(auto files, open_log_files(file_system, directory, options.sizes));
    TAILRACE_ASSIGN_OR_RETURN(auto report, Look(file_system, files, options).run());
    TAILRACE_ASSIGN_OR_RETURN(auto done, settled(file_system, files, report));
    report.in_use = report.in_use || moved;
    if (done || look == kLooks) return report;
    moved = true;
  }
}

}  // namespace tailrace::fasterlog
