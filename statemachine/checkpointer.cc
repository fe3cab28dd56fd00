#include "statemachine/checkpointer.h"

#include <algorithm>
#include <future>

#include "core/thread.h"
#include "fasterlog/format/record.h"
#include "observability/logging.h"

namespace tailrace::statemachine {

Result<Address> point_of(const kv::CheckpointInfo& info) {
  for (const kv::SessionPoint& point : info.points)
    // Not quite the address of a record's end: the state's format was changed there.
    if (point.session == kApplierSession)
      return Address{align_down(point.point, fasterlog::kRecordAlignment)};
  return make_error(ErrorCode::kCorruption,
                    "the checkpoint does not say up to which log address it was applied; copy the "
                    "state from a peer");
}

Checkpointer::Checkpointer(fasterlog::Log& log, kv::Store& store, Watermarks& watermarks,
                           AnchorRegistry& anchors, Applier& applier,
                           const StateMachineOptions& options, const Clock& clock, Probe& probe)
    : log_(log),
      store_(store),
      watermarks_(watermarks),
      anchors_(anchors),
      applier_(applier),
      options_(options),
      clock_(clock),
      probe_(probe),
      last_(clock.now()) {}

Checkpointer::~Checkpointer() {
  stop();
}

void Checkpointer::start() {
  thread_ = named_thread("checkpoint", [this] { run(); });
}

void Checkpointer::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.request_stop();
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
  std::vector<Done> left;
  {
    MutexLock lock(mutex_);
    left.swap(requests_);
  }
  for (Done& done : left)
    done(make_error(ErrorCode::kClosed, "the state machine is stopping"));
}

void Checkpointer::request(Done done) {
  {
    MutexLock lock(mutex_);
    if (stopping_) {
      lock.unlock();
      done(make_error(ErrorCode::kClosed, "the state machine is stopping"));
      return;
    }
    requests_.push_back(std::move(done));
  }
  work_.notify_all();
}

CheckpointStatus Checkpointer::status() const {
  const kv::CheckpointProgress progress = store_.checkpoint_progress();
  MutexLock lock(mutex_);
  CheckpointStatus status = status_;
  status.phase = progress.phase;
  status.progress = progress.fraction;
  return status;
}

void Checkpointer::recovered(const kv::CheckpointInfo& info, Address point) {
  probe_.checkpoint_bytes.set(static_cast<double>(info.bytes));
  MutexLock lock(mutex_);
  status_.last_address = point;
  status_.last_unix_time_ns = info.unix_time_ns;
}

Result<> Checkpointer::truncate(Address point) {
  anchors_.set("checkpoint", point);
  if (options_.retention_bytes > 0) {
    const uint64_t applied = watermarks_.applied().value;
    const uint64_t kept = std::min(applied, options_.retention_bytes);
    anchors_.set("retention", std::max(log_.begin(), Address{applied - kept}));
  }
  const Address limit = std::min(anchors_.limit().first, log_.durable());
  if (limit <= log_.begin()) return {};
  TAILRACE_RETURN_IF_ERROR(log_.truncate_before(limit));
  return {};
}

void Checkpointer::reclaim() {
  const Address limit = std::min(anchors_.limit().first, log_.durable());
  if (limit == reclaimed_ || log_.reclaimable_segments(limit) == 0) return;
  reclaimed_ = limit;
  if (auto truncated = log_.truncate_before(limit); !truncated)
    observability::log_error("truncation: {}", truncated.error().message);
}

bool Checkpointer::due() const {
  if (!requests_.empty()) return true;
  // Compaction can give no disk space back before the checkpoints that need it are gone.
  if (options_.checkpoint_interval.count() > 0 && store_.wants_checkpoint() &&
      clock_.now() - last_ > std::chrono::seconds(1))
    return true;
  const uint64_t bytes = watermarks_.applied() - watermarks_.checkpointed();
  if (bytes == 0) return false;
  if (options_.checkpoint_log_bytes > 0 && bytes >= options_.checkpoint_log_bytes &&
      (status_.last_error.empty() || clock_.now() - last_ > std::chrono::seconds(1)))
    return true;
  return options_.checkpoint_interval.count() > 0 &&
         clock_.now() - last_ >= options_.checkpoint_interval;
}

