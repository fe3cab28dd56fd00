#include "fasterlog/engine/segment_maker.h"

#include "core/thread.h"
#include "fasterlog/engine/log_core.h"
#include "observability/logging.h"

namespace tailrace::fasterlog {

namespace {
constexpr std::chrono::milliseconds kRetryWhenFull{200};
}

SegmentMaker::SegmentMaker(LogCore& core, Listener listener)
    : core_(core), listener_(std::move(listener)) {}

SegmentMaker::~SegmentMaker() {
  stop();
}

Result<> SegmentMaker::start(Address end, Address first_end) {
  end_.store(end.value);
  wanted_.store(first_end.value);
  full_.store(false);
  while (end_.load() < first_end.value) {
    TAILRACE_ASSIGN_OR_RETURN(auto made, make_next());
    if (!made) break;
  }
  {
    const MutexLock lock(mutex_);
    stopping_ = false;
  }
  thread_ = named_thread("log_segments", [this] { run(); });
  return {};
}

void SegmentMaker::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void SegmentMaker::want(Address end) {
  if (end.value <= wanted_.load(std::memory_order_relaxed)) return;
  {
    const MutexLock lock(mutex_);
    wanted_.store(end.value);
  }
  wake_.notify_all();
}

void SegmentMaker::run() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    if (end_.load() >= wanted_.load()) {
      wake_.wait(lock);
      continue;
    }
    lock.unlock();
    auto made = make_next();
    if (!made) {
      listener_.failed(std::move(made).error());
      return;
    }
    listener_.changed();
    lock.lock();
    if (!*made)
      wake_.wait_for(lock, kRetryWhenFull, [&]() TAILRACE_REQUIRES(mutex_) { return stopping_; });
  }
}

/// False when the disk has no room.
Result<bool> SegmentMaker::make_next() {
  const LogOptions& options = core_.options;
  const auto full = [&](const std::string& why) {
    if (!full_.exchange(true))
      observability::log_warning("log {}: no room for the next segment: {}",
                                 options.directory.string(), why);
    return false;
  };
  // A recycled segment has its blocks already.
  if (!core_.segments.has_spare()) {
    TAILRACE_ASSIGN_OR_RETURN(auto space, core_.file_system.space(options.directory));
    const uint64_t least = options.segment_bytes + options.reserve_disk_bytes;
    if (space.available_bytes < least)
      return full("the disk has " + std::to_string(space.available_bytes) + " bytes to spare, " +
                  std::to_string(least) + " are needed");
  }
  if (auto made = core_.segments.make(end_.load() / options.segment_bytes); !made) {
    if (made.error().code == ErrorCode::kResourceExhausted) return full(made.error().message);
    return tl::unexpected(std::move(made).error());
  }
  end_.fetch_add(options.segment_bytes);
  full_.store(false);
  return true;
}

}  // namespace tailrace::fasterlog
