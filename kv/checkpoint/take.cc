// Taking a checkpoint: the coordinator's phases, and between them the disk.

#include <algorithm>

#include "kv/checkpoint/snapshot_capture.h"
#include "kv/checkpoint/thread.h"
#include "kv/log/segments.h"

namespace tailrace::kv {

namespace {

// Recovery reads the whole chain, and all of its files stay on disk: after so many a full one.
constexpr size_t kMostSnapshotsOfChain = 8;
// Versions of records come round after 2^15.
constexpr uint64_t kMostVersionsSinceBase = 1u << 14;

Error closing() {
  return {ErrorCode::kCancelled, "the store is closing"};
}

}  // namespace

Result<CheckpointInfo> CheckpointThread::take(const CheckpointRequest& request) {
  if (is_stopping()) return tl::unexpected(closing());
  CheckpointCoordinator& coordinator = context_.coordinator;
  Manifest manifest;
  manifest.owner = context_.options.owner;
  manifest.page_bytes = log_.page_bytes();
  manifest.segment_bytes = log_.segments().segment_bytes();
  CheckpointInfo& info = manifest.info;
  info.token = next_token_++;
  info.kind = request.kind;
  info.with_index = request.with_index || request.kind == CheckpointKind::kIndexOnly;
  uint32_t version = 0;
  if (!coordinator.prepare(version)) {
    return make_error(ErrorCode::kFailedPrecondition, "a checkpoint before this one never ended");
  }
  info.version = version;
  tell(CheckpointPhase::kPrepare);
  const auto written = write(manifest, request);
  // Sessions that are closed with the store may not all have crossed over: no next version then.
  const CheckpointPhase phase = coordinator.phase();
  const bool stuck = phase == CheckpointPhase::kWaitPending;
  if (phase == CheckpointPhase::kPrepare) coordinator.abandon();
  if (phase == CheckpointPhase::kWaitFlush) coordinator.finish();
  if (!stuck) tell(CheckpointPhase::kRest);
  {
    const MutexLock lock(mutex_);
    running_begin_.reset();
    if (written) kept_.add(manifest);
  }
  if (written) {
    remove_old(info.kind);
    return info;
  }
  // What is left is no checkpoint; if it cannot be removed now, the next publication does it.
  if (!stuck) (void)context_.directory.remove(info.token);
  return tl::unexpected(written.error());
}

Result<> CheckpointThread::write(Manifest& manifest, const CheckpointRequest& request) {
  CheckpointInfo& info = manifest.info;
  TAILRACE_RETURN_IF_ERROR(context_.directory.create(info.token));
  if (info.with_index) {
    TAILRACE_RETURN_IF_ERROR(write_index(manifest));
  } else {
    manifest.index = image_;
  }
  if (info.kind == CheckpointKind::kIndexOnly) {
    info.unix_time_ns = context_.clock.unix_time_ns();
    info.begin = log_.begin();
    info.end = align_up(std::max(manifest.index->from, info.begin), storage::kBlockBytes);
    manifest.flushed = manifest.boundary = info.end;
    manifest.index_buckets = manifest.index->buckets;
    manifest.index_tag_shift = context_.engine.index().tag_shift();
  } else {
    TAILRACE_RETURN_IF_ERROR(write_state(manifest));
  }
  info.bytes = written_bytes_.load(std::memory_order_relaxed);
  TAILRACE_RETURN_IF_ERROR(
      context_.file_system.sync_directory(context_.directory.path_of(info.token)));
  return publish(manifest, request);
}

Result<> CheckpointThread::write_index(Manifest& manifest) {
  const HashIndex& index = context_.engine.index();
  const MutexLock lock(context_.grow_mutex);
  IndexImage image;
  image.from = log_.tail();
  // Who allocated a record below has put it into the index by then, or never will.
  storage::EpochProtection& protection = context_.engine.protection();
  protection.wait_safe(protection.bump());
  image.buckets = index.bucket_count();
  const uint64_t expected =
      (image.buckets + index.overflow_bucket_count()) * HashTable::kBucketBytes;
  expect(expected);
  TAILRACE_ASSIGN_OR_RETURN(
      auto writer,
      ChunkWriter::create(context_.file_system, context_.directory.index_path(manifest.token()),
                          kIndexChunk, manifest.token(), expected));
  uint64_t buckets = 0;
  const auto put = [&](ByteSpan bytes) -> Result<> {
    TAILRACE_RETURN_IF_ERROR(writer->put(bytes, HashTable::kBucketBytes));
    buckets += bytes.size() / HashTable::kBucketBytes;
    return note_written(writer->bytes_written());
  };
  TAILRACE_RETURN_IF_ERROR(index.write_image(put));
  TAILRACE_ASSIGN_OR_RETURN(auto file, writer->finish());
  image.file = file;
  image.overflow_buckets = buckets - image.buckets;
  context_.probe.written_bytes.add(file.bytes);
  TAILRACE_RETURN_IF_ERROR(note_part(expected, file.bytes));
  manifest.index = image;
  return {};
}

// A bigger table than the records were chained by does no harm at recovery, a smaller one would.
uint64_t CheckpointThread::buckets_in_use() const {
  const HashIndex& index = context_.engine.index();
  const uint64_t before = index.bucket_count();
  const bool growing = index.growing();
  const uint64_t after = index.bucket_count();
  return before == after && growing ? before * 2 : after;
}

Result<> CheckpointThread::write_state(Manifest& manifest) {
  CheckpointInfo& info = manifest.info;
  CheckpointCoordinator& coordinator = context_.coordinator;
  Engine& engine = context_.engine;
  const auto version = static_cast<uint32_t>(info.version);
  {
    // What is moved from here on may be moved in the next version: recovery needs the original.
    const MutexLock lock(mutex_);
    info.begin = log_.begin();
    running_begin_ = info.begin;
  }
  const Engine::LiveShare next_version_before = engine.live_share(version + 1);
  manifest.boundary = coordinator.cross_over([this] { tell(CheckpointPhase::kInProgress); });
  tell(CheckpointPhase::kWaitPending);
  TAILRACE_RETURN_IF_ERROR(coordinator.wait_crossed());
  auto points = coordinator.begin_flush();
  tell(CheckpointPhase::kWaitFlush);
  if (!points) return tl::unexpected(std::move(points.error()));
  info.points = std::move(*points);
  info.unix_time_ns = context_.clock.unix_time_ns();
  // Nobody writes the version any more, and what the next one has added until now is not in it.
  const Engine::LiveShare share = engine.live_share(version);
  info.live_records = static_cast<uint64_t>(
      std::max<int64_t>(0, static_cast<int64_t>(share.records + next_version_before.records)));
  manifest.live_bytes = static_cast<uint64_t>(
      std::max<int64_t>(0, static_cast<int64_t>(share.bytes + next_version_before.bytes)));

  const bool fold_over = info.kind == CheckpointKind::kFoldOver;
  const LogAddress flushed = log_.flushed();
  TAILRACE_ASSIGN_OR_RETURN(info.end, log_.seal_tail(fold_over));
  manifest.index_buckets = buckets_in_use();
  manifest.index_tag_shift = engine.index().tag_shift();
  for (const UndoneRange& range : engine.undone().ranges()) {
    if (range.to > info.begin) manifest.undone.push_back(range);
  }
  if (!fold_over) return write_snapshot(manifest);

  if (flushed < info.end) {
    expect(info.end - flushed);
    flush_from_.store(flushed, std::memory_order_relaxed);
    flush_to_.store(info.end, std::memory_order_relaxed);
  }
  TAILRACE_RETURN_IF_ERROR(log_.make_durable(info.end, [this] { tell_bytes(); }));
  flush_to_.store(0, std::memory_order_relaxed);
  manifest.flushed = info.end;
  const uint64_t bytes = flushed < info.end ? info.end - flushed : 0;
  return note_part(bytes, bytes);
}

Result<> CheckpointThread::write_snapshot(Manifest& manifest) {
  CheckpointInfo& info = manifest.info;
  storage::EpochProtection& protection = context_.engine.protection();
  // Nothing that is not flushed yet may be given up before it is copied.
  const uint64_t pin = context_.pins.add(0);
  // The next version may have filled pages since the end was sealed: the flusher is then beyond it.
  const LogAddress from = std::clamp(log_.flushed(), info.begin, info.end);
  context_.pins.lift(pin, from);
  // Who allocated a record below the end has written it by then.
  protection.wait_safe(protection.bump());

  SnapshotCapture capture{log_, protection, from, info.end, {}, {}};
  const bool incremental = info.kind == CheckpointKind::kIncremental && base_ &&
                           from < base_->end && base_->snapshots.size() < kMostSnapshotsOfChain &&
                           info.version - base_->version < kMostVersionsSinceBase;
  if (incremental) {
    capture.changes = SnapshotCapture::Changes{base_->version, info.version, base_->end};
    manifest.snapshots = base_->snapshots;
  } else if (auto taken = context_.directory.take_spare(info.token); !taken) {
    context_.pins.remove(pin);
    return taken;
  }
  expect(info.end - from);
  capture.progress = [&](uint64_t bytes) { return note_written(bytes); };
  const auto captured =
      capture.write(context_.file_system, context_.directory.snapshot_path(info.token), info.token);
  context_.pins.remove(pin);
  if (!captured) return tl::unexpected(captured.error());
  context_.probe.written_bytes.add(captured->file.bytes);
  manifest.snapshots.push_back(captured->file);
  manifest.flushed = captured->from;
  if (manifest.flushed == info.end) manifest.snapshots.clear();  // all is in the log's files
  TAILRACE_RETURN_IF_ERROR(note_part(info.end - from, captured->file.bytes));
  // A recovered log may begin within a block that is not on its disk: nothing below `begin` counts.
  return log_.make_durable(std::min(manifest.flushed, log_.flushed()));
}

Result<> CheckpointThread::note_written(uint64_t bytes) {
  written_bytes_.store(file_bytes_ + bytes, std::memory_order_relaxed);
  tell_bytes();
  if (is_stopping()) return tl::unexpected(closing());
  return {};
}

Result<> CheckpointThread::note_part(uint64_t expected, uint64_t bytes) {
  file_bytes_ += bytes;
  expected_bytes_.fetch_add(bytes - expected, std::memory_order_relaxed);
  return note_written(0);
}

Result<> CheckpointThread::publish(Manifest& manifest, const CheckpointRequest& request) {
  CheckpointInfo& info = manifest.info;
  if (request.hooks.before_publish) {
    TAILRACE_ASSIGN_OR_RETURN(info.user_metadata, request.hooks.before_publish(info));
  }
  TAILRACE_RETURN_IF_ERROR(check_manifest(context_.directory.manifest_path(info.token), manifest));
  TAILRACE_RETURN_IF_ERROR(context_.directory.publish(manifest));
  if (info.with_index) image_ = manifest.index;
  if (info.kind == CheckpointKind::kIndexOnly) return {};
  base_.reset();
  if (!manifest.snapshots.empty()) base_ = Base{info.version, info.end, manifest.snapshots};
  return {};
}

void CheckpointThread::remove_old(CheckpointKind published) {
  // Only who takes whole snapshots again and again has a use for the spare; for others it would be
  // disk space that nothing needs.
  const bool to_spare = published == CheckpointKind::kSnapshot;
  if (!to_spare && published != CheckpointKind::kIndexOnly) (void)context_.directory.drop_spare();
  const auto on_disk = context_.directory.tokens();
  if (!on_disk) return;  // tried again after the next one
  KeptCheckpoints::Plan plan;
  {
    const MutexLock lock(mutex_);
    plan = kept_.plan(*on_disk, image_ ? image_->file.token : 0, being_read_);
    leaving_ = {plan.remove.begin(), plan.remove.end()};
    leaving_.insert(plan.retire.begin(), plan.retire.end());
  }
  // In descending order over both, so that no checkpoint is ever without what it needs.
  const auto act = [&](uint64_t token, bool remove) {
    CheckpointDirectory& directory = context_.directory;
    const auto done = !remove    ? directory.retire(token)
                      : to_spare ? directory.remove_to_spare(token)
                                 : directory.remove(token);
    if (!done) return false;
    const MutexLock lock(mutex_);
    kept_.forget(token);
    return true;
  };
  auto retire = plan.retire.begin();
  for (const uint64_t token : plan.remove) {
    for (; retire != plan.retire.end() && *retire > token; ++retire)
      if (!act(*retire, false)) return;
    if (!act(token, true)) return;
  }
  for (; retire != plan.retire.end(); ++retire)
    if (!act(*retire, false)) return;
  (void)release_disk();  // a failure of the log is kept by it
}

}  // namespace tailrace::kv
