#pragma once
// An event loop that does nothing but flush a log.

#include <atomic>
#include <memory>
#include <thread>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fasterlog/log.h"

namespace tailrace::fasterlog {

/// Flushes the log from its beginning to its end. While `held`, it does not.
class HostThread {
 public:
  explicit HostThread(Log& log) : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    auto steps = log.host_flushes([this] { wake(); });
    EXPECT_TRUE(steps.has_value()) << (steps ? "" : steps.error().message);
    if (!steps) return;
    steps_ = std::move(*steps);
    thread_ = std::thread([this] { run(); });
  }
  ~HostThread() {
    stop_.store(true);
    wake();
    if (thread_.joinable()) thread_.join();
    steps_.reset();
    ::close(event_);
  }
  HostThread(const HostThread&) = delete;
  HostThread& operator=(const HostThread&) = delete;

  void hold(bool held) {
    held_.store(held);
    wake();
  }
  std::thread::id id() const { return thread_.get_id(); }
  /// Runs it on the host's thread, between two steps, and waits for that.
  void run_there(std::function<void()> function) {
    std::atomic<bool> done{false};
    function_ = [&] {
      function();
      done.store(true);
    };
    asked_.store(true);
    wake();
    while (!done.load())
      std::this_thread::yield();
  }

 private:
  void wake() {
    const uint64_t one = 1;
    (void)!::write(event_, &one, sizeof one);
  }
  void run() {
    while (!stop_.load()) {
      if (asked_.exchange(false)) function_();
      std::chrono::nanoseconds pause = std::chrono::milliseconds(20);
      if (!held_.load()) pause = steps_->step();
      pollfd watched[] = {{event_, POLLIN, 0},
                          {held_.load() ? -1 : steps_->descriptor(), POLLIN, 0}};
      const auto timeout = std::chrono::duration_cast<std::chrono::milliseconds>(pause).count();
      (void)::poll(watched, 2, static_cast<int>(timeout) + 1);
      uint64_t value = 0;
      (void)!::read(event_, &value, sizeof value);
    }
  }

  const int event_;
  std::unique_ptr<Log::FlushSteps> steps_;
  std::function<void()> function_;
  std::atomic<bool> asked_{false}, held_{false}, stop_{false};
  std::thread thread_;
};

}  // namespace tailrace::fasterlog
