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
    late_(late.count());
    start();
  });
}

}  // namespace tailrace::net
