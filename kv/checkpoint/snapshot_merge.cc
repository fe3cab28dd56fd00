#include "kv/checkpoint/snapshot_merge.h"

#include <algorithm>
#include <limits>

#include "kv/checkpoint/manifest_fields.h"

namespace tailrace::kv {

using storage::kBlockBytes;

Result<std::unique_ptr<SnapshotMerge>> SnapshotMerge::create(const CheckpointDirectory& directory,
                                                             const Manifest& manifest) {
  std::unique_ptr<SnapshotMerge> merge(
      new SnapshotMerge(manifest, directory.snapshot_path(manifest.token())));
  for (const ChunkFile& file : manifest.snapshots) {
    TAILRACE_ASSIGN_OR_RETURN(
        auto reader,
        SnapshotReader::create(directory.file_system(), directory.snapshot_path(file.token), file));
    merge->readers_.push_back(std::move(reader));
  }
  return merge;
}

Result<> SnapshotMerge::fill(LogAddress address, MutableByteSpan into) {
  const LogAddress first = align_down(address, kBlockBytes);
  const LogAddress end = address + into.size();
  filled_.assign((end - first + kBlockBytes - 1) / kBlockBytes, false);
  for (const auto& reader : readers_) {
    for (;;) {
      TAILRACE_ASSIGN_OR_RETURN(auto block, reader->next_below(end));
      if (!block) break;
      const LogAddress at = block->address;
      // What was flushed while the snapshot was written is read from the log's files.
      if (at < first) continue;
      const LogAddress from = std::max(at, address);
      const uint64_t bytes = std::min(end, at + kBlockBytes) - from;
      std::memcpy(into.data() + (from - address), block->bytes.data() + (from - at), bytes);
      filled_[(at - first) / kBlockBytes] = true;
    }
  }
  const auto missing = std::find(filled_.begin(), filled_.end(), false);
  if (missing == filled_.end()) return {};
  const LogAddress at = first + static_cast<uint64_t>(missing - filled_.begin()) * kBlockBytes;
  return damaged(newest_, 0, "the log's block at " + std::to_string(at) + " is missing");
}

Result<> SnapshotMerge::finish() {
  for (const auto& reader : readers_) {
    TAILRACE_ASSIGN_OR_RETURN(auto block,
                              reader->next_below(std::numeric_limits<LogAddress>::max()));
    if (block) {
      return damaged(newest_, 0,
                     "the log's block at " + std::to_string(block->address) +
                         " lies beyond the checkpoint's end");
    }
  }
  return {};
}

}  // namespace tailrace::kv
