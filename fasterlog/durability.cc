// Waiting for, and being told of, what is durable.
#include "fasterlog/log_impl.h"

namespace tailrace::fasterlog {

Address LogImpl::request_commit() {
  const Address end = tail();
  flusher_.request(end);
  return end;
}

Result<> LogImpl::wait_durable(Address address, SteadyTime deadline, std::stop_token stop) {
  for (;;) {
    const uint64_t cuts = core_->cuts_over.load();
    if (durable() >= address) return {};
    flusher_.request(address);
    auto waited = core_->wait_for(
        [&] { return durable() >= address || core_->cuts_over.load() != cuts; },
        "address " + std::to_string(address.value) + " is not durable", deadline, stop);
    if (!waited) return waited;
    // A cut forgets what was requested.
  }
}

Log::ListenerHandle LogImpl::add_durable_listener(DurableListener listener) {
  const auto listeners = core_->listeners;
  const std::lock_guard lock(listeners->mutex);
  const auto place = listeners->all.insert(listeners->all.end(), std::move(listener));
  return {this, [listeners, place](void*) {
            const std::lock_guard erasing(listeners->mutex);
            listeners->all.erase(place);
          }};
}

}  // namespace tailrace::fasterlog