void Checkpointer::run() {
  // A crash may have come between publishing and truncating. Not done while recovering: the anchors
  // of the followers, which may need what is below this node's checkpoint, are set after that.
  if (const Address point = status().last_address; point > Address{0}) {
    if (auto truncated = truncate(point); !truncated)
      observability::log_error("truncation: {}", truncated.error().message);
  }
  MutexLock lock(mutex_);
  const auto ready = [this]() TAILRACE_REQUIRES(mutex_) {
    return due() && (!requests_.empty() || !applier_.failure());
  };
  while (!stopping_) {
    if (!ready()) {
      lock.unlock();
      reclaim();
      lock.lock();
      if (!stopping_ && !ready()) work_.wait_for(lock, std::chrono::milliseconds(50));
      continue;
    }
    lock.unlock();
    Result<Address> taken = take();
    lock.lock();
    last_ = clock_.now();
    status_.last_error = taken ? std::string() : taken.error().message;
    std::vector<Done> requests;
    requests.swap(requests_);
    lock.unlock();
    if (!taken) {
      probe_.checkpoint_failures.add();
      observability::log_error("checkpoint: {}", taken.error().message);
    }
    for (Done& done : requests)
      done(taken);
    lock.lock();
  }
}

Result<Address> Checkpointer::take() {
  if (auto failed = applier_.failure()) return tl::unexpected(*failed);
  const SteadyTime began = clock_.now();
  // The point comes later than this, so the log time there is no less.
  const uint64_t log_time_ns = applier_.log_time_ns();
  // Shared with the hook: get() may return while the checkpoint's thread is still in set_value.
  auto published = std::make_shared<std::promise<Result<kv::CheckpointInfo>>>();
  auto result = published->get_future();
  kv::CheckpointHooks hooks;
  hooks.before_publish = [this](const kv::CheckpointInfo& info) -> Result<std::string> {
    TAILRACE_ASSIGN_OR_RETURN(const auto point, point_of(info));
    TAILRACE_RETURN_IF_ERROR(log_.wait_durable(point, SteadyTime::max(), stop_.get_token()));
    // The point may lie within the stretch that is being applied.
    TAILRACE_RETURN_IF_ERROR(applier_.wait_applied(point, SteadyTime::max()));
    // After a failure half of a command may be in the store: nothing is published then.
    if (auto failed = applier_.failure()) return tl::unexpected(*failed);
    if (options_.outcomes) TAILRACE_RETURN_IF_ERROR(options_.outcomes->flush());
    return std::to_string(point.value);
  };
  hooks.done = [published](const Result<kv::CheckpointInfo>& info) { published->set_value(info); };
  kv::CheckpointRequest request;
  request.kind = options_.checkpoint_kind;
  request.hooks = std::move(hooks);
  const Applier::Hurry hurry(applier_);
  TAILRACE_RETURN_IF_ERROR(store_.start_checkpoint(std::move(request)));
  TAILRACE_ASSIGN_OR_RETURN(const kv::CheckpointInfo info, result.get());
  TAILRACE_ASSIGN_OR_RETURN(const auto point, point_of(info));
  watermarks_.advance_checkpointed(point);
  if (options_.expiry_horizon) options_.expiry_horizon->advance(log_time_ns);
  probe_.checkpoint_seconds.set(std::chrono::duration<double>(clock_.now() - began).count());
  recovered(info, point);
  TAILRACE_RETURN_IF_ERROR(truncate(point));
  return point;
}

}  // namespace tailrace::statemachine
