#pragma once

#include "replication/coordinator.h"

namespace tailrace::replication {

/// The leader is the one that the configuration names, until promote() makes this node lead; each
/// grant is a new epoch. A node that resigns is granted the next epoch at once, unless another is
/// to lead: then not until it is promoted or started again.
class StaticCoordinator : public Coordinator {
 public:
  StaticCoordinator(NodeId self, NodeId leader) : self_(self), leader_(leader) {}

  void start(Epoch known, Listener listener) override;
  void stop() override { listener_ = nullptr; }
  void raise(Epoch known) override;
  void set_candidacy(Candidacy candidacy) override { candidacy_ = candidacy; }
  void resign(Epoch epoch, NodeId successor) override;
  Result<> promote() override;
  CoordinatorStatus status() const override { return {}; }
  void register_metrics(observability::MetricRegistry&) override {}

 private:
  const NodeId self_, leader_;
  Epoch known_, granted_;
  Candidacy candidacy_ = Candidacy::kNever;
  Listener listener_;
};

}  // namespace tailrace::replication
