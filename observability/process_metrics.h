#pragma once

#include "observability/metrics.h"

namespace tailrace::observability {

/// Processor time of all threads of this process, of user and system; 0: not known.
double process_cpu_seconds();
/// Resident memory of this process; 0: not known.
double process_resident_bytes();

/// Adds what Prometheus clients usually tell of their process: resident memory, processor seconds,
/// open file descriptors and start time. Read from /proc at each scrape.
void register_process_metrics(MetricRegistry& registry, MetricRegistry::Registration& to);

/// Adds how many threads there are and what processor time they have taken, by what they do.
void register_thread_metrics(MetricRegistry& registry, MetricRegistry::Registration& to);

}  // namespace tailrace::observability
