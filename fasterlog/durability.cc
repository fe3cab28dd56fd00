// Waiting for, and being told of, what is durable.
#include "fasterlog/log_impl.h"

namespace tailrace::fasterlog {

Address LogImpl::request_commit() {
  const Address end = tail();
  flusher_.request(end);
  return end;
}

Result<> LogImpl::wait_durable(Address address, SteadyTime deadline, std::stop_token stop) {
  if (durable() >= address) return {};
  flusher_.request(address);
  std::unique_lock lock(core_->wait_mutex);
  core_->durable_waiters.fetch_add(1);
  const auto over = [&] { return durable() >= address || core_->failed.load() || closed_.load(); };
  if (deadline == SteadyTime::max()) {
    (void)core_->durable_moved.wait(lock, stop, over);
  } else {
    (void)core_->durable_moved.wait_until(lock, stop, deadline, over);
  }
  core_->durable_waiters.fetch_sub(1);
  if (durable() >= address) return {};
  if (core_->failure) return tl::unexpected(*core_->failure);
  if (closed_.load()) return make_error(ErrorCode::kClosed, "the log was closed");
  if (stop.stop_requested()) return make_error(ErrorCode::kCancelled, "the wait was cancelled");
  return make_error(ErrorCode::kTimedOut,
                    "address " + std::to_string(address.value) + " is not durable yet");
}

void LogImpl::set_durable_listener(DurableListener listener) {
  const std::lock_guard lock(core_->listener_mutex);
  core_->listener = std::move(listener);
}

}  // namespace tailrace::fasterlog
