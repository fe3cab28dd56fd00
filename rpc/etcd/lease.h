#pragma once
// One lease in etcd: taken, kept, and taken anew when it is lost.

#include <atomic>
#include <chrono>
#include <functional>

#include "core/clock.h"
#include "rpc/etcd/client.h"
#include "rpc/etcd/timer.h"

namespace tailrace::rpc {

/// On the io thread, but for remaining_s().
class EtcdLease {
 public:
  struct Events {
    std::function<void()> taken;  // id() is a new one
    /// etcd says that the lease is gone, and with it all keys under it; id() is 0. Silence is not
    /// loss: what etcd cannot be asked about is still ours.
    std::function<void()> lost;
  };

  EtcdLease(asio::io_context& io, EtcdClient& client, std::chrono::seconds ttl, Events events);

  void start();
  /// No more calls; the lease itself stays until it is revoked or runs out.
  void stop();
  int64_t id() const { return id_; }
  /// Some other call was told that there is no such lease.
  void not_found(int64_t id);
  /// Until etcd may let it run out, when nothing renews it. Any thread.
  double remaining_s() const;

 private:
  void take();
  void keep();
  void lose();
  void expires(SteadyTime at) { expires_ns_ = at.time_since_epoch().count(); }

  EtcdClient& client_;
  const std::chrono::seconds ttl_;
  const Events events_;
  EtcdTimer timer_;
  bool running_ = false;
  int64_t id_ = 0;
  std::atomic<int64_t> expires_ns_{0};
};

}  // namespace tailrace::rpc
