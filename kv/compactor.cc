#include "kv/compactor.h"

#include <algorithm>

#include "core/thread.h"
#include "kv/store_impl.h"

namespace tailrace::kv {

using Outcome = Engine::Outcome;
using Budget = HybridLog::Budget;
using SteadyClock = std::chrono::steady_clock;

namespace {
constexpr std::chrono::milliseconds kLookInterval{100};
constexpr std::chrono::milliseconds kCrossingInterval{1};
// A writer in the middle of a serial may be what the crossing over waits for: it is refused then.
constexpr std::chrono::milliseconds kMostCrossing{500};
constexpr std::chrono::seconds kAfterFailure{1};

int64_t now_ns() {
  return std::chrono::nanoseconds(SteadyClock::now().time_since_epoch()).count();
}
}  // namespace

Compactor::Compactor(StoreImpl& store)
    : store_(store), engine_(store.engine()), log_(engine_.log()) {
  store_.measure_budget();
}

Compactor::~Compactor() {
  stop();
}

void Compactor::start() {
  thread_ = named_thread("kv_compact", [this] { run(); });
}

void Compactor::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  room_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Compactor::pause(bool paused) {
  {
    const MutexLock lock(mutex_);
    paused_ = paused;
  }
  wake_.notify_all();
}

bool Compactor::must_stop(Pace pace) const {
  return stopping_ || (paused_ && pace != Pace::kManual);
}

// --- asked for ---

Result<LogAddress> Compactor::compact(LogAddress until) {
  until = std::min(until, log_.read_only());
  if (until > log_.begin()) log_.wait_safe(until - 1);
  return compact_range(until, Pace::kManual);
}

std::unique_lock<Mutex> Compactor::hold(bool wait) {
  if (wait) return std::unique_lock(work_mutex_);
  return {work_mutex_, std::try_to_lock};
}

bool Compactor::request_room() {
  MutexLock lock(mutex_);
  if (!store_.options().compaction.automatic || paused_ || !thread_.joinable()) return false;
  // Where nearly all of the log lives, moving it wins no room: it would go round and round.
  if (!store_.has_garbage()) return false;
  const LogAddress before = log_.disk_begin();
  const uint64_t ticket = ++requested_;
  wake_.notify_all();
  while (answered_ < ticket && !stopping_ && log_.disk_begin() == before) {
    const int64_t held = held_since_ns_;
    if (held != 0 && std::chrono::nanoseconds(now_ns() - held) > kMostCrossing) break;
    room_.wait_for(lock, kLookInterval);
  }
  return log_.disk_begin() > before;
}

// --- the thread ---

void Compactor::run() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    wake_.wait_for(lock, kLookInterval,
                   [&]() TAILRACE_REQUIRES(mutex_) { return stopping_ || requested_ > answered_; });
    if (stopping_) break;
    const uint64_t ticket = requested_;
    const bool room = ticket > answered_;
    lock.unlock();
    store_.measure_budget();
    store_.maintain_index();
    Pace pace = room ? Pace::kRoom : Pace::kPolicy;
    if (room) {
      serve_room();
    } else if (wants_compaction(pace)) {
      (void)compact_some(pace);
    }
    lock.lock();
    answered_ = std::max(answered_, ticket);
    room_.notify_all();
  }
  answered_ = UINT64_MAX;
  room_.notify_all();
}

bool Compactor::is_quiet_hour() const {
  const CompactionOptions& options = store_.options().compaction;
  const uint64_t hour = store_.clock().unix_time_ns() / 1'000'000'000 / 3600 % 24;
  const uint64_t from = options.quiet_from_hour;
  const uint64_t to = options.quiet_to_hour;
  if (from <= to) return hour >= from && hour < to;
  return hour >= from || hour < to;
}

// Whether disk space would be given back at all if begin moved: not while a checkpoint or a scan
// holds what has been left behind already.
bool Compactor::may_give_back() const {
  return align_down(log_.begin(), store_.options().segment_bytes) <= log_.disk_begin() &&
         store_.least_pin() > log_.begin();
}

bool Compactor::wants_compaction(Pace& pace) const {
  const StoreOptions& options = store_.options();
  const CompactionOptions& policy = options.compaction;
  if (!policy.automatic || paused_ || damaged_ || SteadyClock::now() < not_before_) return false;
  if (log_.failure()) return false;
  const uint64_t bytes = log_.tail() - log_.begin();
  // Three quarters of the disk are taken: it may become a matter of room soon.
  if (store_.has_garbage() && may_give_back() &&
      (log_.disk_bytes() > store_.budget_bytes() / 4 * 3 ||
       store_.used_bytes() >= store_.capacity_bytes())) {
    pace = Pace::kRoom;
    return true;
  }
  const uint64_t least = std::min(policy.least_log_bytes, store_.budget_bytes() / 4);
  if (is_quiet_hour() || bytes < least || log_.tail() < next_tail_) return false;
  if (store_.least_pin() <= log_.begin()) return false;
  return static_cast<double>(bytes - store_.garbage_bytes()) <
         policy.target_utilisation * static_cast<double>(bytes);
}

void Compactor::serve_room() {
  const LogAddress before = log_.disk_begin();
  const LogAddress end = log_.tail();
  if (!store_.release_disk()) return;
  while (log_.disk_begin() == before && log_.begin() < end && may_give_back() &&
         store_.has_garbage()) {
    if (!compact_some(Pace::kRoom)) return;
  }
}

