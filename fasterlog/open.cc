// Opening: everything is parsed before anything is changed.
#include <algorithm>

#include "fasterlog/log_impl.h"
#include "fasterlog/time/log_time.h"

namespace tailrace::fasterlog {

namespace {

Result<> check_options(const LogOptions& options) {
  TAILRACE_RETURN_IF_ERROR(check_log_sizes(options.page_bytes, options.segment_bytes));
  if (options.buffer_pages < 4 || (options.buffer_pages & (options.buffer_pages - 1)) != 0)
    return make_error(ErrorCode::kInvalidArgument,
                      "buffer_pages is " + std::to_string(options.buffer_pages) +
                          "; it must be a power of two and at least 4");
  if (options.flushes_in_flight < 1 || options.flushes_in_flight > 64)
    return make_error(ErrorCode::kInvalidArgument, "flushes_in_flight is " +
                                                       std::to_string(options.flushes_in_flight) +
                                                       "; it must be 1 to 64");
  if (!(options.pressure_fraction > 0 && options.pressure_fraction <= 0.5))
    return make_error(ErrorCode::kInvalidArgument, "pressure_fraction is " +
                                                       std::to_string(options.pressure_fraction) +
                                                       "; it must be above 0 and at most 0.5");
  if (options.commit.every.count() < 0)
    return make_error(ErrorCode::kInvalidArgument, "commit.every is negative");
  return {};
}

Result<LogMetadata> read_or_create(storage::FileSystem& file_system, const LogOptions& options) {
  auto metadata = read_log_metadata(file_system, options.directory);
  if (metadata) {
    TAILRACE_RETURN_IF_ERROR(check_log_fits(*metadata, options));
    return metadata;
  }
  if (metadata.error().code != ErrorCode::kNotFound) return metadata;
  TAILRACE_ASSIGN_OR_RETURN(auto names, file_system.list(options.directory));
  for (const std::string& name : names) {
    if (parse_segment_name(name))
      return make_error(ErrorCode::kCorruption,
                        options.directory.string() + " has the segment " + name + " but no " +
                            kMetadataName +
                            ": restore it, or copy the log from a peer; "
                            "where there is none, `tailrace log check` says "
                            "what the segments hold and `tailrace log "
                            "repair --rebuild-meta` makes it anew");
  }
  LogMetadata fresh;
  fresh.owner = options.owner;
  fresh.page_bytes = options.page_bytes;
  fresh.segment_bytes = options.segment_bytes;
  TAILRACE_RETURN_IF_ERROR(write_log_metadata(file_system, options.directory, fresh));
  return fresh;
}

}  // namespace

Result<> load_tail_page(LogCore& core, Address tail) {
  const Address page = core.ring.page_floor(tail);
  if (tail != page && core.segments.file(core.segments.index_of(page))) {
    const uint64_t bytes = align_up(tail - page, storage::kBlockBytes);
    // Of an empty log's first segment nothing need be there. What else is missing would be written
    // over with zeros by the next flush.
    const uint64_t written = tail == kFirstAddress ? 0 : tail - page;
    TAILRACE_RETURN_IF_ERROR(
        core.segments.read_aligned(page, {core.ring.at(page), bytes}, written));
    // Recovery has checked what it read then; this was read again. Readers check nothing that is in
    // memory.
    const Address from = std::max(page, Address{core.begin.load()});
    const auto checked =
        check_records(from, {core.ring.at(from), tail - from}, core.options.page_bytes);
    if (!checked)
      return tl::unexpected(with_context(core.segments.path_of(page).string(), checked.error()));
  }
  core.ring.set_head(page);
  core.ring.set_tail(tail);
  return {};
}

Result<> Log::create_at(storage::FileSystem& file_system, const LogOptions& options, Address begin,
                        std::vector<EpochStart> epochs, ConfigurationTable configurations) {
  TAILRACE_RETURN_IF_ERROR(check_options(options));
  const auto possible = [&](const EpochStart& epoch) { return epoch.start < begin; };
  if (begin < kFirstAddress || begin > kMostAddress || begin.value % kRecordAlignment != 0 ||
      !std::all_of(epochs.begin(), epochs.end(), possible))
    return make_error(ErrorCode::kInvalidArgument, "a log cannot begin at " +
                                                       std::to_string(begin.value) +
                                                       " with an epoch that begins there or later");
  if (!are_possible(configurations, begin))
    return make_error(ErrorCode::kInvalidArgument,
                      "a log that begins at " + std::to_string(begin.value) +
                          " cannot have had these configurations before");
  TAILRACE_RETURN_IF_ERROR(file_system.make_directory(options.directory));
  TAILRACE_ASSIGN_OR_RETURN(auto names, file_system.list(options.directory));
  for (const std::string& name : names) {
    if (name == kMetadataName || parse_segment_name(name))
      return make_error(ErrorCode::kFailedPrecondition,
                        options.directory.string() + " holds a log already");
  }
  LogMetadata fresh;
  fresh.owner = options.owner;
  fresh.page_bytes = options.page_bytes;
  fresh.segment_bytes = options.segment_bytes;
  fresh.begin = fresh.proven = begin;
  fresh.epochs = std::move(epochs);
  fresh.configurations = std::move(configurations);
  return write_log_metadata(file_system, options.directory, fresh);
}

Result<std::unique_ptr<Log>> Log::open(storage::FileSystem& file_system, LogOptions options,
                                       const Clock& clock) {
  TAILRACE_RETURN_IF_ERROR(check_options(options));
  TAILRACE_RETURN_IF_ERROR(file_system.make_directory(options.directory));
  TAILRACE_ASSIGN_OR_RETURN(auto lock, file_system.lock(options.directory));
  TAILRACE_ASSIGN_OR_RETURN(auto metadata, read_or_create(file_system, options));

  auto core = std::make_unique<LogCore>(file_system, std::move(options), clock, metadata);
  TAILRACE_RETURN_IF_ERROR(core->segments.open_existing(true));
  TAILRACE_ASSIGN_OR_RETURN(auto found, scan_log(file_system, core->segments, metadata,
                                                 core->options.on_recovery_progress));
  TAILRACE_RETURN_IF_ERROR(core->consumers.load());
  TAILRACE_ASSIGN_OR_RETURN(auto queue,
                            file_system.make_queue(Flusher::queue_depth(core->options)));
  TAILRACE_RETURN_IF_ERROR(PageRing::allocate(
      core->ring, core->options.page_bytes, core->options.buffer_pages, core->options.huge_pages));
  // Everything is parsed and all memory is there; from here on the disk is changed.
  TAILRACE_RETURN_IF_ERROR(core->keeper.update([](LogMetadata& next) { next.clean = false; }));
  TAILRACE_RETURN_IF_ERROR(core->consumers.reserve());
  const Address durable = found.report.durable;
  if (core->options.time) core->options.time->marked(found.newest_time_ns);
  TAILRACE_RETURN_IF_ERROR(sync_unproven(core->segments, metadata.proven, durable));
  TAILRACE_RETURN_IF_ERROR(discard_beyond(core->segments, found.report.begin, durable));
  core->proven_at_open = metadata.proven;
  if (metadata.cut != Address{}) {
    TAILRACE_RETURN_IF_ERROR(core->keeper.update([](LogMetadata& next) { next.cut = Address{}; }));
  }
  core->begin.store(found.report.begin.value);
  TAILRACE_RETURN_IF_ERROR(load_tail_page(*core, durable));
  // A crash between a suffix truncation's META and the consumers' file left a position too far.
  TAILRACE_RETURN_IF_ERROR(core->consumers.cut_at(durable));
  core->durable.store(durable.value);
  core->epoch.store(found.report.last_epoch.value);
  {
    const MutexLock tables(core->index_mutex);
    core->marks = std::move(found.marks);
    core->epochs = std::move(found.epochs);
    core->configurations =
        std::make_shared<const ConfigurationTable>(std::move(found.configurations));
  }
  return std::unique_ptr<Log>(
      std::make_unique<LogImpl>(std::move(lock), std::move(core), std::move(queue), found.report));
}

}  // namespace tailrace::fasterlog
