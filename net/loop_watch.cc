#include "net/loop_watch.h"

#include <utility>

namespace tailrace::net {

LoopWatch::LoopWatch(asio::io_context& io, std::function<void(double)> late)
    : timer_(io), late_(std::move(late)) {}

void LoopWatch::start() {
  timer_.expires_after(kInterval);
  timer_.async_wait([this](const std::error_code& error) {
    if (error) return;
    const std::chrono::duration<double> late = std::chrono::steady_clock::now() - timer_.expiry();
    // What would have asked for the loop meanwhile waited, too: each interval counts that was
    // missed.
    const std::chrono::duration<double> interval = kInterval;
    for (double each = late.count(); each >= 0; each -= interval.count())
      late_(each);
    start();
  });
}

}  // namespace tailrace::net
