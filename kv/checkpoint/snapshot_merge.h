#pragma once
// The snapshots that a checkpoint consists of, put together again: block by block the newest one
// that has it. Reads all files at the same time, in ascending order of address.

#include <memory>
#include <vector>

#include "kv/checkpoint/chunk_file.h"
#include "kv/checkpoint/files.h"

namespace tailrace::kv {

class SnapshotMerge {
 public:
  static Result<std::unique_ptr<SnapshotMerge>> create(const CheckpointDirectory& directory,
                                                       const Manifest& manifest);
  /// Fills `into` with the log's bytes from `address` on, within one page and without its header.
  /// Calls come in ascending order. kCorruption when a block is in none of the files.
  Result<> fill(LogAddress address, MutableByteSpan into);
  /// After the last fill: the files hold no more than they should, and are what the manifest says.
  Result<> finish();

 private:
  SnapshotMerge(const Manifest& manifest, storage::Path newest)
      : end_(manifest.info.end), newest_(std::move(newest)) {}

  const LogAddress end_;
  const storage::Path newest_;                            // for messages
  std::vector<std::unique_ptr<SnapshotReader>> readers_;  // oldest first
  std::vector<bool> filled_;                              // by block of the present call
};

}  // namespace tailrace::kv
