#include "kv/checkpoint/check.h"

#include <algorithm>
#include <vector>

#include "kv/checkpoint/snapshot_merge.h"
#include "kv/log/format.h"

namespace tailrace::kv {

namespace {

/// Every block that is not in the log's files, as recovery puts them together.
Result<> check_snapshots(const CheckpointDirectory& directory, const Manifest& manifest) {
  if (manifest.snapshots.empty()) return {};
  TAILRACE_ASSIGN_OR_RETURN(auto merge, SnapshotMerge::create(directory, manifest));
  const uint64_t first_offset = page_header_bytes(manifest.page_bytes);
  std::vector<std::byte> page(manifest.page_bytes);
  LogAddress at = manifest.flushed;
  while (at < manifest.info.end) {
    const LogAddress start = align_down(at, manifest.page_bytes);
    at = std::max(at, start + first_offset);
    const LogAddress end = std::min(manifest.info.end, start + manifest.page_bytes);
    if (at < end) {
      TAILRACE_RETURN_IF_ERROR(merge->fill(at, MutableByteSpan(page).first(end - at)));
    }
    at = start + manifest.page_bytes;
  }
  return merge->finish();
}

}  // namespace

Result<> check_settings(const CheckpointDirectory& directory, const Manifest& manifest,
                        const StoreOptions& options) {
  const std::string path = directory.path_of(manifest.token()).string();
  if (manifest.owner != options.owner) {
    return make_error(ErrorCode::kFailedPrecondition, path + " belongs to '" + manifest.owner +
                                                          "', not to '" + options.owner +
                                                          "'; nothing was changed");
  }
  if (manifest.format > 1 && (manifest.page_bytes != options.page_bytes ||
                              manifest.segment_bytes != options.segment_bytes)) {
    return make_error(ErrorCode::kFailedPrecondition,
                      path +
                          " was written with page_bytes = " + std::to_string(manifest.page_bytes) +
                          " and segment_bytes = " + std::to_string(manifest.segment_bytes) +
                          ", not " + std::to_string(options.page_bytes) + " and " +
                          std::to_string(options.segment_bytes) + "; nothing was changed");
  }
  return {};
}

Result<> check_contents(const CheckpointDirectory& directory, const Manifest& manifest,
                        LogSegments& segments, const LogVerifier::Sink& log_sink) {
  storage::FileSystem& file_system = directory.file_system();
  if (manifest.index) {
    const ChunkFile& file = manifest.index->file;
    TAILRACE_RETURN_IF_ERROR(
        check_chunks(file_system, directory.index_path(file.token), kIndexChunk, file));
  }
  if (manifest.info.kind == CheckpointKind::kIndexOnly) return {};
  TAILRACE_RETURN_IF_ERROR(check_snapshots(directory, manifest));
  if (manifest.info.begin == manifest.flushed) return {};
  TAILRACE_ASSIGN_OR_RETURN(auto verifier,
                            LogVerifier::create(file_system, segments, manifest.page_bytes));
  return verifier->verify(manifest.info.begin, manifest.flushed, 0, log_sink);
}

}  // namespace tailrace::kv
