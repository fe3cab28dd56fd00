#include "config/coordinator_config.h"

#include <algorithm>

#include "config/yaml_reader.h"

namespace tailrace::config {

namespace {

void read_tls(YamlReader reader, rpc::EtcdTlsOptions& tls) {
  reader.text("ca", tls.ca);
  reader.text("certificate", tls.certificate);
  reader.text("key", tls.key);
  if (tls.certificate.empty() != tls.key.empty()) {
    const bool has = !tls.certificate.empty();
    reader.fail(has ? "certificate" : "key",
                std::string("needs ") + (has ? "key" : "certificate") + " beside it");
  }
  reader.finish();
}

void read_endpoints(YamlReader& reader, std::vector<std::string>& endpoints) {
  reader.texts("endpoints", endpoints);
  for (const std::string& endpoint : endpoints) {
    if (const auto good = rpc::check_etcd_endpoint(endpoint); !good) {
      reader.fail("endpoints", "has " + good.error().message);
    }
  }
  if (endpoints.empty()) {
    reader.fail("endpoints", "is missing; list etcd's client URLs, such as http://10.0.0.1:2379");
  }
}

void read_etcd(YamlReader& reader, rpc::EtcdCoordinatorOptions& etcd) {
  if (reader.has("leader")) {
    reader.fail("leader", "is of the coordinator 'static'; etcd decides who leads");
  }
  read_endpoints(reader, etcd.endpoints);
  reader.text("prefix", etcd.prefix);
  if (etcd.prefix.size() < 2 || etcd.prefix.front() != '/' || etcd.prefix.back() == '/') {
    reader.fail("prefix", "is '" + etcd.prefix +
                              "'; it must begin with a slash and end with none, as /tailrace");
  }
  reader.duration("lease_ttl", etcd.lease_ttl);
  if (etcd.lease_ttl < rpc::kLeastEtcdLease || etcd.lease_ttl > rpc::kMostEtcdLease) {
    reader.fail("lease_ttl", "is " + std::to_string(etcd.lease_ttl.count()) +
                                 " s; it must be from " +
                                 std::to_string(rpc::kLeastEtcdLease.count()) + " s to " +
                                 std::to_string(rpc::kMostEtcdLease.count()) + " s");
  }
  reader.duration("call_timeout", etcd.call_timeout);
  if (etcd.call_timeout < std::chrono::milliseconds(10) || 2 * etcd.call_timeout > etcd.lease_ttl) {
    reader.fail("call_timeout", "is " + std::to_string(etcd.call_timeout.count()) +
                                    " ms; it must be from 10 ms to half of lease_ttl");
  }
  read_tls(reader.mapping("tls"), etcd.tls);
  const bool encrypted = std::any_of(etcd.endpoints.begin(), etcd.endpoints.end(),
                                     [](const auto& each) { return each.starts_with("https:"); });
  if (reader.has("tls") && !encrypted) {
    reader.fail("tls", "is given, but no endpoint begins with https://");
  }
  reader.text("username", etcd.username);
  reader.text("password_file", etcd.password_file);
  if (etcd.username.empty() != etcd.password_file.empty()) {
    const bool has = !etcd.username.empty();
    reader.fail(has ? "username" : "password_file",
                std::string("needs ") + (has ? "password_file" : "username") + " beside it");
  }
}

void read_static(YamlReader& reader, replication::NodeOptions& node) {
  for (const char* key :
       {"endpoints", "prefix", "lease_ttl", "call_timeout", "tls", "username", "password_file"}) {
    if (reader.has(key)) reader.fail(key, "is of the coordinator 'etcd'; say kind: etcd");
  }
  reader.number("leader", 1, UINT32_MAX, node.leader.value);
}

}  // namespace

void read_coordinator(YamlReader reader, replication::NodeOptions& node,
                      CoordinatorConfig& coordinator) {
  std::string kind = "static";
  reader.text("kind", kind);
  if (kind == "static") {
    read_static(reader, node);
  } else if (kind == "etcd") {
    coordinator.kind = CoordinatorConfig::Kind::kEtcd;
    read_etcd(reader, coordinator.etcd);
  } else {
    return reader.fail("kind", "is '" + kind + "'; it must be static or etcd");
  }
  reader.finish();
}

}  // namespace tailrace::config
