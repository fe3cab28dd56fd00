#include "fasterlog/offline/repair.h"

#include <algorithm>

#include "fasterlog/engine/log_core.h"
#include "fasterlog/engine/recovery.h"
#include "fasterlog/offline/repair_copies.h"
#include "storage/aligned_buffer.h"
#include "storage/atomic_file.h"

namespace tailrace::fasterlog {

namespace {

std::string text(Address address) {
  return std::to_string(address.value);
}

std::string count(uint64_t number, const std::string& what) {
  return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
}

Result<> check_rebuild(const RepairOptions& options, const CheckReport& report) {
  if (!options.rebuild_metadata) {
    if (!report.metadata_error) return {};
    return make_error(ErrorCode::kFailedPrecondition,
                      report.metadata_error->message +
                          ". Nothing was changed. To make META anew from the segments: repair with "
                          "--rebuild-meta --owner CLUSTER/NODE");
  }
  if (!report.metadata_error)
    return make_error(ErrorCode::kFailedPrecondition,
                      "META is sound and says more than the segments do; it is not made anew. "
                      "Repair without --rebuild-meta");
  if (options.owner.empty())
    return make_error(ErrorCode::kInvalidArgument,
                      "a new META needs the log's owner, which the segments do not say: --owner");
  const auto& possible = report.possible_page_bytes;
  if (possible.size() > 1 && report.metadata.page_bytes != LogOptions{}.page_bytes) {
    std::string sizes;
    for (const uint32_t bytes : possible)
      sizes += (sizes.empty() ? "" : ", ") + std::to_string(bytes);
    return make_error(ErrorCode::kInvalidArgument,
                      "the log is too short to tell its page size, which may be any of " + sizes +
                          "; give the one that it is opened with: --page-bytes");
  }
  return {};
}

/// The epochs of what lies before `cut`, as a truncation of the suffix leaves them.
std::vector<EpochStart> epochs_before(const CheckReport& report, Address cut) {
  std::vector<EpochStart> epochs = report.epochs;
  while (!epochs.empty() && epochs.back().start >= cut && epochs.back().start > report.checked_from)
    epochs.pop_back();
  if (cut == kFirstAddress) epochs.clear();
  return epochs;
}

ConfigurationTable configurations_before(const CheckReport& report, Address cut) {
  ConfigurationTable table = report.configurations;
  std::erase_if(table, [&](const ConfigurationRecord& each) { return each.end > cut; });
  return table;
}

class Planner {
 public:
  Planner(storage::FileSystem& file_system, const storage::Path& directory,
          const RepairOptions& options, CheckReport report)
      : file_system_(file_system), directory_(directory), options_(options) {
    plan_.report = std::move(report);
  }

  Result<RepairPlan> run() {
    const CheckReport& report = plan_.report;
    TAILRACE_RETURN_IF_ERROR(check_rebuild(options_, report));
    TAILRACE_ASSIGN_OR_RETURN(names_, file_system_.list(directory_));
    plan_.kept_records = report.records;
    choose_cut();
    take_files_away();
    zero_what_holds_nothing();
    if (plan_.cut) TAILRACE_RETURN_IF_ERROR(cut(*plan_.cut));
    return std::move(plan_);
  }

 private:
  bool has(const std::string& name) const {
    return std::binary_search(names_.begin(), names_.end(), name);
  }
  void change(const std::string& name) {
    if (has(name) &&
        std::find(plan_.changed.begin(), plan_.changed.end(), name) == plan_.changed.end())
      plan_.changed.push_back(name);
  }
  void replace(const std::string& name) {
    change(name);
    change(name + ".tmp");  // a leftover is overwritten, and so is what room is kept in
    change(storage::reserve_of(name).string());
  }
  bool forgets_consumers() const {
    return std::find(plan_.removed.begin(), plan_.removed.end(), kConsumersName) !=
           plan_.removed.end();
  }

