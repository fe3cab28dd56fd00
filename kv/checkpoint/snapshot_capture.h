#pragma once
// Copies the part of the log that is in memory only into a snapshot file, while others write.
//
// All sessions write the next version by then, so no record of the checkpoint's changes; those of
// the next version may, and recovery undoes them. Pages that are evicted meanwhile are on disk by
// then, with all pages before them: the snapshot then begins after them.

#include <atomic>
#include <functional>
#include <optional>

#include "kv/checkpoint/chunk_file.h"
#include "kv/log/hybrid_log.h"
#include "storage/epoch_protection.h"

namespace tailrace::kv {

struct SnapshotCapture {
  /// Only blocks that hold a record which a version in (after, version] wrote, and all from `end`
  /// on.
  struct Changes {
    uint64_t after = 0;
    uint64_t version = 0;
    LogAddress end = 0;
  };

  HybridLog& log;
  storage::EpochProtection& protection;
  /// What is flushed at the beginning; a block's start or the log's begin. At or beyond `until`:
  /// the snapshot is empty.
  LogAddress from = 0;
  LogAddress until = 0;  // sealed, and all writers below it done
  std::optional<Changes> changes;
  std::function<Result<>(uint64_t written_bytes)> progress;  // an error ends it

  struct Captured {
    ChunkFile file;
    LogAddress from = 0;  // below it the log's files have all, not yet synced perhaps
  };
  Result<Captured> write(storage::FileSystem& file_system, const storage::Path& path,
                         uint64_t token) const;
};

}  // namespace tailrace::kv
