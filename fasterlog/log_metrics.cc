// The log's metrics.
#include "fasterlog/log_impl.h"
#include "observability/metric_table.h"

namespace tailrace::fasterlog {

void LogImpl::register_metrics(observability::MetricRegistry& registry, TellAddresses addresses) {
  registration_ = registry.registration();
  LogCore* core = core_.get();
  auto& to = registration_;
  const LogProbe& probe = core->probe;
  if (addresses == TellAddresses::kYes)
    registry.add_series(to, observability::metric("tailrace_log_address_bytes"), [core] {
      const auto series = [](const char* watermark, uint64_t address) {
        return std::pair{observability::Labels{{"watermark", watermark}},
                         static_cast<double>(address)};
      };
      // In this order none is above the next, whatever moves meanwhile.
      const uint64_t begin = core->begin.load(), durable = core->durable.load();
      return observability::MetricRegistry::Samples{series("begin", begin),
                                                    series("durable", durable),
                                                    series("tail", core->ring.tail().value)};
    });
  registry.add_gauge(to, observability::metric("tailrace_log_unflushed_limit_bytes"), {},
                     [core] { return static_cast<double>(core->ring.bytes()); });
  registry.add_gauge(to, observability::metric("tailrace_log_truncated_bytes"), {}, [core] {
    return static_cast<double>(core->begin.load() - kFirstAddress.value);
  });
  registry.add_gauge(to, observability::metric("tailrace_log_unflushed_bytes"), {}, [core] {
    const uint64_t durable = core->durable.load();
    const uint64_t tail = core->ring.tail().value;
    return tail > durable ? static_cast<double>(tail - durable) : 0.0;
  });
  registry.add_gauge(to, observability::metric("tailrace_log_disk_bytes"), {},
                     [core] { return static_cast<double>(core->segments.disk_bytes()); });
  registry.add_gauge(to, observability::metric("tailrace_log_flushes_in_flight"), {},
                     [core] { return static_cast<double>(core->probe.flushes_in_flight.load()); });
  registry.add_counter(to, observability::metric("tailrace_log_flushes_total"), {}, probe.flushes);
  for (size_t i = 0; i < kFlushReasons; ++i) {
    registry.add_counter(to, observability::metric("tailrace_log_flushes_begun_total"),
                         {{"reason", std::string(name_of(static_cast<FlushReason>(i)))}},
                         probe.begun[i]);
  }
  registry.add_counter(to, observability::metric("tailrace_log_flushed_bytes_total"), {},
                       probe.flushed_bytes);
  registry.add_counter(to, observability::metric("tailrace_log_failures_total"), {},
                       probe.failures);
  registry.add_counter(to, observability::metric("tailrace_log_would_block_total"), {},
                       probe.would_block);
  registry.add_histogram(to, observability::metric("tailrace_log_flush_duration_seconds"), {},
                         probe.flush_seconds);
  registry.add_histogram(to, observability::metric("tailrace_log_flush_size_bytes"), {},
                         probe.flush_bytes);
}

}  // namespace tailrace::fasterlog