  void choose_cut() {
    const CheckReport& report = plan_.report;
    for (const Finding& finding : report.findings) {
      if (finding.place == Place::kFile || finding.place == Place::kBeyond || finding.holds_nothing)
        continue;
      damaged_ = true;
      plan_.cut = finding.whole_before;
      plan_.kept_records = finding.records_before;
      break;
    }
    if (options_.rebuild_metadata) {
      // How far the log was durable is lost with META: what is no whole batch goes, and is copied.
      if (!plan_.cut) plan_.cut = report.last_batch_end;
      LogMetadata metadata = report.metadata;
      metadata.owner = options_.owner;
      metadata.begin = report.checked_from;
      if (metadata.begin != kFirstAddress && report.possible_begin != Address{} &&
          report.possible_begin <= *plan_.cut)
        metadata.begin = report.possible_begin;
      plan_.metadata = metadata;
    }
    if (plan_.cut)
      plan_.lost_records = report.records + report.records_outside - plan_.kept_records;
    if (plan_.metadata && plan_.metadata->begin == report.possible_begin)
      plan_.kept_records -= report.records_before_possible_begin;
  }

  void take_files_away() {
    for (const Finding& finding : plan_.report.findings) {
      const std::string name = storage::Path(finding.file).filename().string();
      if (finding.place != Place::kFile || name == kMetadataName) continue;
      plan_.removed.push_back(name);
      plan_.steps.push_back("remove " + name + ", which is damaged (" + finding.reason + ")" +
                            (name == kConsumersName ? "; all consumers are forgotten" : ""));
    }
  }

  void zero_what_holds_nothing() {
    for (const Finding& finding : plan_.report.findings) {
      if (!finding.holds_nothing || finding.place == Place::kFile ||
          finding.place == Place::kBeyond || (plan_.cut && finding.first >= *plan_.cut))
        continue;
      plan_.zeroed.push_back({finding.first, finding.end});
      const std::string name = storage::Path(finding.file).filename().string();
      change(name);
      plan_.steps.push_back("make bytes " + text(finding.first) + " to " + text(finding.end) +
                            " of " + name + " zero, which hold nothing (" + finding.reason + ")");
    }
  }

  Result<> cut(Address to) {
    const uint64_t segment_bytes = plan_.report.metadata.segment_bytes;
    replace(kMetadataName);
    if (plan_.metadata) {
      std::string step = "make META anew: owner '" + options_.owner + "', page_bytes " +
                         std::to_string(plan_.metadata->page_bytes) + ", segment_bytes " +
                         std::to_string(segment_bytes) + ", begin " + text(plan_.metadata->begin) +
                         ", proven " + text(to);
      if (plan_.report.possible_page_bytes.size() > 1)
        step += "; the log is too short to tell its page size, this is the usual one";
      plan_.steps.push_back(step);
    }
    std::string step = "cut the log at address " + text(to) + ", the end of the last whole batch" +
                       (damaged_ ? " before the first damage" : "") + ": " +
                       count(plan_.kept_records, "record") + " stay";
    if (damaged_ || plan_.lost_records > 0)
      step += ", " + count(plan_.lost_records, "sound record") +
              " behind it will be lost (the copies have them)";
    plan_.steps.push_back(step);
    for (const std::string& name : names_) {
      const auto first = parse_segment_name(name);
      if (!first || *first % segment_bytes != 0 || *first + segment_bytes <= to.value) continue;
      if (*first <= to.value) {
        change(name);
        plan_.steps.push_back("clear " + name + " from byte " + std::to_string(to.value - *first) +
                              " on");
      } else {
        plan_.removed.push_back(name);
        plan_.steps.push_back("remove " + name);
      }
    }
    if (forgets_consumers()) return {};
    ConsumerTable consumers(file_system_, directory_);
    TAILRACE_RETURN_IF_ERROR(consumers.load());
    for (const ConsumerStatus& consumer : consumers.all(to)) {
      if (consumer.position <= to) continue;
      replace(kConsumersName);
      plan_.steps.push_back("set consumer '" + consumer.name + "' back from " +
                            text(consumer.position) + " to " + text(to));
    }
    return {};
  }

