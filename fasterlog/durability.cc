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
  return core_->wait_for([&] { return durable() >= address; },
                         "address " + std::to_string(address.value) + " is not durable", deadline,
                         std::move(stop));
}

void LogImpl::set_durable_listener(DurableListener listener) {
  const std::lock_guard lock(core_->listener_mutex);
  core_->listener = std::move(listener);
}

}  // namespace tailrace::fasterlog
