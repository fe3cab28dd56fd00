// Who flushes: the flusher's thread, or a waiter while that is idle.
//
// A commit of one record that goes through the thread costs two wake-ups, writer to flusher and
// back, which on a halted core take as long as half a write. So a waiter that finds the baton free
// writes and syncs for itself, and the thread sleeps on unless something is left to do.
#include <cstring>

#include "fasterlog/engine/flusher.h"

namespace tailrace::fasterlog {

void Flusher::wake() {
  const Sleep before = sleep_.exchange(Sleep::kAwake);
  if (hosted_.load()) {
    if (before == Sleep::kAwake) return;
    if (pumping_.load()) queue_->wake();
    return wake_host();
  }
  if (before == Sleep::kInQueue) queue_->wake();
  {
    const MutexLock lock(baton_mutex_);
    woken_ = true;
  }
  baton_changed_.notify_one();
}

void Flusher::wake_for_bytes() {
  if (hosted_.load()) return wake();
  Sleep before = Sleep::kIdle;
  if (sleep_.compare_exchange_strong(before, Sleep::kIdleNudged)) {
    // The host has come meanwhile, and knows no such sleep.
    if (hosted_.load()) return wake();
    {
      const MutexLock lock(baton_mutex_);
      bytes_came_ = true;
      // Whoever flushes now looks for them when it is done.
      if (baton_taken_) return;
    }
    baton_changed_.notify_one();
  } else if (before == Sleep::kInQueue && sleep_.compare_exchange_strong(before, Sleep::kAwake)) {
    queue_->wake();
    if (hosted_.load()) wake_host();
  }
}

bool Flusher::nap_is_due(SteadyTime now) const {
  // Listeners wait too, and only the thread tells them.
  return lone_flush_ && now - *lone_flush_ < kLoneTime && core_.listeners->count.load() == 0;
}

void Flusher::sleep_idle(std::chrono::nanoseconds timeout, bool nap) {
  MutexLock lock(baton_mutex_);
  baton_taken_ = false;
  do {
    (void)baton_changed_.wait_for(lock, timeout, [&]() TAILRACE_REQUIRES(baton_mutex_) {
      return (woken_ || bytes_came_) && !baton_taken_;
    });
    // Whoever flushes now looks for more himself, and wakes the thread for it.
  } while (nap && baton_taken_);
  thread_wants_ = true;
  baton_changed_.wait(lock, [&]() TAILRACE_REQUIRES(baton_mutex_) { return !baton_taken_; });
  baton_taken_ = true;
  thread_wants_ = woken_ = bytes_came_ = false;
}

bool Flusher::try_take_baton() {
  const MutexLock lock(baton_mutex_);
  // A host would not learn that it lies there again.
  if (hosted_.load() || baton_taken_ || woken_ || thread_wants_) return false;
  baton_taken_ = true;
  return true;
}

void Flusher::give_baton_back() {
  const SteadyTime now = core_.clock.now();
  note_waiting(now);
  bool wake_thread = false;
  {
    const MutexLock lock(baton_mutex_);
    bytes_came_ = false;
    // Idle first, then a last look, as the thread itself does it.
    if (Sleep nudged = Sleep::kIdleNudged; !woken_)
      (void)sleep_.compare_exchange_strong(nudged, Sleep::kIdle);
    const bool to_tell = told_ != Address{core_.durable.load()} &&
                         core_.listeners->count.load(std::memory_order_relaxed) > 0;
    if (!order_.empty() || queue_->in_flight() > 0 || to_tell || has_work(now) || waiting_since_)
      woken_ = true;
    wake_thread = woken_ || thread_wants_;
    baton_taken_ = false;
  }
  if (wake_thread) baton_changed_.notify_one();
}

void Flusher::flush_here() {
  if (hosted_.load()) return;
  // Of many waiters the first would flush for itself alone, and the others wait for that.
  if (!lone_waiter_.load(std::memory_order_relaxed)) return;
  // More than a small flush is the thread's, which has several in flight.
  if (core_.ring.tail() - Address{core_.flushing.load()} > kSmallFlushBytes / 2) return;
  if (!try_take_baton()) return;
  if (may_start() && unflushed()) {
    const SteadyTime now = core_.clock.now();
    if (Flush* flush = begin_flush(due(now).value_or(FlushReason::kRequested))) {
      const Address from{align_down(flush->begin.value, storage::kBlockBytes)};
      if (flush->end - from > flush->bounce.size()) {
        write_flush(*flush);
      } else {
        write_here(*flush);
        advance(1);
        make_room();
      }
    }
  }
  give_baton_back();
}

void Flusher::write_here(Flush& flush) {
  Address at{align_down(flush.begin.value, storage::kBlockBytes)};
  ByteSpan bytes = copy_to_bounce(flush, at);
  const auto write_all = [&]() -> Result<> {
    while (!bytes.empty()) {
      const uint64_t offset = at.value % core_.options.segment_bytes;
      const size_t part = std::min<uint64_t>(bytes.size(), core_.options.segment_bytes - offset);
      const std::shared_ptr<storage::File> file = file_for(flush, at);
      TAILRACE_RETURN_IF_ERROR(file->write_at(offset, bytes.first(part)));
      at = at + part;
      bytes = bytes.subspan(part);
    }
    for (const auto& file : flush.files)
      TAILRACE_RETURN_IF_ERROR(file->sync());
    return {};
  };
  if (auto written = write_all(); !written) fail(std::move(written).error());
  flush.state = Flush::State::kDone;
}

}  // namespace tailrace::fasterlog
