#include "kv/checkpoint/thread.h"

#include <algorithm>

#include "core/thread.h"

namespace tailrace::kv {

namespace {
// A call for each block would cost more than writing it.
constexpr uint64_t kToldBytes = 1u << 20;
}  // namespace

CheckpointThread::CheckpointThread(const Context& context, Start start)
    : context_(context),
      log_(context.engine.log()),
      next_token_(start.next_token),
      image_(std::move(start.image)),
      kept_(std::move(start.kept)),
      thread_(named_thread("kv_checkpoint", [this] { run(); })) {}

CheckpointThread::~CheckpointThread() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  context_.coordinator.cancel();
  thread_.join();
}

Result<> CheckpointThread::start(CheckpointRequest request) {
  const MutexLock lock(mutex_);
  if (is_stopping()) return make_error(ErrorCode::kClosed, "the store is closing");
  if (checkpoint_wanted_) {
    return make_error(ErrorCode::kFailedPrecondition, "a checkpoint is being taken already");
  }
  checkpoint_wanted_ = true;
  jobs_.push_back({std::move(request), {}});
  wake_.notify_all();
  return {};
}

CheckpointProgress CheckpointThread::progress() const {
  {
    const MutexLock lock(mutex_);
    if (!checkpoint_wanted_) return {};
  }
  // From the request on, so that nobody misses a short one.
  return measure(std::max(context_.coordinator.phase(), CheckpointPhase::kPrepare));
}

CheckpointProgress CheckpointThread::measure(CheckpointPhase phase) const {
  CheckpointProgress progress;
  progress.phase = phase;
  progress.bytes = written_bytes_.load(std::memory_order_relaxed);
  const LogAddress from = flush_from_.load(std::memory_order_relaxed);
  const LogAddress to = flush_to_.load(std::memory_order_relaxed);
  if (from < to) progress.bytes += std::clamp(log_.flushed(), from, to) - from;
  const uint64_t expected = expected_bytes_.load(std::memory_order_relaxed);
  progress.planned_bytes = std::max(expected, progress.bytes);
  if (expected > 0) {
    progress.fraction =
        static_cast<double>(progress.bytes) / static_cast<double>(progress.planned_bytes);
  }
  return progress;
}

void CheckpointThread::tell(CheckpointPhase phase) {
  if (hooks_ == nullptr || !hooks_->progress) return;
  told_ = measure(phase);
  hooks_->progress(told_);
}

void CheckpointThread::tell_bytes() {
  if (measure(told_.phase).bytes >= told_.bytes + kToldBytes) tell(told_.phase);
}

void CheckpointThread::run() {
  for (;;) {
    Job job;
    {
      MutexLock lock(mutex_);
      wake_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) { return is_stopping() || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    if (job.checkpoint) {
      run_checkpoint(*job.checkpoint);
    } else {
      job.moment.set_value(take_moment());
    }
  }
}

void CheckpointThread::run_checkpoint(const CheckpointRequest& request) {
  written_bytes_.store(0, std::memory_order_relaxed);
  expected_bytes_.store(0, std::memory_order_relaxed);
  file_bytes_ = 0;
  told_ = {};
  hooks_ = &request.hooks;
  const uint64_t started_ns = context_.clock.unix_time_ns();
  const Result<CheckpointInfo> info = take(request);
  hooks_ = nullptr;
  if (info) {
    context_.probe.published.add();
    context_.probe.seconds.observe(static_cast<double>(context_.clock.unix_time_ns() - started_ns) /
                                   1e9);
  } else {
    context_.probe.failed.add();
  }
  flush_to_.store(0, std::memory_order_relaxed);
  flush_from_.store(0, std::memory_order_relaxed);
  {
    const MutexLock lock(mutex_);
    checkpoint_wanted_ = false;
  }
  if (request.hooks.done) request.hooks.done(info);
}

// --- moments ---

Result<CheckpointThread::Moment> CheckpointThread::freeze_moment() {
  std::future<Result<Moment>> moment;
  {
    const MutexLock lock(mutex_);
    if (is_stopping()) return make_error(ErrorCode::kClosed, "the store is closing");
    Job job;
    moment = job.moment.get_future();
    jobs_.push_back(std::move(job));
    wake_.notify_all();
  }
  return moment.get();
}

Result<CheckpointThread::Moment> CheckpointThread::take_moment() {
  CheckpointCoordinator& coordinator = context_.coordinator;
  if (is_stopping()) return make_error(ErrorCode::kCancelled, "the store is closing");
  Moment moment;
  // Before anybody crosses over: what compaction moves afterwards is not in the point.
  moment.pin = context_.pins.add(0);
  moment.begin = log_.begin();
  context_.pins.lift(moment.pin, moment.begin);
  const auto fail = [&](Error error) -> Result<Moment> {
    context_.pins.remove(moment.pin);
    return tl::unexpected(std::move(error));
  };
  if (!coordinator.prepare(moment.point.version)) {
    return fail({ErrorCode::kFailedPrecondition, "a checkpoint before never ended"});
  }
  moment.point.boundary = coordinator.cross_over();
  // Sessions that are closed with the store may not all have crossed over: no next version then.
  if (auto crossed = coordinator.wait_crossed(); !crossed) return fail(std::move(crossed.error()));
  auto points = coordinator.begin_flush();
  auto end = points ? log_.seal_tail(true) : tl::unexpected(points.error());
  if (end) {
    moment.point.end = *end;
    moment.points = std::move(*points);
    // Only then may records of the point's version be updated in place again, for they are not.
    if (*end > log_.first_address()) log_.wait_safe(*end - 1);
  }
  coordinator.finish();
  if (!end) return fail(std::move(end.error()));
  return moment;
}

// --- what is needed ---

LogAddress CheckpointThread::begin_needed() const {
  const MutexLock lock(mutex_);
  return std::min(kept_.begin(), running_begin_.value_or(kept_.begin()));
}

Result<> CheckpointThread::release_disk() {
  // A checkpoint or pin that comes after this was computed needs nothing below the log's begin.
  const LogAddress until = log_.begin();
  return log_.release_disk(std::min({until, begin_needed(), context_.pins.least()}));
}

Result<Manifest> CheckpointThread::start_reading(std::optional<uint64_t> token) {
  const MutexLock lock(mutex_);
  const Manifest* manifest = token ? kept_.find(*token) : kept_.newest_state();
  if (manifest == nullptr || leaving_.contains(manifest->token())) {
    return make_error(ErrorCode::kNotFound,
                      token ? "there is no checkpoint " + std::to_string(*token) + " of the store"
                            : "the store has no checkpoint yet");
  }
  being_read_.insert(manifest->token());
  return *manifest;
}

void CheckpointThread::done_reading(uint64_t token) {
  const MutexLock lock(mutex_);
  being_read_.erase(being_read_.find(token));
}

}  // namespace tailrace::kv
