#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "storage/file_system.h"

namespace tailrace::kv {

/// When garbage at the log's beginning is cleared away by itself.
struct CompactionOptions {
  bool automatic = true;
  /// Compact while live bytes are less than this share of the log.
  double target_utilisation = 0.5;
  /// Read at most so much of the log a second; 0: no limit. Needing room overrides it.
  uint64_t bytes_per_s = 0;
  /// Not before the log is this long, or takes a quarter of the disk budget.
  uint64_t least_log_bytes = 64u << 20;
  /// Hours of the day (UTC, 0–23, `from` to before `to`, may pass midnight) in which only a full
  /// disk budget starts it; equal: none.
  uint32_t quiet_from_hour = 0;
  uint32_t quiet_to_hour = 0;
};

struct StoreOptions {
  storage::Path directory;           // the log's segments and the checkpoints live below it
  std::string owner;                 // written into each checkpoint, compared at recovery
  uint64_t memory_bytes = 1u << 30;  // of the hybrid log's pages; touched only as they are used
  /// What the log may take on disk; 0: what the disk has. Writes are refused beyond it.
  /// At least four segments.
  uint64_t disk_bytes = 0;
  uint32_t page_bytes = 16u << 20;      // power of two; bounds a record
  uint64_t segment_bytes = 256u << 20;  // of one file; a power of two, at least a page
  uint64_t index_buckets = 1u << 18;    // power of two; 64 bytes each, 7 entries
  bool index_grows =
      true;  // doubles on line when there are more keys than entries, up to 1024-fold
  double mutable_fraction = 0.9;
  bool huge_pages = true;
  /// A record read from disk is copied to the tail, so that the next read finds it in memory.
  bool copy_reads_to_tail = false;
  /// Opening reads the whole log and checks each block; without, a block is checked when it is
  /// read.
  bool check_log_at_open = true;
  /// That check the log and build the index at opening; 0: one for each processor, four at most. A
  /// short log has fewer. What is recovered, and which error is told, does not depend on it.
  uint32_t recovery_threads = 0;
  uint32_t checkpoints_kept = 2;
  CompactionOptions compaction;
  /// Whether compaction may drop the pair, for the embedder cannot read it any more (it has
  /// expired). Called on the compacting thread.
  std::function<bool(ByteSpan key, ByteSpan value)> is_garbage;
  /// Recover this checkpoint instead of the newest; later ones are taken away. For tools.
  std::optional<uint64_t> recover_token;
  /// Called by open() now and then while it loads, on its thread: "log", "index" or "records", so
  /// many bytes of all; of a stage they never become fewer.
  std::function<void(std::string_view stage, uint64_t done, uint64_t total)> on_recovery_progress;
};

}  // namespace tailrace::kv
