#include "rpc/peer/flush_host.h"

#include <chrono>
#include <optional>
#include <utility>

#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include "core/clock.h"

namespace tailrace::rpc {

namespace {

class FlushHost : public std::enable_shared_from_this<FlushHost> {
 public:
  explicit FlushHost(asio::io_context& io) : io_(io), completions_(io), timer_(io) {}

  Result<> start(fasterlog::Log& log) {
    auto wake = [weak = weak_from_this(), &io = io_] {
      auto run = [weak] {
        if (const auto self = weak.lock()) self->step();
      };
      asio::post(io, std::move(run));
    };
    TAILRACE_ASSIGN_OR_RETURN(steps_, log.host_flushes(std::move(wake)));
    std::error_code error;
    completions_.assign(steps_->descriptor(), error);
    if (error) {
      steps_.reset();
      return make_error(ErrorCode::kUnsupported, "epoll and io_uring: " + error.message());
    }
    watch();
    step();
    return {};
  }

  /// The log's own thread goes on.
  void end() {
    steps_.reset();
    timer_.cancel();
    std::error_code ignored;
    completions_.cancel(ignored);
    if (completions_.is_open()) completions_.release();
  }

 private:
  void step() {
    if (steps_) be_back_in(steps_->step());
  }

  void watch() {
    auto ready = [weak = weak_from_this()](const std::error_code& error) {
      const auto self = weak.lock();
      if (error || !self || !self->steps_) return;
      self->step();
      self->watch();
    };
    completions_.async_wait(asio::posix::stream_descriptor::wait_read, std::move(ready));
  }

  /// A timer that comes too early costs less than one that is set anew with each flush.
  void be_back_in(std::chrono::nanoseconds pause) {
    const SteadyTime then = std::chrono::steady_clock::now() + pause;
    if (due_ && *due_ <= then) return;
    due_ = then;
    timer_.expires_at(then);
    auto due = [weak = weak_from_this()](const std::error_code& error) {
      const auto self = weak.lock();
      if (error || !self) return;
      self->due_.reset();
      self->step();
    };
    timer_.async_wait(std::move(due));
  }

  asio::io_context& io_;
  asio::posix::stream_descriptor completions_;  // the log's, not ours to close
  asio::steady_timer timer_;
  std::optional<SteadyTime> due_;  // when the timer ends
  std::unique_ptr<fasterlog::Log::FlushSteps> steps_;
};

}  // namespace

Result<std::shared_ptr<void>> host_flushes(asio::io_context& io, fasterlog::Log& log) {
  const auto host = std::make_shared<FlushHost>(io);
  TAILRACE_RETURN_IF_ERROR(host->start(log));
  return std::shared_ptr<void>(host.get(), [host](void*) { host->end(); });
}

}  // namespace tailrace::rpc
