#pragma once
// replication.coordinator of a node's file. Reading it is private to config/.

#include "replication/node.h"
#include "rpc/etcd/coordinator.h"

namespace tailrace::config {

struct CoordinatorConfig {
  enum class Kind {
    kStatic,  // the leader is replication::NodeOptions::leader
    kEtcd,    // NodeOptions::leader is 0
  } kind = Kind::kStatic;
  rpc::EtcdCoordinatorOptions etcd;  // kEtcd
};

class YamlReader;
void read_coordinator(YamlReader reader, replication::NodeOptions& node,
                      CoordinatorConfig& coordinator);

}  // namespace tailrace::config
