#pragma once

#include "replication/coordinator.h"

namespace tailrace::replication {

/// The leader is the one that the configuration names; each start of it is a new epoch.
class StaticCoordinator : public Coordinator {
 public:
  StaticCoordinator(NodeId self, NodeId leader) : self_(self), leader_(leader) {}

  void start(Epoch known, std::function<void(Grant)> listener) override;
  void stop() override {}

 private:
  const NodeId self_, leader_;
};

}  // namespace tailrace::replication
