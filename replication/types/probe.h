#pragma once
// What the replication driver counts; named tailrace_replication_* in the metrics.

#include <atomic>

#include "observability/metrics.h"

namespace tailrace::replication {

struct Probe {
  observability::Counter shipped_bytes;   // sent to followers
  observability::Counter shipped;         // Data messages with bytes
  observability::Counter received_bytes;  // handed to the log of a follower
  observability::Counter acks_sent;
  observability::Counter acks_received;
  observability::Counter refusals_sent;
  observability::Counter refusals_received;
  observability::Counter elections_won, elections_lost;
  observability::Counter log_cuts;  // a suffix that was never committed
  observability::Counter digest_mismatches;
  observability::Counter without_leader_us;  // neither leading nor streamed to
  observability::Counter append_waits;       // the log had no room for received bytes
  observability::Counter checkpoint_sent_bytes, checkpoint_received_bytes;
  observability::MetricRegistry::Registration registration;
};

}  // namespace tailrace::replication
