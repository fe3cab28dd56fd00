// Waiting for, and being told of, what is durable.
#include "fasterlog/log_impl.h"

namespace tailrace::fasterlog {

Flusher::Awaited::Awaited(Flusher& flusher, Address address) : flusher_(flusher) {
  {
    const MutexLock lock(flusher_.awaited_mutex_);
    place_ = flusher_.awaited_.insert(address.value);
    flusher_.note_least_awaited();
  }
  // It may be there by now, and the thread has to know from when on it is to be woken.
  flusher_.nudge();
}

Flusher::Awaited::~Awaited() {
  {
    const MutexLock lock(flusher_.awaited_mutex_);
    flusher_.awaited_.erase(place_);
    flusher_.note_least_awaited();
  }
  flusher_.nudge();
}

// One whose flush is under way stays until he who waits has seen it durable; he hides nobody.
Address Flusher::next_awaited() const {
  const Address least{least_awaited_.load()};
  if (least > flushed_) return least;
  const MutexLock lock(awaited_mutex_);
  const auto next = awaited_.upper_bound(flushed_.value);
  return next == awaited_.end() ? Address::max() : Address{*next};
}

void Flusher::note_least_awaited() {
  least_awaited_.store(awaited_.empty() ? Address::max().value : *awaited_.begin());
}

Address LogImpl::request_commit() {
  const Address end = tail();
  flusher_.request(end);
  return end;
}

Result<> LogImpl::wait_durable(Address address, SteadyTime deadline, std::stop_token stop) {
  for (;;) {
    const uint64_t cuts = core_->cuts_over.load();
    if (durable() >= address) return {};
    // Whoever may have to stop waiting must not be stuck in the disk.
    if (core_->options.waiters_flush && tail() >= address && deadline == SteadyTime::max() &&
        !stop.stop_possible()) {
      flusher_.flush_here();
      if (durable() >= address) return {};
    }
    // The host may be who waits here.
    if (tail() >= address && deadline == SteadyTime::max() && !stop.stop_possible()) {
      flusher_.request(address);
      if (flusher_.flush_until(address) && durable() >= address) return {};
    }
    std::optional<Flusher::Awaited> awaited;
    if (tail() >= address) {
      flusher_.request(address);
    } else {
      awaited.emplace(flusher_, address);
    }
    TAILRACE_RETURN_IF_ERROR(core_->wait_for(
        [&] { return durable() >= address || core_->cuts_over.load() != cuts; },
        "address " + std::to_string(address.value) + " is not durable", deadline, stop));
    // A cut forgets what was requested.
  }
}

Result<std::unique_ptr<Log::FlushSteps>> LogImpl::host_flushes(std::function<void()> wake) {
  class Steps final : public FlushSteps {
   public:
    explicit Steps(LogImpl& log) : log_(log) {}
    ~Steps() override {
      const MutexLock role(log_.role_mutex_);
      log_.flusher_.unhost();
    }
    int descriptor() const override { return log_.flusher_.descriptor(); }
    std::chrono::nanoseconds step() override { return log_.flusher_.step(); }

   private:
    LogImpl& log_;
  };
  const MutexLock role(role_mutex_);
  TAILRACE_RETURN_IF_ERROR(flusher_.host(std::move(wake)));
  return std::make_unique<Steps>(*this);
}

Log::DurableInterest LogImpl::want_durable(Address address) {
  return std::make_shared<Flusher::Awaited>(flusher_, address);
}

Log::ListenerHandle LogImpl::add_durable_listener(DurableListener listener) {
  return add_listener(std::move(listener), false);
}

Log::ListenerHandle LogImpl::add_flush_listener(DurableListener listener) {
  return add_listener(std::move(listener), true);
}

Log::ListenerHandle LogImpl::add_listener(DurableListener listener, bool of_begins) {
  const auto listeners = core_->listeners;
  const MutexLock lock(listeners->mutex);
  const auto place = listeners->all.insert(listeners->all.end(), {std::move(listener), of_begins});
  listeners->note_counts();
  if (listeners->closed) place->call(durable(), &*listeners->closed);
  return {this, [listeners, place](void*) {
            const MutexLock erasing(listeners->mutex);
            listeners->all.erase(place);
            listeners->note_counts();
          }};
}

}  // namespace tailrace::fasterlog
