#pragma once
// What the service counts.

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "observability/metrics.h"
#include "rpc/server/measure/request_counts.h"
#include "rpc/server/measure/request_table.h"
#include "rpc/wire/framed_socket.h"

namespace tailrace::rpc {

/// Any thread, but what is named otherwise.
struct Probe {
  Probe();

  /// One for each io thread, before any of them runs.
  RequestCounts& add_thread();
  /// Of all threads.
  uint64_t requests(RequestKind kind, RequestCounts::Place place) const;
  uint64_t records(RequestKind kind) const;
  uint64_t record_bytes(RequestKind kind) const;
  int64_t in_flight() const;
  observability::Histogram::Snapshot seconds(RequestKind kind) const;

  void register_at(observability::MetricRegistry& registry);

  std::array<std::unique_ptr<observability::Histogram>, kStages> stages;
  observability::Histogram lateness{observability::lateness_bounds_s()};  // of the io threads
  Traffic traffic;
  observability::Counter accepted, evicted, timed_out, stalls;
  std::atomic<int64_t> connections{0};

 private:
  /// The sum of what `read` gives for each thread.
  template <typename Read>
  uint64_t sum(Read read) const {
    uint64_t all = 0;
    for (const auto& thread : threads_)
      all += read(*thread).value();
    return all;
  }
  observability::MetricRegistry::Samples request_samples() const;
  void register_requests(observability::MetricRegistry& registry);

  std::vector<std::unique_ptr<RequestCounts>> threads_;
  observability::MetricRegistry::Registration registration_;  // last: goes first
};

}  // namespace tailrace::rpc
