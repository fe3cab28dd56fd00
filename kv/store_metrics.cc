#include "kv/store_impl.h"

namespace tailrace::kv {

void StoreImpl::register_metrics(observability::MetricRegistry& registry) {
  metrics_ = registry.registration();
  const auto gauge = [&](const char* name, const char* help, std::function<uint64_t()> read) {
    registry.add_gauge(metrics_, name, help, {},
                       [read = std::move(read)] { return static_cast<double>(read()); });
  };
  const auto counter = [&](const char* name, const char* help, observability::Counter& value) {
    registry.add_counter(metrics_, name, help, {}, value);
  };
  const HybridLog& log = engine_->log();
  gauge("tailrace_kv_live_records", "Keys in the store",
        [this] { return engine_->live_records(); });
  gauge("tailrace_kv_live_bytes", "Bytes of live records",
        [this] { return engine_->live_bytes(); });
  gauge("tailrace_kv_used_bytes", "Bytes of the disk budget that new records cannot have",
        [this] { return used_bytes(); });
  gauge("tailrace_kv_capacity_bytes", "The disk budget of the store's log",
        [&log] { return log.disk_capacity_bytes(); });
  gauge("tailrace_kv_log_begin_address", "Where the hybrid log begins",
        [&log] { return log.begin(); });
  gauge("tailrace_kv_log_head_address", "Where the part of the hybrid log in memory begins",
        [&log] { return log.head(); });
  gauge("tailrace_kv_log_flushed_address", "Up to where the hybrid log is on disk",
        [&log] { return log.flushed(); });
  gauge("tailrace_kv_log_read_only_address", "Where updates in place begin",
        [&log] { return log.read_only(); });
  gauge("tailrace_kv_log_tail_address", "Where the hybrid log ends", [&log] { return log.tail(); });
  gauge("tailrace_kv_index_buckets", "Buckets of the hash index",
        [this] { return engine_->index().bucket_count(); });
  gauge("tailrace_kv_index_overflow_buckets", "Buckets of the hash index beyond the first ones",
        [this] { return engine_->index().overflow_bucket_count(); });
  gauge("tailrace_kv_open_sessions", "Writing sessions of the store",
        [this] { return coordinator_.open_sessions(); });
  counter("tailrace_kv_flushed_bytes_total", "Bytes of the hybrid log written to disk",
          log_probe_.flushed_bytes);
  counter("tailrace_kv_evicted_pages_total", "Pages of the hybrid log that left memory",
          log_probe_.evicted_pages);
  counter("tailrace_kv_room_waits_total", "Writes that waited for a page of memory",
          log_probe_.room_waits);
  counter("tailrace_kv_cold_reads_total", "Reads of the disk for records that are not in memory",
          log_probe_.cold_reads);
  counter("tailrace_kv_cold_read_bytes_total", "Bytes of these reads", log_probe_.cold_read_bytes);
  counter("tailrace_kv_released_bytes_total", "Disk space of the hybrid log given back",
          log_probe_.released_bytes);
  counter("tailrace_kv_copied_records_total", "Updates that copied the record to the tail",
          engine_probe_.copied_records);
  counter("tailrace_kv_compacted_records_total", "Records that compaction moved to the tail",
          engine_probe_.compacted_records);
  counter("tailrace_kv_compacted_bytes_total", "Bytes that compaction moved to the tail",
          engine_probe_.compacted_bytes);
  counter("tailrace_kv_dropped_records_total",
          "Tombstones and expired records that compaction left behind",
          engine_probe_.dropped_records);
  counter("tailrace_kv_refused_writes_total", "Writes refused at the disk budget",
          engine_probe_.refusals);
  counter("tailrace_kv_writes_beyond_budget_total",
          "Writes that must not fail, done beyond the disk budget", engine_probe_.beyond_budget);
  registry.add_counter(metrics_, "tailrace_kv_checkpoints_total", "Checkpoints by result",
                       {{"result", "published"}}, checkpoint_probe_.published);
  registry.add_counter(metrics_, "tailrace_kv_checkpoints_total", "Checkpoints by result",
                       {{"result", "failed"}}, checkpoint_probe_.failed);
  counter("tailrace_kv_checkpoint_written_bytes_total", "Bytes written for checkpoints",
          checkpoint_probe_.written_bytes);
  registry.add_histogram(metrics_, "tailrace_kv_checkpoint_seconds",
                         "From a checkpoint's start to its publication", {},
                         checkpoint_probe_.seconds);
}

}  // namespace tailrace::kv
