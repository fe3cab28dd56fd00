#include "fasterlog/offline/dump_log.h"

#include <algorithm>
#include <variant>

#include "fasterlog/offline/batch_tracker.h"
#include "fasterlog/offline/damage_walker.h"

namespace tailrace::fasterlog {

namespace {

/// A record whose batch is not known to be whole yet.
struct HeldRecord {
  DumpedRecord record;  // without its payload
  size_t payload_at = 0, payload_bytes = 0;
};

class Dump {
 public:
  Dump(const LogFiles& files, const DumpOptions& options, const DumpVisitor& visitor)
      : files_(files),
        options_(options),
        visitor_(visitor),
        begin_(files.metadata.begin),
        // Every page begins with a record.
        start_(
            std::max(begin_, Address{align_down(options.from.value, files.metadata.page_bytes)})),
        tracker_(start_, start_ > begin_ || (files.metadata_error && begin_ > kFirstAddress),
                 files.metadata.page_bytes, files.metadata.epochs) {}

  Result<> run() {
    Address end = std::max(files_.end(), files_.metadata.proven);
    if (files_.metadata.cut != Address{}) end = std::min(end, files_.metadata.cut);
    DamageWalker walker(*files_.segments, files_.metadata.page_bytes);
    walker.seek(start_, end);
    while (!over_) {
      TAILRACE_ASSIGN_OR_RETURN(auto step, walker.next());
      if (step.status == DamageWalker::Status::kEnd) break;
      if (step.status == DamageWalker::Status::kRecord) {
        TAILRACE_RETURN_IF_ERROR(take(step.record));
      } else {
        TAILRACE_RETURN_IF_ERROR(damage(step.bad));
      }
    }
    // Without META nothing tells a damaged last batch from one that was never finished.
    if (options_.skip_damage && files_.metadata_error && !over_) {
      while (!held_.empty() && std::holds_alternative<BadStretch>(held_.back()))
        held_.pop_back();
      return hand_out();
    }
    return {};
  }
  Address bad_at() const { return bad_at_; }

 private:
  Result<> take(const ParsedRecord& record) {
    // Beyond the end of what is wanted only the verdict on a batch that began before matters.
    const bool wanted = record.address >= options_.from && record.address < options_.to &&
                        record.kind != RecordKind::kPadding &&
                        record.kind != RecordKind::kCommitMark;
    if (wanted) hold(record);
    switch (tracker_.take(record)) {
      case BatchTracker::Verdict::kRecord:
        break;
      case BatchTracker::Verdict::kWholeBatch:
        // Back to the batch's beginning, which is behind all damage.
        for (auto held = held_.rbegin(); held != held_.rend(); ++held) {
          auto* one = std::get_if<HeldRecord>(&*held);
          if (one == nullptr || one->record.address < batch_begin_) break;
          one->record.whole_batch = true;
          one->record.batch_time_ns = mark_of(record).unix_time_ns;
        }
        batch_begin_ = record.end;
        TAILRACE_RETURN_IF_ERROR(hand_out());
        break;
      case BatchTracker::Verdict::kLostBegin:
        batch_begin_ = record.end;
        break;
      case BatchTracker::Verdict::kBroken: {
        if (wanted) let_go_of_last();
        BadStretch bad;
        bad.first = record.address;
        bad.end = record.end;
        bad.reason = tracker_.reason();
        tracker_.damage(record.end);
        return damage(bad);
      }
    }
    if (record.end >= options_.to && held_.empty()) over_ = true;
    return {};
  }

  void hold(const ParsedRecord& record) {
    HeldRecord held;
    held.record.address = record.address;
    held.record.end = record.end;
    held.record.epoch = record.epoch;
    held.record.kind = record.kind;
    held.record.whole_batch = false;
    held.record.batch = std::max(batch_begin_, start_);
    held.payload_at = payloads_.size();
    held.payload_bytes = record.payload.size();
    payloads_.insert(payloads_.end(), record.payload.begin(), record.payload.end());
    held_.emplace_back(held);
  }

  void let_go_of_last() {
    payloads_.resize(std::get<HeldRecord>(held_.back()).payload_at);
    held_.pop_back();
  }

  Result<> damage(const BadStretch& bad) {
    if (!bad.holds_nothing) {
      tracker_.damage(bad.end);
      batch_begin_ = bad.end;
    }
    if (bad.first >= options_.to && held_.empty()) {
      over_ = true;
      return {};
    }
    if (bad.end <= options_.from) return {};
    BadStretch* last = held_.empty() ? nullptr : std::get_if<BadStretch>(&held_.back());
    if (last != nullptr && last->end == bad.first && last->reason == bad.reason) {
      last->end = bad.end;
    } else {
      held_.emplace_back(bad);
    }
    // Behind proven it may be the log's end: only a whole batch that follows tells.
    if (bad.first < files_.metadata.proven && !bad.holds_nothing) return hand_out();
    return {};
  }

  Result<> hand_out() {
    for (auto& each : held_) {
      if (over_) break;
      if (auto* held = std::get_if<HeldRecord>(&each)) {
        DumpedRecord& record = held->record;
        if (!record.whole_batch && !options_.skip_damage) continue;
        record.payload = ByteSpan(payloads_).subspan(held->payload_at, held->payload_bytes);
        if (visitor_.record && !visitor_.record(record)) over_ = true;
        continue;
      }
      const auto& bad = std::get<BadStretch>(each);
      const std::string file = files_.segments->path_of(bad.first).string();
      bad_at_ = bad.first;
      if (!options_.skip_damage)
        return make_error(ErrorCode::kCorruption,
                          file + ": damaged at address " + std::to_string(bad.first.value) + " (" +
                              bad.reason + "); --skip-damage goes on behind it");
      if (visitor_.skipped) visitor_.skipped({bad.first, bad.end}, file, bad.reason);
    }
    held_.clear();
    payloads_.clear();
    return {};
  }

  const LogFiles& files_;
  const DumpOptions& options_;
  const DumpVisitor& visitor_;
  const Address begin_;
  const Address start_;
  BatchTracker tracker_;
  Address batch_begin_;  // records from here on belong to the present batch
  std::vector<std::variant<HeldRecord, BadStretch>> held_;
  std::vector<std::byte> payloads_;  // of what is held, one behind the other
  Address bad_at_;                   // the latest damage that was told
  bool over_ = false;
};

}  // namespace

Result<> dump_log(storage::FileSystem& file_system, const storage::Path& directory,
                  const DumpOptions& options, const DumpVisitor& visitor) {
  TAILRACE_ASSIGN_OR_RETURN(auto files, open_log_files(file_system, directory, options.sizes));
  Dump dump(files, options, visitor);
  auto done = dump.run();
  if (done || done.error().code != ErrorCode::kCorruption) return done;
  // Flushes of a log in use arrive in any order: the log ends before the first that is missing.
  if (dump.bad_at() >= files.metadata.proven && !files.metadata_error) {
    const auto unlocked = file_system.check_unlocked(directory);
    if (!unlocked && unlocked.error().code == ErrorCode::kInUse) return {};
  }
  // And a truncation gives segments away, which are overwritten.
  auto now = read_log_metadata(file_system, directory);
  if (!now || now->begin <= dump.bad_at()) return done;
  return make_error(ErrorCode::kTruncated,
                    directory.string() + ": the log in use was truncated up to " +
                        std::to_string(now->begin.value) + " meanwhile; dump from there");
}

}  // namespace tailrace::fasterlog
