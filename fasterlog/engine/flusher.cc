#include "fasterlog/engine/flusher.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/thread.h"
#include "observability/logging.h"

namespace tailrace::fasterlog {

namespace {

// From here on the mark is stretched to the end of its block, so that the next flush need not wait
// for this one's last block.
constexpr uint64_t kStretchedMarkBytes = 64u << 10;
constexpr auto kIdle = std::chrono::milliseconds(50);

}  // namespace

size_t Flusher::queue_depth(const LogOptions& options) {
  return size_t{options.flushes_in_flight} * (options.buffer_pages + 4);
}

Flusher::Flusher(LogCore& core, std::unique_ptr<storage::IoQueue> queue)
    : core_(core),
      pressure_bytes_(std::max<uint64_t>(
          core.options.page_bytes, static_cast<uint64_t>(static_cast<double>(core.ring.bytes()) *
                                                         core.options.pressure_fraction))),
      overlap_bytes_(std::min(core.options.overlap_bytes, pressure_bytes_)),
      queue_(std::move(queue)),
      segment_maker_(core, {[this] { nudge(); }, [this](Error error) { fail(std::move(error)); }}),
      proven_writer_(core, [this](Error error) { fail(std::move(error)); }),
      flushes_(core.options.flushes_in_flight),
      flushed_{core.durable.load()},
      told_{core.durable.load()},
      told_begun_{told_} {
  reset_to(flushed_);
  proven_writer_.reset_to(core.proven_at_open);
}

void Flusher::reset_to(Address to) {
  flushed_ = to;
  core_.flushing.store(to.value);
  proven_writer_.reset_to(to);
  requested_.store(0);
  waiting_since_.reset();
  writable_end_ = core_.ring.head() + core_.ring.bytes();
  core_.ring.set_limits(to, to);
  proven_at_ = last_work_ = core_.clock.now();
}

Flusher::~Flusher() {
  stop();
}

void Flusher::start() {
  stop_.store(false);
  const std::vector<uint64_t> indexes = core_.segments.indexes();
  const uint64_t index = indexes.empty() ? core_.segments.index_of(flushed_) : indexes.back() + 1;
  // What memory reaches is made now, so that the first enqueue finds room.
  const Address end{index * core_.options.segment_bytes};
  if (!core_.failed.load()) {
    if (auto made = segment_maker_.start(end, wanted_memory_end()); !made)
      fail(std::move(made).error());
    make_room();
  }
  proven_writer_.start();
  running_ = true;
  if (hosted_.load()) return lay_baton_down();
  thread_ = named_thread("log_flush", [this] { run(); });
}

void Flusher::stop() {
  closing_.store(true);
  rest();
}

void Flusher::rest() {
  if (!std::exchange(running_, false)) return;
  stop_.store(true);
  if (hosted_.load()) {
    (void)take_baton(true);
    flush_here_until([this] { return is_over(); });
    note_closed();
    tell_listeners();
  } else {
    wake();
    thread_.join();
  }
  segment_maker_.stop();
  proven_writer_.stop();
}

bool Flusher::unflushed() const {
  return core_.ring.tail() > flushed_;
}

bool Flusher::may_start() const {
  if (core_.failed.load(std::memory_order_relaxed) || order_.size() >= flushes_.size())
    return false;
  // A flush that begins inside a block rewrites it: not while the one before still writes it.
  return order_.empty() || flushed_.value % storage::kBlockBytes == 0 ||
         flushes_[order_.back()].state == Flush::State::kSyncing ||
         flushes_[order_.back()].state == Flush::State::kDone;
}

std::optional<FlushReason> Flusher::due(SteadyTime now) const {
  if (!unflushed()) return std::nullopt;
  const CommitPolicy& policy = core_.options.commit;
  const uint64_t waiting = core_.ring.tail() - flushed_;
  const bool room_is_wanted =
      core_.room_waiters.load() > 0 || room_wanted_.load(std::memory_order_relaxed);
  if (policy.is_natural() &&
      (order_.empty() || waiting >= overlap_bytes_ || room_is_wanted || stop_.load()))
    return FlushReason::kNatural;
  if (policy.is_natural()) return std::nullopt;
  if (Address{requested_.load()} > flushed_) return FlushReason::kRequested;
  if (core_.ring.tail() >= next_awaited()) return FlushReason::kRequested;
  if (waiting >= pressure_bytes_ || room_is_wanted) return FlushReason::kPressure;
  if (policy.every_bytes > 0 && waiting >= policy.every_bytes) return FlushReason::kBytes;
  if (policy.every.count() > 0 && waiting_since_ && now - *waiting_since_ >= policy.every)
    return FlushReason::kInterval;
  // Roles end, and logs close, with everything durable.
  if (stop_.load()) return FlushReason::kClose;
  return std::nullopt;
}

void Flusher::note_waiting(SteadyTime now) {
  const CommitPolicy& policy = core_.options.commit;
  if (!unflushed()) {
    waiting_since_.reset();
  } else if (!waiting_since_) {
    waiting_since_ = now;
  }
  uint64_t bytes = pressure_bytes_;
  if (policy.is_natural()) bytes = order_.empty() ? 0 : overlap_bytes_;
  if (policy.every_bytes > 0) bytes = std::min(bytes, policy.every_bytes);
  // The first byte starts the clock.
  if (policy.every.count() > 0 && !waiting_since_) bytes = 0;
  uint64_t wake_at = flushed_.value + bytes;
  if (!policy.is_natural()) wake_at = std::min(wake_at, next_awaited().value);
  wake_at_.store(wake_at, std::memory_order_relaxed);
}

std::chrono::nanoseconds Flusher::time_until_due(SteadyTime now) const {
  const CommitPolicy& policy = core_.options.commit;
  if (policy.every.count() == 0 || !waiting_since_) return kTick;
  return std::clamp<std::chrono::nanoseconds>(*waiting_since_ + policy.every - now,
                                              std::chrono::nanoseconds(0), kTick);
}

bool Flusher::has_work(SteadyTime now) const {
  const bool clock_is_to_start = core_.options.commit.every.count() > 0 && !waiting_since_;
  return may_start() && (due(now) || (unflushed() && clock_is_to_start));
}

bool Flusher::begin_due(SteadyTime now) {
  if (core_.failed.load(std::memory_order_relaxed)) return true;
  bool room = true;
  make_room();
  while (may_start()) {
    const auto reason = due(now);
    if (!reason) break;
    Flush* flush = begin_flush(*reason);
    room = flush != nullptr;
    if (!room) break;
    write_flush(*flush);
    make_room();
  }
  note_proven_if_due(now);
  return room;
}

bool Flusher::is_over() const {
  return stop_.load() && idle() && (core_.failed.load() || !unflushed());
}

std::chrono::nanoseconds Flusher::time_to_sleep(SteadyTime now) const {
  const std::chrono::nanoseconds until_due = time_until_due(now);
  if (proven().value >= core_.durable.load()) return until_due;
  return std::min<std::chrono::nanoseconds>(until_due, kIdle);
}

size_t Flusher::reap(std::chrono::nanoseconds timeout) {
  completions_.clear();
  auto waited = queue_->wait(completions_, timeout);
  sleep_.store(Sleep::kAwake);
  if (!waited) {
    fail(std::move(waited).error());
    if (queue_->in_flight() == 0) order_.clear();
  }
  for (const storage::Completion& completion : completions_)
    complete(completion);
  advance(0);
  return completions_.size();
}

void Flusher::run() {
  for (;;) {
    const SteadyTime now = core_.clock.now();
    (void)begin_due(now);
    tell_listeners();
    if (is_over()) break;
    if (yielding_.load()) return;
    note_waiting(now);
    std::chrono::nanoseconds timeout = time_to_sleep(now);
    const bool asleep = idle();
    const bool nap = asleep && nap_is_due(now);
    if (nap) timeout = std::min<std::chrono::nanoseconds>(timeout, kNap);
    // Asleep first, then a last look: whoever enqueues after the look sees it.
    sleep_.store(nap ? Sleep::kNap : asleep ? Sleep::kIdle : Sleep::kInQueue);
    if (has_work(now)) {
      timeout = std::chrono::nanoseconds(0);
    } else if (stop_.load()) {
      timeout = queue_->in_flight() > 0 ? std::chrono::nanoseconds(std::chrono::milliseconds(1))
                                        : std::chrono::nanoseconds(0);
    }
    if (asleep) {
      if (timeout > std::chrono::nanoseconds::zero()) sleep_idle(timeout, nap);
      sleep_.store(Sleep::kAwake);
      continue;
    }
    (void)reap(timeout);
  }
  note_closed();
  tell_listeners();
}

void Flusher::note_closed() {
  // A log that goes on after a rest was not closed.
  if (!closing_.load() || core_.failed.load()) return;
  proven_writer_.stop();
  auto written = proven_writer_.write(Address{core_.durable.load()}, true);
  if (!written && written.error().code == ErrorCode::kResourceExhausted) {
    // All is durable; only a note of it has no room. The next start scans as after a crash.
    observability::log_warning("log {}: closed without META saying so: {}",
                               core_.options.directory.string(), written.error().message);
  } else if (!written) {
    fail(std::move(written).error());
  }
}

Flusher::Flush* Flusher::begin_flush(FlushReason reason) {
  Address end;
  {
    const storage::EpochProtection::Guard guard(core_.protection);
    if (core_.mode.load() == Mode::kCopy) {
      // The sender's marks are in what was appended; the tail moves after the bytes are in place.
      end = core_.ring.tail();
    } else {
      const Epoch epoch{core_.epoch.load()};
      const Address limit = std::min(writable_end_, segment_maker_.end());
      const auto mark_bytes = [&](Address first) -> uint64_t {
        if (first - flushed_ < kStretchedMarkBytes) return kLeastMarkBytes;
        return align_up((first + kLeastMarkBytes).value, storage::kBlockBytes) - first.value;
      };
      const auto at = core_.ring.reserve(limit, mark_bytes);
      if (!at) return nullptr;
      if (at->pad_from != at->first)
        write_page_padding(core_.ring.at(at->pad_from), at->pad_from,
                           core_.ring.page_ceil(at->pad_from), epoch);
      write_commit_mark(core_.ring.at(at->first), at->first, at->end - at->first, epoch,
                        {flushed_, core_.stamp()});
      end = at->end;
    }
  }
  // Whoever reserved below the mark was inside the epoch before this bump; once it is safe all of
  // them have copied.
  core_.protection.wait_safe(core_.protection.bump());

  waiting_since_.reset();
  room_wanted_.store(false, std::memory_order_relaxed);
  core_.probe.begun[static_cast<size_t>(reason)].add();
  size_t slot = 0;
  while (flushes_[slot].state != Flush::State::kFree)
    ++slot;
  Flush& flush = flushes_[slot];
  flush.state = Flush::State::kWriting;
  flush.begin = flushed_;
  flush.end = end;
  flush.started = core_.clock.now();
  flush.outstanding = 0;
  flush.files.clear();
  if (flush.bounce.size() == 0) {
    auto bounce = storage::AlignedBuffer::allocate(kSmallFlushBytes);
    if (!bounce) {
      flush.state = Flush::State::kFree;
      fail(std::move(bounce).error());
      return nullptr;
    }
    flush.bounce = std::move(*bounce);
  }
  order_.push_back(slot);
  core_.probe.flushes_in_flight.store(static_cast<uint32_t>(order_.size()),
                                      std::memory_order_relaxed);
  flushed_ = end;
  core_.flushing.store(end.value);
  if (core_.durable_waiters.load() > 0) {
    const MutexLock lock(core_.wait_mutex);
    core_.durable_moved.notify_all();
  }
  last_work_ = flush.started;
  return &flush;
}

void Flusher::write_flush(Flush& flush) {
  const Address from{align_down(flush.begin.value, storage::kBlockBytes)};
  const Address end = flush.end;
  // Behind `end` others may be copying now, so the last block goes through the bounce buffer.
  const uint64_t whole = align_up(end.value, storage::kBlockBytes) - from.value;
  Address bounce_from{align_down(end.value, storage::kBlockBytes)};
  if (whole <= flush.bounce.size()) bounce_from = from;
  for (Address at = from; at < bounce_from;) {
    const Address part_end =
        std::min(bounce_from, core_.ring.page_floor(at) + core_.options.page_bytes);
    submit_write(flush, at, {core_.ring.at(at), part_end - at});
    at = part_end;
  }
  if (bounce_from == end) return;
  // The shorter way, on which it is not known when the write is over and only the sync is missing:
  // for a flush that the next one waits for anyhow, or that none is likely to follow, for nobody
  // came while the last one ran.
  const bool one_write = bounce_from == from && from.value % core_.options.segment_bytes + whole <=
                                                    core_.options.segment_bytes;
  if (one_write && (nothing_waited_ || overlap_bytes_ > 0))
    flush.state = Flush::State::kWritingSynced;
  submit_write(flush, bounce_from, copy_to_bounce(flush, bounce_from));
}

ByteSpan Flusher::copy_to_bounce(Flush& flush, Address from) const {
  const uint64_t kept = flush.end - from;
  const uint64_t bytes = align_up(kept, storage::kBlockBytes);
  core_.ring.copy_out(from, flush.bounce.span().first(kept));
  std::memset(flush.bounce.data() + kept, 0, bytes - kept);
  return ByteSpan(flush.bounce.span()).first(bytes);
}

std::shared_ptr<storage::File> Flusher::file_for(Flush& flush, Address address) const {
  std::shared_ptr<storage::File> file = core_.segments.file(core_.segments.index_of(address));
  TAILRACE_CHECK(file != nullptr, "no segment for address " + std::to_string(address.value));
  if (std::find(flush.files.begin(), flush.files.end(), file) == flush.files.end())
    flush.files.push_back(file);
  return file;
}

void Flusher::submit_write(Flush& flush, Address from, ByteSpan bytes) {
  const uint64_t token = static_cast<uint64_t>(&flush - flushes_.data());
  while (!bytes.empty()) {
    const uint64_t offset = from.value % core_.options.segment_bytes;
    const size_t part = std::min<uint64_t>(bytes.size(), core_.options.segment_bytes - offset);
    const std::shared_ptr<storage::File> file = file_for(flush, from);
    if (flush.state == Flush::State::kWritingSynced)
      queue_->write_synced(*file, offset, bytes.first(part), token);
    else
      queue_->write(*file, offset, bytes.first(part), token);
    ++flush.outstanding;
    from = from + part;
    bytes = bytes.subspan(part);
  }
}

void Flusher::complete(const storage::Completion& completion) {
  Flush& flush = flushes_[completion.token];
  --flush.outstanding;
  if (!completion.bytes) fail(completion.bytes.error());
  if (flush.outstanding > 0) return;
  if (core_.failed.load(std::memory_order_relaxed)) {
    flush.state = Flush::State::kDone;
    return;
  }
  if (flush.state == Flush::State::kWriting) {
    flush.state = Flush::State::kSyncing;
    for (const auto& file : flush.files) {
      queue_->sync(*file, completion.token);
      ++flush.outstanding;
    }
    return;
  }
  flush.state = Flush::State::kDone;
}

void Flusher::advance(uint32_t own_waiters) {
  Address durable{core_.durable.load()};
  const Address before = durable;
  const SteadyTime now = core_.clock.now();
  while (!order_.empty() && flushes_[order_.front()].state == Flush::State::kDone) {
    Flush& flush = flushes_[order_.front()];
    flush.state = Flush::State::kFree;
    flush.files.clear();
    order_.pop_front();
    if (core_.failed.load(std::memory_order_relaxed)) continue;
    durable = flush.end;
    core_.probe.flushes.add();
    core_.probe.flushed_bytes.add(flush.end - flush.begin);
    core_.probe.flush_bytes.observe(static_cast<double>(flush.end - flush.begin));
    core_.probe.flush_seconds.observe(std::chrono::duration<double>(now - flush.started).count());
  }
  core_.probe.flushes_in_flight.store(static_cast<uint32_t>(order_.size()),
                                      std::memory_order_relaxed);
  if (durable == before) return;
  nothing_waited_ = !unflushed();
  last_work_ = now;
  {
    const MutexLock lock(core_.index_mutex);
    if (durable - core_.marks.back() >= core_.options.page_bytes) core_.marks.push_back(durable);
  }
  core_.durable.store(durable.value);
  const uint32_t waiters = core_.durable_waiters.load();
  lone_waiter_.store(waiters + own_waiters <= 1, std::memory_order_relaxed);
  if (waiters + own_waiters == 1) lone_flush_ = now;
  if (waiters > 0) {
    const MutexLock lock(core_.wait_mutex);
    core_.durable_moved.notify_all();
  }
}

Address Flusher::wanted_memory_end() const {
  const PageRing& ring = core_.ring;
  const Address durable{core_.durable.load()};
  // Half is kept for readers of what was written, the rest lies ahead of the tail: a writer gets no
  // further before the next flush anyhow. With a quarter for them, the applier and the stream read
  // large values that were still on their way from the disk. A copy whose sender is further ahead
  // asks for more, up to the most that it takes at once.
  const uint64_t ahead =
      room_wanted_.load(std::memory_order_relaxed) ? ring.bytes() / 4 * 3 : ring.bytes() / 2;
  return std::min(ring.page_floor(durable) + ring.bytes(),
                  ring.page_ceil(ring.tail()) + align_down(ahead, core_.options.page_bytes));
}

void Flusher::make_room() {
  PageRing& ring = core_.ring;
  const uint64_t page = core_.options.page_bytes;
  if (const Address wanted = wanted_memory_end(); wanted > writable_end_) {
    ring.set_head(wanted - ring.bytes());
    core_.protection.wait_safe(core_.protection.bump());
    writable_end_ = wanted;
  }
  // Disk: as far as memory reaches, so that a flush finds its file; and half of the memory more, so
  // that the next segment is there before it is needed.
  segment_maker_.want(writable_end_ + ring.bytes() / 2);
  const Address segments_end = segment_maker_.end();
  const bool full = segments_end < writable_end_ && segment_maker_.disk_is_full();
  if (full != core_.disk_full.load(std::memory_order_relaxed)) {
    core_.refused_for_room.store(false);
    core_.disk_full.store(full);
    if (core_.room_waiters.load() > 0) {
      const MutexLock lock(core_.wait_mutex);
      core_.room_made.notify_all();
    }
  }
  // A batch takes at most half of the memory, so a copy with the same memory has room for it; and
  // a page is left below each end for the batch's own mark.
  const Address raw = std::min(writable_end_, segments_end);
  const Address writer = std::min(
      {writable_end_ - storage::kBlockBytes, segments_end - page, flushed_ + ring.bytes() / 2});
  if (writer <= ring.writer_limit() && raw <= ring.raw_limit()) return;
  ring.set_limits(std::max(writer, ring.writer_limit()), std::max(raw, ring.raw_limit()));
  if (core_.room_waiters.load() > 0) {
    const MutexLock lock(core_.wait_mutex);
    core_.room_made.notify_all();
  }
}

void Flusher::note_proven_if_due(SteadyTime now) {
  const Address durable{core_.durable.load()};
  if (proven() >= durable) {
    proven_at_ = now;
    return;
  }
  const bool idle = order_.empty() && !unflushed() && now - last_work_ >= kIdle;
  if (!idle && durable - proven() < core_.options.proven_lag_bytes &&
      now - proven_at_ < core_.options.proven_lag_time)
    return;
  if (proven_writer_.busy()) return;
  proven_at_ = now;
  proven_writer_.want(durable);
}

void Flusher::fail(Error error) {
  {
    const MutexLock lock(core_.wait_mutex);
    if (core_.failure) return;
    error = with_context("the log stopped taking writes", std::move(error));
    core_.failure = error;
    core_.failed.store(true);
    core_.durable_moved.notify_all();
    core_.room_made.notify_all();
  }
  core_.probe.failures.add();
  observability::log_error("log {}: {}", core_.options.directory.string(), error.message);
  // The listeners hear of it on the flusher's thread: this one may hold what they want.
  wake();
}

void Flusher::tell_listeners() {
  const Address durable{core_.durable.load()};
  if (durable != told_) {
    told_ = durable;
    told_begun_ = flushed_;
    core_.listeners->tell(durable, nullptr);
  } else if (flushed_ != told_begun_) {
    told_begun_ = flushed_;
    if (core_.listeners->of_begins.load(std::memory_order_relaxed) > 0)
      core_.listeners->tell_begun(durable);
  }
  if (told_failure_) return;
  if (const auto failure = core_.failure_copy()) {
    told_failure_ = true;
    core_.listeners->tell(durable, &*failure);
  }
}

}  // namespace tailrace::fasterlog
