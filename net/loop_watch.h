#pragma once
// How late an event loop is: a timer that should have run at a moment, and when it did. Internal.

#include <chrono>
#include <functional>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

namespace tailrace::net {

class LoopWatch {
 public:
  /// `late`: told seconds, on the loop's thread, some times a second.
  LoopWatch(asio::io_context& io, std::function<void(double)> late);
  /// From now on. On the loop's thread, or before it runs.
  void start();

 private:
  static constexpr std::chrono::milliseconds kInterval{200};

  asio::steady_timer timer_;
  const std::function<void(double)> late_;
};

}  // namespace tailrace::net
