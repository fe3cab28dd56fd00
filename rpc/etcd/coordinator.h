#pragma once
// The coordinator `etcd`: who may lead is decided by one key in etcd, held under a lease.
// docs/formats/coordinator.md has the keys and the rules.

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/result.h"
#include "replication/coordinator.h"
#include "replication/transport.h"

namespace tailrace::rpc {

/// Names of PEM files. Without `ca` the system's authorities are trusted; `certificate` and `key`
/// are for an etcd that demands one of its clients, and are given together.
struct EtcdTlsOptions {
  std::string ca, certificate, key;
};

struct EtcdCoordinatorOptions {
  NodeId self;
  std::string cluster;
  std::string peer_address, client_address;  // of this node, for whoever reads the keys

  std::vector<std::string> endpoints;  // "http://HOST:PORT" or "https://HOST:PORT"
  std::string prefix = "/tailrace";    // of all keys: PREFIX/CLUSTER/…
  /// How long the lead stays with a node that etcd hears nothing from. etcd grants no less than 2
  /// s.
  std::chrono::seconds lease_ttl{3};
  /// Of one call, whichever endpoints it goes to. At most half of lease_ttl, so that a call that
  /// fails leaves time for another.
  std::chrono::milliseconds call_timeout{1000};
  EtcdTlsOptions tls;
  std::string username, password_file;  // both or neither
};

inline constexpr std::chrono::seconds kLeastEtcdLease{2};
inline constexpr std::chrono::seconds kMostEtcdLease{600};

/// Whether the text is an endpoint of etcd; the message says what one looks like.
Result<> check_etcd_endpoint(const std::string& text);

/// Reads the files that the options name; contact with etcd begins with start(). `executor`
/// outlives the coordinator, whose destructor runs on it or when it runs nothing any more. stop()
/// and the destructor take at most about one second: they give the lease back, so that another node
/// may lead at once.
Result<std::unique_ptr<replication::Coordinator>> make_etcd_coordinator(
    EtcdCoordinatorOptions options, replication::Executor& executor);

}  // namespace tailrace::rpc
