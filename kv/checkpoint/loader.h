#pragma once
// Makes an engine from a checkpoint. Nothing on disk changes before all of it has been validated,
// so whoever is told of damage can go on with an older checkpoint.
//
// 1. The log: its files up to `flushed`, the snapshots from there to `end`.
// 2. What is in memory is marked: records that do not count (visibility.h) are invalid, those
// beneath
//    are ordinary ones, locks and seals are gone.
// 3. The index: the image, and over it, in order, the records from where it began to `end`; all
//    records without an image. The table is at least as large as the one the records were chained
//    by: then the newest record that counts leads to all older ones of its chain.
//
// Several threads check blocks, mark records and set entries, each a part of the log (log_parts.h).
// An entry only ever goes to a greater address, so the order in which they come does not matter.

#include <functional>
#include <memory>
#include <string_view>

#include "kv/checkpoint/files.h"
#include "kv/engine/engine.h"
#include "kv/log/parts.h"
#include "kv/types/checkpoint.h"
#include "kv/types/options.h"

namespace tailrace::kv {

HybridLog::Options log_options(const StoreOptions& options);

class CheckpointLoader {
 public:
  CheckpointLoader(storage::FileSystem& file_system, const StoreOptions& options,
                   const CheckpointDirectory& directory, storage::EpochProtection& protection,
                   LogProbe& log_probe, EngineProbe& engine_probe)
      : file_system_(file_system),
        options_(options),
        directory_(directory),
        protection_(protection),
        log_probe_(log_probe),
        engine_probe_(engine_probe) {}

  /// kCorruption: damaged, or its files are missing.
  Result<std::unique_ptr<Engine>> load(const Manifest& manifest);

  /// The pairs of a checkpoint of version 1: first only read and checked, then into an empty store.
  Result<> check_pairs(const Manifest& manifest);
  Result<std::unique_ptr<Engine>> load_pairs(const Manifest& manifest);
  /// Removes what an earlier life has left of the log.
  Result<std::unique_ptr<Engine>> empty();

 private:
  Result<std::unique_ptr<HybridLog>> load_log(const Manifest& manifest);
  void mark(Engine& engine, const Manifest& manifest);
  unsigned threads() const;
  Result<> load_index(Engine& engine, const Manifest& manifest);
  Result<> load_image(Engine& engine, const IndexImage& image);
  /// Sets the entries of all records in [from, until) that count.
  Result<> scan(Engine& engine, LogAddress from, LogAddress until);
  /// The same for a part of the log that is on disk, or in memory.
  Result<> scan_disk(Engine& engine, LogAddress from, LogAddress until, unsigned worker,
                     SharedProgress& progress);
  Result<> scan_memory(Engine& engine, LogAddress from, LogAddress until);
  void tell(std::string_view stage, uint64_t done, uint64_t total) const;

  storage::FileSystem& file_system_;
  const StoreOptions& options_;
  const CheckpointDirectory& directory_;
  storage::EpochProtection& protection_;
  LogProbe& log_probe_;
  EngineProbe& engine_probe_;
};

}  // namespace tailrace::kv
