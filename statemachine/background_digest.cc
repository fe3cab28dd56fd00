#include "statemachine/background_digest.h"

#include <algorithm>
#include <utility>

#include "core/thread.h"
#include "observability/logging.h"
#include "statemachine/applier.h"
#include "statemachine/digest.h"

namespace tailrace::statemachine {
namespace {

/// How long the applier waits for the state to be held. It is microseconds unless a checkpoint
/// began at the same moment.
constexpr std::chrono::milliseconds kPatience{20};
/// Someone waits for what was requested.
constexpr uint64_t kRequestedRates = 4;
/// A slice is what may be read in so much time.
constexpr uint64_t kSlicesPerSecond = 50;
constexpr uint64_t kLeastSlice = 16u << 10;
constexpr uint64_t kUnlimitedSlice = 8u << 20;

}  // namespace

BackgroundDigest::BackgroundDigest(kv::Store& store, uint64_t bytes_per_s, Probe& probe, Keep keep)
    : store_(store), bytes_per_s_(bytes_per_s), probe_(probe), keep_(std::move(keep)) {}

BackgroundDigest::~BackgroundDigest() {
  stop();
}

void BackgroundDigest::start() {
  {
    const MutexLock lock(mutex_);
    stopping_ = false;
  }
  thread_ = named_thread("digest", [this] { run(); });
}

void BackgroundDigest::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void BackgroundDigest::skip(Address address, Purpose purpose) {
  probe_.digests_skipped.add();
  const MutexLock lock(mutex_);
  if (purpose == Purpose::kComparison) asked_ = address;
}

void BackgroundDigest::begin(Address address, uint64_t log_time_ns, Purpose purpose) {
  MutexLock lock(mutex_);
  const SteadyTime patience = std::chrono::steady_clock::now() + kPatience;
  if (purpose == Purpose::kRequest && stage_ == Stage::kReading &&
      job_.purpose == Purpose::kComparison) {
    superseded_ = true;
    changed_.notify_all();
    changed_.wait_until(lock, patience, [this]() TAILRACE_REQUIRES(mutex_) {
      return stage_ == Stage::kIdle || stopping_;
    });
  }
  if (stopping_ || stage_ != Stage::kIdle) {
    lock.unlock();
    return skip(address, purpose);
  }
  if (purpose == Purpose::kComparison) asked_ = address;
  job_ = {address, log_time_ns, purpose};
  part_done_ = 0;
  superseded_ = false;
  stage_ = Stage::kAsked;
  changed_.notify_all();
  // Should it give up, the thread finds that the session has gone past the address.
  changed_.wait_until(lock, patience, [this]() TAILRACE_REQUIRES(mutex_) {
    return stage_ != Stage::kAsked || stopping_;
  });
}

DigestProgress BackgroundDigest::progress() const {
  const MutexLock lock(mutex_);
  DigestProgress progress;
  progress.asked = asked_;
  progress.newest = newest_;
  progress.took = took_;
  progress.running = stage_ != Stage::kIdle;
  progress.requested = progress.running && job_.purpose == Purpose::kRequest;
  return progress;
}

std::optional<double> BackgroundDigest::runs_at(Address address) const {
  const MutexLock lock(mutex_);
  if (stage_ == Stage::kIdle || job_.address != address) return std::nullopt;
  return part_done_;
}

void BackgroundDigest::run() {
  MutexLock lock(mutex_);
  for (;;) {
    changed_.wait(
        lock, [this]() TAILRACE_REQUIRES(mutex_) { return stopping_ || stage_ == Stage::kAsked; });
    if (stopping_) break;
    const Job job = job_;
    lock.unlock();
    const SteadyTime began = std::chrono::steady_clock::now();
    const std::optional<StateDigest> digest = compute(job);
    const auto took = std::chrono::steady_clock::now() - began;
    // Kept before it is said to be over: whoever asks in between waits once more.
    if (digest) {
      keep_(*digest);
      probe_.digests.add();
      probe_.digest_seconds.set(std::chrono::duration<double>(took).count());
    } else {
      probe_.digests_skipped.add();
    }
    lock.lock();
    stage_ = Stage::kIdle;
    if (digest && job.purpose == Purpose::kComparison) {
      newest_ = digest;
      took_ = took;
    }
    changed_.notify_all();
  }
  stage_ = Stage::kIdle;
  changed_.notify_all();
}

std::optional<StateDigest> BackgroundDigest::compute(const Job& job) {
  auto scan = store_.start_scan();
  // Another checkpoint or scan may have been first, and the applier went on meanwhile: then what is
  // held is a later state.
  bool exact = false;
  if (scan) {
    for (const kv::SessionPoint& point : (*scan)->points())
      exact |= point.session == kApplierSession && point.point == job.address.value;
  }
  {
    const MutexLock lock(mutex_);
    stage_ = Stage::kReading;
  }
  changed_.notify_all();
  if (!scan) observability::log_debug("digest at {}: {}", job.address.value, scan.error().message);
  if (!exact) return std::nullopt;

  PairSum sum(job.log_time_ns);
  const kv::Store::LogExtent extent = store_.log_extent();
  const auto total = static_cast<double>(extent.tail - extent.begin);
  const uint64_t bytes_per_s =
      bytes_per_s_ * (job.purpose == Purpose::kRequest ? kRequestedRates : 1);
  const double rate = static_cast<double>(bytes_per_s);
  const uint64_t slice =
      bytes_per_s == 0 ? kUnlimitedSlice : std::max(bytes_per_s / kSlicesPerSecond, kLeastSlice);
  const SteadyTime began = std::chrono::steady_clock::now();
  for (;;) {
    const auto more =
        (*scan)->next(SIZE_MAX, slice, [&](ByteSpan key, ByteSpan value) { sum.add(key, value); });
    if (!more) {
      observability::log_error("digest at {}: {}", job.address.value, more.error().message);
      return std::nullopt;
    }
    if (!*more) return sum.digest(job.address);
    // By where it is, for a slice may be more than was asked for.
    const double part_done = (*scan)->fraction();
    const std::chrono::duration<double> due(rate > 0 ? part_done * total / rate : 0);
    const auto until = began + std::chrono::duration_cast<SteadyTime::duration>(due);
    if (!rest_until(until, part_done)) return std::nullopt;
  }
}

bool BackgroundDigest::rest_until(SteadyTime time, double part_done) {
  MutexLock lock(mutex_);
  part_done_ = part_done;
  changed_.wait_until(lock, time,
                      [this]() TAILRACE_REQUIRES(mutex_) { return stopping_ || superseded_; });
  return !stopping_ && !superseded_;
}

}  // namespace tailrace::statemachine
