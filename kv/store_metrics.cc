#include "kv/store_impl.h"
#include "observability/metric_table.h"

namespace tailrace::kv {

void StoreImpl::register_metrics(observability::MetricRegistry& registry) {
  metrics_ = registry.registration();
  const auto gauge = [&](const observability::MetricInfo& metric, std::function<uint64_t()> read) {
    registry.add_gauge(metrics_, metric, {},
                       [read = std::move(read)] { return static_cast<double>(read()); });
  };
  const auto counter = [&](const observability::MetricInfo& metric, observability::Counter& value) {
    registry.add_counter(metrics_, metric, {}, value);
  };
  const HybridLog& log = engine_->log();
  gauge(observability::metric("tailrace_kv_live_records"),
        [this] { return engine_->live_records(); });
  gauge(observability::metric("tailrace_kv_live_bytes"), [this] { return engine_->live_bytes(); });
  gauge(observability::metric("tailrace_kv_used_bytes"), [this] { return used_bytes(); });
  gauge(observability::metric("tailrace_kv_capacity_bytes"), [this] { return capacity_bytes(); });
  registry.add_series(metrics_, observability::metric("tailrace_kv_address_bytes"), [&log] {
    const auto series = [](const char* watermark, uint64_t address) {
      return std::pair{observability::Labels{{"watermark", watermark}},
                       static_cast<double>(address)};
    };
    return observability::MetricRegistry::Samples{
        series("begin", log.begin()), series("head", log.head()), series("flushed", log.flushed()),
        series("read_only", log.read_only()), series("tail", log.tail())};
  });
  gauge(observability::metric("tailrace_kv_index_buckets"),
        [this] { return engine_->index().bucket_count(); });
  gauge(observability::metric("tailrace_kv_index_overflow_buckets"),
        [this] { return engine_->index().overflow_bucket_count(); });
  gauge(observability::metric("tailrace_kv_open_sessions"),
        [this] { return coordinator_.open_sessions(); });
  counter(observability::metric("tailrace_kv_flushed_bytes_total"), log_probe_.flushed_bytes);
  counter(observability::metric("tailrace_kv_evicted_pages_total"), log_probe_.evicted_pages);
  counter(observability::metric("tailrace_kv_room_waits_total"), log_probe_.room_waits);
  counter(observability::metric("tailrace_kv_cold_reads_total"), log_probe_.cold_reads);
  counter(observability::metric("tailrace_kv_cold_read_bytes_total"), log_probe_.cold_read_bytes);
  counter(observability::metric("tailrace_kv_released_bytes_total"), log_probe_.released_bytes);
  counter(observability::metric("tailrace_kv_copied_records_total"), engine_probe_.copied_records);
  counter(observability::metric("tailrace_kv_compacted_records_total"),
          engine_probe_.compacted_records);
  counter(observability::metric("tailrace_kv_compacted_bytes_total"),
          engine_probe_.compacted_bytes);
  counter(observability::metric("tailrace_kv_dropped_records_total"),
          engine_probe_.dropped_records);
  counter(observability::metric("tailrace_kv_refused_writes_total"), engine_probe_.refusals);
  counter(observability::metric("tailrace_kv_writes_beyond_budget_total"),
          engine_probe_.beyond_budget);
  registry.add_counter(metrics_, observability::metric("tailrace_kv_checkpoints_total"),
                       {{"result", "published"}}, checkpoint_probe_.published);
  registry.add_counter(metrics_, observability::metric("tailrace_kv_checkpoints_total"),
                       {{"result", "failed"}}, checkpoint_probe_.failed);
  counter(observability::metric("tailrace_kv_checkpoint_written_bytes_total"),
          checkpoint_probe_.written_bytes);
  registry.add_histogram(metrics_, observability::metric("tailrace_kv_checkpoint_duration_seconds"),
                         {}, checkpoint_probe_.seconds);
}

}  // namespace tailrace::kv
