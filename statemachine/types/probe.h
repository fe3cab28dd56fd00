#pragma once
// What the state machine counts.

#include "observability/metrics.h"

namespace tailrace::statemachine {

struct Probe {
  observability::Counter applied_records;
  observability::Counter applied_bytes;
  observability::Counter replays;
  observability::Counter sessions_evicted;
  observability::Counter answers_forgotten;  // for the limit of all together
  observability::Counter checkpoint_failures;
  observability::Gauge checkpoint_seconds{observability::kNotKnown};
  observability::Gauge checkpoint_bytes{observability::kNotKnown};
  observability::Counter digests;  // in the background, as the two below
  observability::Counter digests_skipped;
  observability::Gauge digest_seconds{observability::kNotKnown};
};

}  // namespace tailrace::statemachine
