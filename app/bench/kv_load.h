#pragma once
// Load for FasterKv alone, and what it measured.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/bench/histogram.h"
#include "app/bench/key_sequence.h"
#include "core/result.h"
#include "kv/store.h"
#include "storage/file_system.h"

namespace tailrace::app {

enum class KvMix : uint8_t {
  kA,    // half reads, half upserts
  kB,    // 95 % reads, 5 % upserts
  kC,    // reads
  kRmw,  // adds 1
};

struct KvLoadOptions {
  storage::Path directory;  // where the store goes, below a folder of its own
  KvMix mix = KvMix::kA;
  KeyDistribution distribution = KeyDistribution::kUniform;
  uint64_t keys = 10'000'000;
  uint32_t threads = 1;
  double seconds = 10;   // timed, after a fifth of it unseen
  uint32_t batch = 1;    // operations of one Session::run(); 1: single calls
  uint32_t pending = 0;  // reads in flight of a session by read_async(); 0: each read waits
  bool huge_pages = true;
  uint64_t memory_bytes = 0;   // of the log; 0: room for all keys
  uint64_t index_buckets = 0;  // 0: one for two or three keys
  std::optional<kv::CheckpointKind> checkpoint;
  bool recovery = false;
};

/// Without and while something runs.
struct KvWindow {
  double ops_per_s = 0;
  Histogram latency_ns;  // of a call, so of a batch where there are batches
};

struct KvCheckpoint {
  uint64_t bytes = 0;
  double seconds = 0;
  KvWindow during;
};

struct KvLoadResult {
  double load_ops_per_s = 0;
  uint64_t memory_bytes = 0;  // resident, of store alone, when all keys are loaded
  uint64_t index_bytes = 0, log_memory_bytes = 0;
  uint64_t log_bytes = 0;  // begin to tail when all keys are loaded
  double ops_per_cpu_s = 0;
  KvWindow steady;          // median of five windows
  double misses_per_s = 0;  // reads of the disk for records
  std::vector<KvCheckpoint> checkpoints;
  uint64_t recovery_bytes = 0;  // log and index that opening has read
  double recovery_seconds = 0;
};

/// `stage` is told what is done now.
Result<KvLoadResult> run_kv_load(storage::FileSystem& file_system, const KvLoadOptions& options,
                                 const std::function<void(const std::string&)>& stage);

}  // namespace tailrace::app
