// The log's metrics.
#include "fasterlog/log_impl.h"

namespace tailrace::fasterlog {

void LogImpl::register_metrics(observability::MetricRegistry& registry) {
  registration_ = registry.registration();
  LogCore* core = core_.get();
  auto& to = registration_;
  const LogProbe& probe = core->probe;
  registry.add_gauge(to, "tailrace_log_tail_bytes", "Address of the next byte to be reserved", {},
                     [core] { return static_cast<double>(core->ring.tail().value); });
  registry.add_gauge(to, "tailrace_log_durable_bytes", "Address up to which the log is fsynced", {},
                     [core] { return static_cast<double>(core->durable.load()); });
  registry.add_gauge(to, "tailrace_log_begin_bytes", "Address of the first byte still kept", {},
                     [core] { return static_cast<double>(core->begin.load()); });
  registry.add_gauge(
      to, "tailrace_log_truncated_bytes",
      "Bytes of the log that stand on this node no more: what stood below begin", {},
      [core] { return static_cast<double>(core->begin.load() - kFirstAddress.value); });
  registry.add_gauge(to, "tailrace_log_unflushed_bytes", "Enqueued and not durable yet", {},
                     [core] {
                       const uint64_t durable = core->durable.load();
                       const uint64_t tail = core->ring.tail().value;
                       return tail > durable ? static_cast<double>(tail - durable) : 0.0;
                     });
  registry.add_gauge(to, "tailrace_log_disk_bytes", "Bytes of the log's segment files", {},
                     [core] { return static_cast<double>(core->segments.disk_bytes()); });
  registry.add_gauge(to, "tailrace_log_flushes_in_flight", "Flushes begun and not yet durable", {},
                     [core] { return static_cast<double>(core->probe.flushes_in_flight.load()); });
  registry.add_counter(to, "tailrace_log_flushes_total", "Flushes made durable", {}, probe.flushes);
  for (size_t i = 0; i < kFlushReasons; ++i) {
    registry.add_counter(to, "tailrace_log_flushes_begun_total", "Flushes by why they began",
                         {{"reason", std::string(name_of(static_cast<FlushReason>(i)))}},
                         probe.begun[i]);
  }
  registry.add_counter(to, "tailrace_log_flushed_bytes_total", "Bytes made durable", {},
                       probe.flushed_bytes);
  registry.add_counter(to, "tailrace_log_failures_total", "Failed writes and fsyncs", {},
                       probe.failures);
  registry.add_counter(to, "tailrace_log_would_block_total",
                       "Appends refused because the buffer was full", {}, probe.would_block);
  registry.add_histogram(to, "tailrace_log_flush_seconds",
                         "From a flush's start until it was durable", {}, probe.flush_seconds);
  registry.add_histogram(to, "tailrace_log_flush_bytes", "Size of each flush", {},
                         probe.flush_bytes);
}

}  // namespace tailrace::fasterlog
