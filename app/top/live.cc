#include "app/top/live.h"

#include <cstdint>
#include <utility>

#include <sys/eventfd.h>
#include <unistd.h>

#include "core/check.h"

namespace tailrace::app::top {

Live::Live(Poller poller, std::chrono::nanoseconds interval)
    : poller_(std::move(poller)),
      interval_(interval),
      event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  TAILRACE_CHECK(event_ >= 0, "no descriptor is left");
  thread_ = std::thread([this] { run(); });
}

Live::~Live() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  ::close(event_);
}

std::shared_ptr<const Snapshot> Live::take() {
  const MutexLock lock(mutex_);
  uint64_t count = 0;
  (void)!::read(event_, &count, sizeof count);
  return std::exchange(newest_, nullptr);
}

void Live::run() {
  SteadyTime next = std::chrono::steady_clock::now();
  for (;;) {
    next = std::max(next + interval_, std::chrono::steady_clock::now());
    auto snapshot = std::make_shared<const Snapshot>(poller_.poll());
    MutexLock lock(mutex_);
    newest_ = std::move(snapshot);
    const uint64_t one = 1;
    (void)!::write(event_, &one, sizeof one);
    if (changed_.wait_until(lock, next, [this]() TAILRACE_REQUIRES(mutex_) { return stopping_; }))
      return;
  }
}

}  // namespace tailrace::app::top
