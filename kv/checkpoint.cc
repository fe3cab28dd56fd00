// Taking a checkpoint: the coordinator's phases, and between them the disk.

#include <algorithm>

#include "kv/store_impl.h"

namespace tailrace::kv {

namespace {
constexpr uint64_t kMostBucketsAtATime = 64;
constexpr uint64_t kBytesAtATime = 1u << 20;
}  // namespace

Result<> StoreImpl::start_checkpoint(CheckpointHooks hooks) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return make_error(ErrorCode::kClosed, "the store is closing");
  if (running_ || wanted_) {
    return make_error(ErrorCode::kFailedPrecondition, "a checkpoint is being taken already");
  }
  wanted_ = std::move(hooks);
  wake_.notify_all();
  return {};
}

CheckpointProgress StoreImpl::checkpoint_progress() const {
  CheckpointProgress progress;
  {
    const std::lock_guard lock(mutex_);
    if (!running_ && !wanted_) return progress;
  }
  // From the request on, so that nobody misses a short one.
  progress.phase = std::max(coordinator_.phase(), CheckpointPhase::kPrepare);
  progress.bytes = written_bytes_.load(std::memory_order_relaxed);
  const uint64_t expected = expected_bytes_.load(std::memory_order_relaxed);
  if (expected > 0) {
    progress.fraction =
        std::min(1.0, static_cast<double>(progress.bytes) / static_cast<double>(expected));
  }
  return progress;
}

void StoreImpl::checkpoint_loop() {
  for (;;) {
    CheckpointHooks hooks;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || wanted_; });
      if (!wanted_) return;
      hooks = std::move(*wanted_);
      wanted_.reset();
      running_ = true;
    }
    written_bytes_.store(0, std::memory_order_relaxed);
    expected_bytes_.store(0, std::memory_order_relaxed);
    const uint64_t started_ns = clock_.unix_time_ns();
    const Result<CheckpointInfo> info = take_checkpoint(hooks);
    if (info) {
      probe_.published.add();
      probe_.seconds.observe(static_cast<double>(clock_.unix_time_ns() - started_ns) / 1e9);
    } else {
      probe_.failed.add();
    }
    {
      const std::lock_guard lock(mutex_);
      running_ = false;
    }
    if (hooks.done) hooks.done(info);
  }
}

Result<CheckpointInfo> StoreImpl::take_checkpoint(const CheckpointHooks& hooks) {
  if (stopping_) return make_error(ErrorCode::kCancelled, "the store is closing");
  Manifest manifest;
  manifest.owner = options_.owner;
  manifest.info.token = next_token_++;
  uint32_t version = 0;
  if (!coordinator_.prepare(version)) {
    return make_error(ErrorCode::kFailedPrecondition, "a checkpoint before this one never ended");
  }
  manifest.info.version = version;
  engine_->hold_compaction();
  auto info = snapshot(manifest, hooks);
  (void)engine_->release_compaction();
  // Sessions that are closed with the store may not all have crossed over: no next version then.
  if (!info && stopping_) return info;
  coordinator_.finish();
  if (info) {
    remove_old_checkpoints(info->token);
  } else {
    // What is left is no checkpoint; if it cannot be removed now, the next publication does it.
    (void)directory_.remove(manifest.info.token);
  }
  return info;
}

Result<CheckpointInfo> StoreImpl::snapshot(Manifest& manifest, const CheckpointHooks& hooks) {
  CheckpointInfo& info = manifest.info;
  TAILRACE_RETURN_IF_ERROR(directory_.create(info.token));
  coordinator_.cross_over();
  TAILRACE_RETURN_IF_ERROR(coordinator_.wait_crossed());
  auto points = coordinator_.begin_flush();
  if (!points) return tl::unexpected(std::move(points.error()));
  info.points = std::move(*points);
  info.unix_time_ns = clock_.unix_time_ns();
  expected_bytes_.store(engine_->live_bytes(), std::memory_order_relaxed);

  auto writer = SnapshotWriter::create(directory_, info.token);
  if (!writer) return tl::unexpected(std::move(writer.error()));
  const auto version = static_cast<uint32_t>(info.version);
  const uint64_t buckets = engine_->index().bucket_count();
  // Nothing can be written within a visit, so what it finds is buffered.
  const uint64_t step =
      std::clamp<uint64_t>(buckets * kBytesAtATime / std::max<uint64_t>(1, engine_->live_bytes()),
                           1, kMostBucketsAtATime);
  for (uint64_t bucket = 0; bucket < buckets && engine_->compaction_held(); bucket += step) {
    if (stopping_) return make_error(ErrorCode::kCancelled, "the store is closing");
    engine_->visit_buckets(bucket, std::min(buckets, bucket + step), version,
                           [&](ByteSpan key, ByteSpan value) { (*writer)->add(key, value); });
    TAILRACE_RETURN_IF_ERROR((*writer)->flush_if_full());
    written_bytes_.store((*writer)->bytes_written(), std::memory_order_relaxed);
  }
  if (!engine_->release_compaction()) {
    return make_error(ErrorCode::kResourceExhausted,
                      "given up: a write needed the memory that the checkpoint kept from "
                      "compaction; give the store more (memory_bytes), or delete keys");
  }
  TAILRACE_RETURN_IF_ERROR((*writer)->finish(manifest));
  written_bytes_.store(info.bytes, std::memory_order_relaxed);
  expected_bytes_.store(info.bytes, std::memory_order_relaxed);
  probe_.written_bytes.add(info.bytes);
  TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(directory_.path_of(info.token)));

  if (hooks.before_publish) {
    auto metadata = hooks.before_publish(info);
    if (!metadata) return tl::unexpected(std::move(metadata.error()));
    info.user_metadata = std::move(*metadata);
  }
  TAILRACE_RETURN_IF_ERROR(directory_.publish(manifest));
  return info;
}

void StoreImpl::remove_old_checkpoints(uint64_t published) {
  good_tokens_.push_back(published);
  const size_t kept = std::max<size_t>(1, options_.checkpoints_kept);
  if (good_tokens_.size() > kept) {
    good_tokens_.erase(good_tokens_.begin(),
                       good_tokens_.end() - static_cast<std::ptrdiff_t>(kept));
  }
  const auto tokens = directory_.tokens();
  if (!tokens) return;  // tried again after the next one
  for (const uint64_t token : *tokens) {
    const bool good =
        std::find(good_tokens_.begin(), good_tokens_.end(), token) != good_tokens_.end();
    // A damaged one stays for whoever wants to look at it, as long as an older good one does.
    const bool unpublished = !good && token < published && [&] {
      const auto manifest = directory_.manifest(token);
      return !manifest && manifest.error().code == ErrorCode::kNotFound;
    }();
    if (token < good_tokens_.front() || unpublished) (void)directory_.remove(token);
  }
}

}  // namespace tailrace::kv