  storage::FileSystem& file_system_;
  const storage::Path& directory_;
  const RepairOptions& options_;
  std::vector<std::string> names_;  // sorted
  bool damaged_ = false;            // between the log's beginning and its end
  RepairPlan plan_;
};

Result<RepairPlan> make_plan(storage::FileSystem& file_system, const storage::Path& directory,
                             const RepairOptions& options) {
  TAILRACE_ASSIGN_OR_RETURN(auto report, check_log(file_system, directory, options.check));
  return Planner(file_system, directory, options, std::move(report)).run();
}

Result<> make_zero(SegmentFiles& segments, AddressRange range) {
  const Address from{align_down(range.first.value, storage::kBlockBytes)};
  TAILRACE_ASSIGN_OR_RETURN(auto blocks,
                            storage::AlignedBuffer::allocate(
                                align_up(range.end.value, storage::kBlockBytes) - from.value));
  TAILRACE_RETURN_IF_ERROR(segments.read_aligned(from, blocks.span()));
  std::fill_n(blocks.data() + (range.first - from), range.bytes(), std::byte{0});
  const auto file = segments.file(segments.index_of(from));
  TAILRACE_RETURN_IF_ERROR(file->write_at(from.value % segments.segment_bytes(), blocks.span()));
  return file->sync();
}

Result<> carry_out(storage::FileSystem& file_system, const storage::Path& directory,
                   const RepairPlan& plan) {
  bool any_removed = false;
  for (const Finding& finding : plan.report.findings) {
    const std::string name = storage::Path(finding.file).filename().string();
    if (finding.place != Place::kFile || name == kMetadataName) continue;
    TAILRACE_RETURN_IF_ERROR(file_system.remove(directory / name));
    any_removed = true;
  }
  if (any_removed) TAILRACE_RETURN_IF_ERROR(file_system.sync_directory(directory));
  SegmentFiles segments(file_system, directory, plan.report.metadata.segment_bytes);
  TAILRACE_RETURN_IF_ERROR(segments.open_existing(true));
  for (const AddressRange& range : plan.zeroed)
    TAILRACE_RETURN_IF_ERROR(make_zero(segments, range));
  if (!plan.cut) return {};
  // As a truncation of the suffix (suffix_truncation.cc): once META says cut, an open finishes what
  // a crash leaves.
  const Address to = *plan.cut;
  MetadataKeeper keeper(file_system, directory,
                        plan.metadata ? *plan.metadata : plan.report.metadata);
  TAILRACE_RETURN_IF_ERROR(keeper.update([&](LogMetadata& metadata) {
    metadata.cut = metadata.proven = to;
    metadata.epochs = epochs_before(plan.report, to);
    metadata.configurations = configurations_before(plan.report, to);
    metadata.clean = false;
  }));
  ConsumerTable consumers(file_system, directory);
  TAILRACE_RETURN_IF_ERROR(consumers.load());
  TAILRACE_RETURN_IF_ERROR(consumers.cut_at(to));
  // Segments before begin are no damage; the next open deletes them.
  TAILRACE_RETURN_IF_ERROR(discard_beyond(segments, Address{}, to));
  return keeper.update([](LogMetadata& metadata) { metadata.cut = Address{}; });
}

}  // namespace

Result<RepairPlan> plan_repair(storage::FileSystem& file_system, const storage::Path& directory,
                               const RepairOptions& options) {
  TAILRACE_RETURN_IF_ERROR(file_system.check_unlocked(directory));
  return make_plan(file_system, directory, options);
}

Result<RepairResult> repair_log(storage::FileSystem& file_system, const storage::Path& directory,
                                const RepairOptions& options,
                                const std::function<std::string(const RepairPlan&)>& report_of) {
  // Taking the lock creates its file: not in a directory that is no log.
  TAILRACE_RETURN_IF_ERROR(open_log_files(file_system, directory, options.check.sizes));
  TAILRACE_ASSIGN_OR_RETURN(const auto lock, file_system.lock(directory));
  TAILRACE_ASSIGN_OR_RETURN(auto plan, make_plan(file_system, directory, options));
  RepairResult result;
  if (!plan.nothing_to_do()) {
    std::vector<std::string> names = plan.changed;
    names.insert(names.end(), plan.removed.begin(), plan.removed.end());
    auto copies = copy_for_repair(file_system, directory, names, report_of(plan));
    if (!copies)
      return tl::unexpected(with_context("copy before the repair (the log was not changed)",
                                         std::move(copies).error()));
    result.copies = std::move(*copies);
    if (auto done = carry_out(file_system, directory, plan); !done)
      return tl::unexpected(with_context(
          "repair (the copies in " + result.copies.string() + " are whole; run it again)",
          std::move(done).error()));
  }
  result.plan = std::move(plan);
  return result;
}

}  // namespace tailrace::fasterlog
