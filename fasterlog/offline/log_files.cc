#include "fasterlog/offline/log_files.h"

#include <algorithm>
#include <bit>

#include "fasterlog/offline/damage_walker.h"

namespace tailrace::fasterlog {

namespace {

constexpr uint64_t kLeastPageBytes = 64u << 10;
constexpr uint64_t kMostPageBytes = 64u << 20;
// Two pages of the greatest size: whatever the size, a page's end lies within.
constexpr uint64_t kEvidenceBytes = 2 * kMostPageBytes;

// Segments are allocated whole, so the longest file has the size; and each begins at a multiple.
Result<uint64_t> find_segment_bytes(storage::FileSystem& file_system,
                                    const storage::Path& directory,
                                    const std::vector<std::string>& names) {
  uint64_t longest = kLeastPageBytes;
  uint64_t alignment = uint64_t{1} << 62;
  for (const std::string& name : names) {
    const auto first = parse_segment_name(name);
    if (!first) continue;
    auto file = file_system.open(directory / name, {storage::OpenMode::kReadOnly, false});
    if (!file && file.error().code == ErrorCode::kNotFound) continue;
    if (!file) return tl::unexpected(std::move(file).error());
    TAILRACE_ASSIGN_OR_RETURN(const auto size, (*file)->size());
    longest = std::max(longest, size);
    if (*first != 0) alignment = std::min(alignment, uint64_t{1} << std::countr_zero(*first));
  }
  if (longest > alignment || std::bit_ceil(longest) > alignment)
    return make_error(ErrorCode::kInvalidArgument,
                      directory.string() +
                          ": the segments' names and lengths do not agree on a "
                          "segment size; give it (--segment-bytes)");
  return std::bit_ceil(longest);
}

struct Evidence {
  uint64_t sound_bytes = 0;
  uint64_t interruptions = 0;
};

// How well the segments read with that page size.
Result<Evidence> read_with(const SegmentFiles& segments, uint64_t page_bytes, Address from,
                           Address end) {
  DamageWalker walker(segments, page_bytes);
  walker.seek(from, std::min(end, from + kEvidenceBytes));
  Evidence evidence;
  for (bool interrupted = false;;) {
    TAILRACE_ASSIGN_OR_RETURN(auto step, walker.next());
    if (step.status == DamageWalker::Status::kEnd) return evidence;
    if (step.status == DamageWalker::Status::kBad) {
      interrupted = true;
      continue;
    }
    evidence.sound_bytes += step.record.end - step.record.address;
    evidence.interruptions += interrupted ? 1 : 0;
    interrupted = false;
  }
}

// A wrong size cuts records in two or takes the padding at a page's end for damage.
Result<std::vector<uint32_t>> find_page_bytes(const SegmentFiles& segments, Address from,
                                              Address end) {
  std::vector<uint32_t> best;
  Evidence most;
  for (uint64_t page_bytes = kLeastPageBytes;
       page_bytes <= std::min(kMostPageBytes, segments.segment_bytes()); page_bytes *= 2) {
    TAILRACE_ASSIGN_OR_RETURN(auto evidence, read_with(segments, page_bytes, from, end));
    const bool equal =
        evidence.sound_bytes == most.sound_bytes && evidence.interruptions == most.interruptions;
    const bool better =
        evidence.sound_bytes > most.sound_bytes ||
        (evidence.sound_bytes == most.sound_bytes && evidence.interruptions < most.interruptions);
    if (best.empty() || better) {
      best.clear();
      most = evidence;
    } else if (!equal) {
      continue;
    }
    best.push_back(static_cast<uint32_t>(page_bytes));
  }
  return best;
}

Result<> find_without_metadata(storage::FileSystem& file_system, LogSizes known, LogFiles& files) {
  if (std::none_of(files.names.begin(), files.names.end(),
                   [](const std::string& name) { return parse_segment_name(name).has_value(); })) {
    // Nothing to go by: what is wrong with META is all there is to say.
    return tl::unexpected(*files.metadata_error);
  }
  uint64_t segment_bytes = known.segment_bytes;
  if (segment_bytes == 0) {
    TAILRACE_ASSIGN_OR_RETURN(segment_bytes,
                              find_segment_bytes(file_system, files.directory, files.names));
  }
  TAILRACE_RETURN_IF_ERROR(
      check_log_sizes(known.page_bytes == 0 ? kLeastPageBytes : known.page_bytes, segment_bytes));
  files.segments = std::make_unique<SegmentFiles>(file_system, files.directory, segment_bytes);
  TAILRACE_ASSIGN_OR_RETURN(files.misplaced, files.segments->open_readable());
  files.metadata.segment_bytes = segment_bytes;
  const std::vector<uint64_t> indexes = files.segments->indexes();
  const uint64_t first = indexes.empty() ? 0 : indexes.front() * segment_bytes;
  files.metadata.begin = files.metadata.proven = std::max(kFirstAddress, Address{first});
  if (known.page_bytes != 0) {
    files.possible_page_bytes = {static_cast<uint32_t>(known.page_bytes)};
  } else {
    TAILRACE_ASSIGN_OR_RETURN(files.possible_page_bytes,
                              find_page_bytes(*files.segments, files.metadata.begin, files.end()));
  }
  const auto usual = std::find(files.possible_page_bytes.begin(), files.possible_page_bytes.end(),
                               LogOptions{}.page_bytes);
  files.metadata.page_bytes = usual == files.possible_page_bytes.end()
                                  ? files.possible_page_bytes.front()
                                  : LogOptions{}.page_bytes;
  return {};
}

}  // namespace

bool LogFiles::has(std::string_view name) const {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Address LogFiles::end() const {
  const std::vector<uint64_t> indexes = segments->indexes();
  return Address{indexes.empty() ? 0 : (indexes.back() + 1) * segments->segment_bytes()};
}

Result<LogFiles> open_log_files(storage::FileSystem& file_system, const storage::Path& directory,
                                LogSizes known) {
  LogFiles files;
  files.directory = directory;
  TAILRACE_ASSIGN_OR_RETURN(files.names, file_system.list(directory));
  auto metadata = read_log_metadata(file_system, directory);
  if (metadata) {
    files.metadata = std::move(*metadata);
    files.segments =
        std::make_unique<SegmentFiles>(file_system, directory, files.metadata.segment_bytes);
    TAILRACE_ASSIGN_OR_RETURN(files.misplaced, files.segments->open_readable());
    return files;
  }
  const ErrorCode code = metadata.error().code;
  if (code != ErrorCode::kNotFound && code != ErrorCode::kCorruption && code != ErrorCode::kIo)
    return tl::unexpected(std::move(metadata).error());
  files.metadata_error = std::move(metadata).error();
  TAILRACE_RETURN_IF_ERROR(find_without_metadata(file_system, known, files));
  return files;
}

}  // namespace tailrace::fasterlog
