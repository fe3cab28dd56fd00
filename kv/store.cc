#include "kv/store.h"

#include "kv/session.h"
#include "kv/store_impl.h"

namespace tailrace::kv {

StoreImpl::StoreImpl(storage::FileSystem& file_system, StoreOptions options, const Clock& clock)
    : file_system_(file_system),
      options_(std::move(options)),
      clock_(clock),
      directory_(file_system, options_.directory) {}

StoreImpl::~StoreImpl() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  coordinator_.cancel();
  if (thread_.joinable()) thread_.join();
}

Result<std::vector<CheckpointInfo>> StoreImpl::checkpoints() const {
  const auto tokens = directory_.tokens();
  if (!tokens) return tl::unexpected(tokens.error());
  std::vector<CheckpointInfo> found;
  for (const uint64_t token : *tokens) {
    if (auto manifest = directory_.manifest(token)) found.push_back(std::move(manifest->info));
  }
  return found;
}

Result<std::unique_ptr<Session>> StoreImpl::start_session(SessionId id) {
  auto session = std::make_unique<SessionImpl>(*engine_, coordinator_, id);
  TAILRACE_RETURN_IF_ERROR(session->open());
  return session;
}

Result<> StoreImpl::read(ByteSpan key, std::string& value) {
  if (engine_->read(key, value)) return {};
  return make_error(ErrorCode::kNotFound, "no such key");
}

void StoreImpl::for_each(const std::function<void(ByteSpan, ByteSpan)>& visit) {
  engine_->visit_buckets(0, engine_->index().bucket_count(), Engine::kAllVersions, visit);
}

void StoreImpl::register_metrics(observability::MetricRegistry& registry) {
  metrics_ = registry.registration();
  const auto gauge = [&](const char* name, const char* help, std::function<uint64_t()> read) {
    registry.add_gauge(metrics_, name, help, {},
                       [read = std::move(read)] { return static_cast<double>(read()); });
  };
  gauge("tailrace_kv_live_records", "Keys in the store", [this] { return live_records(); });
  gauge("tailrace_kv_live_bytes", "Memory of live records",
        [this] { return engine_->live_bytes(); });
  gauge("tailrace_kv_used_bytes", "Memory that new records cannot have",
        [this] { return used_bytes(); });
  gauge("tailrace_kv_log_bytes", "Hybrid log between begin and tail, garbage included",
        [this] { return engine_->log().used_bytes(); });
  gauge("tailrace_kv_capacity_bytes", "Memory that records may take",
        [this] { return capacity_bytes(); });
  gauge("tailrace_kv_index_overflow_buckets", "Buckets of the hash index beyond the first ones",
        [this] { return engine_->index().overflow_bucket_count(); });
  gauge("tailrace_kv_open_sessions", "Writing sessions of the store",
        [this] { return coordinator_.open_sessions(); });
  EngineProbe& engine = engine_->probe();
  registry.add_counter(metrics_, "tailrace_kv_copied_records_total",
                       "Updates that copied the record to the tail", {}, engine.copied_records);
  registry.add_counter(metrics_, "tailrace_kv_compacted_records_total",
                       "Records that compaction moved to the tail", {}, engine.compacted_records);
  registry.add_counter(metrics_, "tailrace_kv_compacted_bytes_total",
                       "Bytes that compaction moved to the tail", {}, engine.compacted_bytes);
  registry.add_counter(metrics_, "tailrace_kv_released_pages_total",
                       "Pages of the hybrid log given back by compaction", {},
                       engine.released_pages);
  registry.add_counter(metrics_, "tailrace_kv_refused_writes_total",
                       "Writes that found the memory full", {}, engine.refusals);
  registry.add_counter(metrics_, "tailrace_kv_checkpoints_total", "Checkpoints by result",
                       {{"result", "published"}}, probe_.published);
  registry.add_counter(metrics_, "tailrace_kv_checkpoints_total", "Checkpoints by result",
                       {{"result", "failed"}}, probe_.failed);
  registry.add_counter(metrics_, "tailrace_kv_checkpoint_written_bytes_total",
                       "Bytes of snapshots written", {}, probe_.written_bytes);
  registry.add_histogram(metrics_, "tailrace_kv_checkpoint_seconds",
                         "From a checkpoint's start to its publication", {}, probe_.seconds);
}

}  // namespace tailrace::kv
