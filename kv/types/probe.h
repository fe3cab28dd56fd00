#pragma once
// What the store counts about itself.

#include "observability/metrics.h"

namespace tailrace::kv {

struct LogProbe {
  observability::Counter flushed_bytes;
  observability::Counter evicted_pages;
  observability::Counter room_waits;  // writers that found no page free
  observability::Counter cold_reads;  // of blocks, for records that are on disk
  observability::Counter cold_read_bytes;
  observability::Counter released_bytes;  // disk space given back
};

struct EngineProbe {
  observability::Counter copied_records;     // updates that made a new record
  observability::Counter compacted_records;  // moved by compaction
  observability::Counter compacted_bytes;
  observability::Counter dropped_records;  // tombstones and garbage that compaction left behind
  observability::Counter refusals;         // writes refused at the disk budget
  observability::Counter beyond_budget;    // writes done beyond it
};

struct CheckpointProbe {
  observability::Counter published;
  observability::Counter failed;
  observability::Counter written_bytes;
  observability::Histogram seconds{observability::latency_bounds_s()};
};

}  // namespace tailrace::kv