bool Compactor::compact_some(Pace pace) {
  const uint64_t segment = store_.options().segment_bytes;
  const LogAddress begin = log_.begin();
  const LogAddress until = std::min(align_down(begin, segment) + segment,
                                    align_down(log_.safe_read_only(), log_.page_bytes()));
  if (until <= begin) return false;
  const LogAddress tail = log_.tail();
  const auto moved = compact_range(until, pace);
  if (!moved) {
    // The log's own failure stops all; what does not check is for a person to look at.
    if (moved.error().code == ErrorCode::kCorruption) damaged_ = true;
    not_before_ = SteadyClock::now() + kAfterFailure;
    return false;
  }
  // Where nearly everything lives nothing is won: as much must be written before the next try, or a
  // wrong estimate of what lives would keep the disk busy for ever.
  const uint64_t added = log_.tail() - tail;
  if (*moved > begin && added > (*moved - begin) / 10 * 9) next_tail_ = log_.tail() + added;
  return *moved > begin;
}

// --- the work ---

Result<LogAddress> Compactor::compact_range(LogAddress until, Pace pace) {
  const MutexLock work(work_mutex_);
  const LogAddress from = std::max(log_.begin(), walked_until_);
  until = std::min(until, log_.safe_read_only());
  if (from < until) {
    RecordStream stream(store_.file_system(), engine_, from, until);
    RecordWindow window(store_.file_system(), engine_);
    const auto since = SteadyClock::now();
    uint64_t moved_bytes = 0;
    for (;;) {
      window.clear();
      TAILRACE_RETURN_IF_ERROR(stream.fill(window));
      if (window.entries().empty()) break;
      TAILRACE_RETURN_IF_ERROR(settle(window, moved_bytes));
      walked_until_ = stream.position();
      store_.maintain_index();  // this may take long, and writers go on
      if (must_stop(pace)) return make_error(ErrorCode::kCancelled, "compaction was stopped");
      keep_pace(pace, since, walked_until_ - from + moved_bytes);
    }
    walked_until_ = std::max(walked_until_, stream.position());
  }
  return advance_begin(pace);
}

Result<> Compactor::settle(RecordWindow& window, uint64_t& moved_bytes) {
  const auto& is_garbage = store_.options().is_garbage;
  EngineProbe& probe = engine_.probe();
  for (RecordWindow::Entry& entry : window.entries()) {
    Record& record = entry.record();
    const uint64_t state = record.state.load(std::memory_order_relaxed);
    if (!engine_.undone().counts(entry.address, record)) continue;
    if ((state & Record::kTombstone) != 0) {
      probe.dropped_records.add();
    } else {
      entry.wanted = true;
    }
  }
  const auto attempt = [&](RecordWindow::Entry& entry, Engine::Waiting& waiting) {
    if (!entry.wanted) return Outcome::kKept;
    Record& record = entry.record();
    const bool garbage = is_garbage && is_garbage(record.key(), record.stable_value());
    const WriteVersion version = store_.coordinator().mover_version();
    const Outcome outcome = engine_.move_to_tail(
        HashedKey(record.key()), entry.address, record,
        {version, entry.fetch.found, waiting, false, Budget::kBeyond}, garbage);
    if (outcome == Outcome::kDone) {
      const uint64_t bytes = record.bytes();
      moved_bytes += bytes;
      if (garbage) {
        probe.dropped_records.add();
      } else {
        probe.compacted_records.add();
        probe.compacted_bytes.add(bytes);
      }
    }
    return outcome;
  };
  const auto provide = [&](Outcome outcome, const Engine::Waiting& waiting) -> Result<> {
    if (outcome == Outcome::kNeedsRoom) return log_.wait_for_room(waiting.bytes, Budget::kBeyond);
    // A record of the next version, while some sessions still write the one before: its copy can
    // only be of the next one too.
    if (stopping_) return make_error(ErrorCode::kCancelled, "the store is closing");
    MutexLock lock(mutex_);
    wake_.wait_for(lock, kCrossingInterval);
    return {};
  };
  return window.settle(nullptr, attempt, provide);
}

// The log may not begin behind a record that a session in the middle of a serial still writes
// beneath: while sessions cross over it waits.
Result<LogAddress> Compactor::advance_begin(Pace pace) {
  LogAddress until = walked_until_;
  if (log_.first_address() > (until & (log_.page_bytes() - 1))) {
    until = align_down(until, log_.page_bytes()) + log_.first_offset();
  }
  // Where nothing lives and the tail is at a page's end there is no next record yet: a checkpoint
  // of a log that began behind its end could not be recovered.
  until = std::min(until, log_.tail());
  for (;;) {
    auto begin =
        until > log_.begin() ? store_.advance_begin(until) : Result<LogAddress>(log_.begin());
    const bool held = !begin && begin.error().code == ErrorCode::kWouldBlock;
    if (!held) {
      held_since_ns_ = 0;
      if (begin && engine_.lap_is_over(*begin)) engine_.end_lap(store_.coordinator().version());
      return begin;
    }
    if (held_since_ns_ == 0) held_since_ns_ = now_ns();
    if (must_stop(pace)) {
      held_since_ns_ = 0;
      return begin;
    }
    MutexLock lock(mutex_);
    wake_.wait_for(lock, kCrossingInterval);
  }
}

void Compactor::keep_pace(Pace pace, SteadyClock::time_point since, uint64_t bytes) {
  const uint64_t rate = store_.options().compaction.bytes_per_s;
  if (pace != Pace::kPolicy || rate == 0) return;
  const auto due = since + std::chrono::nanoseconds(static_cast<int64_t>(
                               static_cast<double>(bytes) / static_cast<double>(rate) * 1e9));
  MutexLock lock(mutex_);
  wake_.wait_until(lock, due, [&]() TAILRACE_REQUIRES(mutex_) {
    return must_stop(pace) || requested_ > answered_;
  });
}

}  // namespace tailrace::kv
