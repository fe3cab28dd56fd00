#pragma once
// One side of a connection between nodes, and what its handler has been told.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/mutex.h"
#include "rpc/peer/transport.h"

namespace tailrace::rpc::testing {

struct Recorder : replication::TransportHandler {
  replication::Introduction introduction() const override {
    replication::Introduction said;
    said.version = 4;
    said.life.run = run;
    said.life.incarnation = own_disk;
    said.identity = identity;
    return said;
  }
  replication::Acquaintance acquaintance(NodeId,
                                         const replication::Introduction& said) const override {
    const bool known = disk == 0 || said.life.incarnation == disk;
    return known ? replication::Acquaintance::kDisk : replication::Acquaintance::kMember;
  }
  bool may_send_batches(NodeId) const override { return true; }
  void on_connected(NodeId, const replication::Introduction& said) override {
    const MutexLock lock(mutex);
    told = said;
    ++connected;
    changed.notify_all();
  }
  void on_disconnected(NodeId, const std::string& why) override {
    const MutexLock lock(mutex);
    ++disconnected;
    reason = why;
    changed.notify_all();
  }
  void on_message(NodeId, replication::Message message) override {
    const MutexLock lock(mutex);
    messages.push_back(std::move(message));
    changed.notify_all();
  }
  template <typename There>
  bool wait(There there) {
    MutexLock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(20), there);
  }
  struct Seen {
    int connected, disconnected;
    std::string reason;
  };
  /// How often until now; outside of wait() nothing else may be read while the transport runs.
  Seen seen() {
    const MutexLock lock(mutex);
    return {connected, disconnected, reason};
  }
  Mutex mutex;
  Condition changed;
  int connected = 0, disconnected = 0;
  std::string reason;
  std::vector<replication::Message> messages;
  // Set before the transport runs; 0: not told.
  uint64_t run = 0;
  ClusterIdentity identity;
  uint64_t own_disk = 0, disk = 0;  // the other side's, as this one knows it; 0: any is known
  replication::Introduction told;
};

struct Side {
  /// Of number 9, which the other side does not know.
  static std::unique_ptr<Side> stranger(const std::string& other) {
    return std::make_unique<Side>(9, "c", 0, other);
  }
  Side(uint32_t id, std::string cluster, int port, std::string other,
       std::chrono::milliseconds patience = std::chrono::milliseconds(1500), uint64_t run = 0,
       ClusterIdentity identity = {}, uint64_t own_disk = 0, uint64_t disk = 0) {
    recorder.own_disk = own_disk;
    recorder.disk = disk;
    recorder.run = run;
    recorder.identity = identity;
    PeerTransportOptions options;
    options.dial_patience = patience;
    options.self = NodeId{id};
    options.cluster = std::move(cluster);
    options.listen = "127.0.0.1:" + std::to_string(port);
    options.members = {{NodeId{id}, true, options.listen, ""},
                       {NodeId{id < 3 ? 3 - id : 1}, true, std::move(other), ""}};
    transport = PeerTransport::create(options).value();
    transport->start(std::chrono::milliseconds(10), [] {});
    handle(recorder);
  }
  ~Side() { transport->stop(); }
  std::string address() const { return "127.0.0.1:" + std::to_string(transport->port()); }
  void handle(Recorder& to) {
    transport->post([this, &to] { transport->set_handler(&to); });
  }
  void reset(uint32_t id) {
    transport->post([this, id] { transport->reset(NodeId{id}); });
  }
  /// A record of the members says that the other one is at `address`.
  void moved(uint32_t id, const std::string& address) {
    transport->post([this, id, address] {
      transport->set_members(
          {{NodeId{3 - id}, true, this->address(), ""}, {NodeId{id}, true, address, ""}});
    });
  }
  void send(uint32_t id, replication::Message message) {
    transport->post([this, id, message] { transport->send(NodeId{id}, message); });
  }
  Recorder recorder;
  std::unique_ptr<PeerTransport> transport;
};

}  // namespace tailrace::rpc::testing
