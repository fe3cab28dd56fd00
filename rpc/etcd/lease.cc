#include "rpc/etcd/lease.h"

#include <algorithm>
#include <utility>

#include "observability/logging.h"

namespace tailrace::rpc {

EtcdLease::EtcdLease(asio::io_context& io, EtcdClient& client, std::chrono::seconds ttl,
                     Events events)
    : client_(client), ttl_(ttl), events_(std::move(events)), timer_(io) {}

void EtcdLease::start() {
  running_ = true;
  take();
}

void EtcdLease::stop() {
  running_ = false;
  timer_.cancel();
}

void EtcdLease::take() {
  const SteadyTime asked = system_clock().now();
  client_.grant_lease(ttl_, [this, asked](Result<EtcdLeaseGrant> lease) {
    if (!running_) return;
    if (!lease) return timer_.after(kEtcdRetryPause, [this] { take(); });
    id_ = lease->id;
    // Counted from before it was asked for: etcd began to count later.
    expires(asked + std::chrono::seconds(lease->ttl_s));
    timer_.after(std::chrono::milliseconds(ttl_) / 3, [this] { keep(); });
    events_.taken();
  });
}

void EtcdLease::keep() {
  const SteadyTime asked = system_clock().now();
  client_.keep_alive(id_, [this, asked, id = id_](Result<int64_t> left) {
    if (!running_ || id != id_) return;
    if (left && *left > 0) {
      expires(asked + std::chrono::seconds(*left));
      return timer_.after(std::chrono::milliseconds(ttl_) / 3, [this] { keep(); });
    }
    if (left || left.error().code == ErrorCode::kNotFound) return lose();
    timer_.after(kEtcdRetryPause, [this] { keep(); });
  });
}

void EtcdLease::not_found(int64_t id) {
  if (running_ && id != 0 && id == id_) lose();
}

void EtcdLease::lose() {
  observability::log_warning("etcd: the lease {:x} of this node is gone; a new one is taken", id_);
  id_ = 0;
  expires(SteadyTime{});
  events_.lost();
  take();
}

double EtcdLease::remaining_s() const {
  const auto left = SteadyTime(Nanoseconds(expires_ns_.load())) - system_clock().now();
  return std::max(0.0, std::chrono::duration<double>(left).count());
}

}  // namespace tailrace::rpc
