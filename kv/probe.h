#pragma once
// What the store counts about itself.

#include "observability/metrics.h"

namespace tailrace::kv {

struct EngineProbe {
  observability::Counter copied_records;     // updates that made a new record
  observability::Counter compacted_records;  // moved by compaction
  observability::Counter compacted_bytes;
  observability::Counter released_pages;
  observability::Counter refusals;  // writes that found the memory full
};

struct CheckpointProbe {
  observability::Counter published;
  observability::Counter failed;
  observability::Counter written_bytes;
  observability::Histogram seconds{observability::latency_bounds_s()};
};

}  // namespace tailrace::kv
