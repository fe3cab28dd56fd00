// Flushing without a thread: a host, the event loop that ships and counts what is flushed anyhow,
// calls step(). A commit then costs no change of threads between the disk and the network.
//
// The host has the baton during a step and lays it down after it, also while flushes are in the I/O
// queue. Whoever must wait for the disk, perhaps on the host's own thread, takes it meanwhile and
// flushes there (flush_until(), rest()); the host's steps do nothing then, and it is woken for one
// when the baton lies there again.
//
// sleep_ is kAwake from a wake-up until the step that it asked for has looked at everything, so
// many wake-ups are one. As of the thread: asleep first, then a last look. hosted_ changes with the
// baton in hand and under its mutex: whoever waits for the baton waits in vain once the thread has
// it.
#include "core/thread.h"
#include "fasterlog/engine/flusher.h"

namespace tailrace::fasterlog {

namespace {

// Of who flushes while waiting; it is woken, too.
constexpr auto kLongestWait = std::chrono::milliseconds(50);
// A mark finds no room before the next segment is there, or the system has no room for a request.
constexpr auto kUntilRoom = std::chrono::milliseconds(1);
// A quick disk and busy writers would keep the loop in one step: what else it has to do goes first.
constexpr int kMostRounds = 4;

}  // namespace

Result<> Flusher::host(std::function<void()> wake) {
  if (descriptor() < 0)
    return make_error(ErrorCode::kUnsupported,
                      "this way of input and output has nothing that an event loop can wait for");
  if (hosted_.load() || !running_)
    return make_error(ErrorCode::kFailedPrecondition, "the log has a host, or is closed");
  yielding_.store(true);
  this->wake();
  thread_.join();
  yielding_.store(false);
  {
    const MutexLock lock(host_mutex_);
    wake_host_ = std::move(wake);
  }
  {
    const MutexLock lock(baton_mutex_);
    hosted_.store(true);
  }
  lay_baton_down();
  return {};
}

void Flusher::unhost() {
  if (!hosted_.load()) return;
  if (running_) (void)take_baton(true);
  {
    const MutexLock lock(host_mutex_);
    wake_host_ = nullptr;
  }
  {
    const MutexLock lock(baton_mutex_);
    hosted_.store(false);
    resting_ = false;
  }
  pumping_.store(false);
  baton_changed_.notify_all();
  if (!running_) return;
  sleep_.store(Sleep::kAwake);
  thread_ = named_thread("log_flush", [this] { run(); });
}

void Flusher::wake_host() {
  const MutexLock lock(host_mutex_);
  if (wake_host_) wake_host_();
}

bool Flusher::take_baton(bool to_rest) {
  MutexLock lock(baton_mutex_);
  ++want_baton_;
  baton_changed_.wait(lock, [&]() TAILRACE_REQUIRES(baton_mutex_) {
    return !baton_taken_ || resting_ || !hosted_.load();
  });
  --want_baton_;
  if (baton_taken_ || !hosted_.load()) return false;
  baton_taken_ = true;
  resting_ = to_rest;
  pumping_.store(true);
  // Nobody waits in the queue yet, or will once it is closed.
  sleep_.store(Sleep::kAwake);
  return true;
}

void Flusher::lay_baton_down() {
  pumping_.store(false);
  {
    const MutexLock lock(baton_mutex_);
    baton_taken_ = resting_ = woken_ = bytes_came_ = thread_wants_ = false;
  }
  baton_changed_.notify_all();
  // What came meanwhile has asked for no step, or for one that found the baton taken.
  wake_host();
}

bool Flusher::flush_until(Address address) {
  if (!hosted_.load() || !take_baton(false)) return false;
  // Who was slow to come here may want what was cut since: that is not enqueued any more.
  flush_here_until([&] {
    return core_.failed.load() || core_.durable.load() >= address.value ||
           core_.ring.tail() < address;
  });
  lay_baton_down();
  return true;
}

std::chrono::nanoseconds Flusher::step() {
  {
    const MutexLock lock(baton_mutex_);
    if (!hosted_.load() || baton_taken_) return kTick;
    baton_taken_ = true;
  }
  sleep_.store(Sleep::kAwake);
  std::chrono::nanoseconds timeout = kTick;
  bool again = true;
  for (int round = 0; again && round < kMostRounds; ++round) {
    // What has completed makes room for what is begun, which is then submitted. Also when nothing
    // is in flight: a wake-up that came too late would leave the descriptor readable.
    (void)reap(std::chrono::nanoseconds::zero());
    const SteadyTime now = core_.clock.now();
    const bool room = begin_due(now);
    const size_t completed = idle() ? 0 : reap(std::chrono::nanoseconds::zero());
    tell_listeners();
    note_waiting(now);
    timeout = time_to_sleep(now);
    sleep_.store(idle() ? Sleep::kIdle : Sleep::kInQueue);
    const bool more = has_work(now);
    again = completed > 0 || (more && room);
    if ((more && !room) || queue_->must_submit()) timeout = kUntilRoom;
  }
  if (again) {
    // Who wakes it now need not: it comes back at once.
    sleep_.store(Sleep::kAwake);
    timeout = std::chrono::nanoseconds::zero();
  }
  const MutexLock lock(baton_mutex_);
  baton_taken_ = false;
  if (want_baton_ > 0) baton_changed_.notify_all();
  return timeout;
}

void Flusher::flush_here_until(const std::function<bool()>& over) {
  for (;;) {
    const SteadyTime now = core_.clock.now();
    const bool room = begin_due(now);
    tell_listeners();
    if (over()) return;
    note_waiting(now);
    sleep_.store(Sleep::kInQueue);
    const bool more = has_work(now);
    (void)reap(more ? std::chrono::nanoseconds::zero() : kLongestWait);
    if (more && !room) std::this_thread::sleep_for(kUntilRoom);
  }
}

}  // namespace tailrace::fasterlog
