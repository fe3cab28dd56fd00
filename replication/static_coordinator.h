#pragma once

#include "replication/coordinator.h"

namespace tailrace::replication {

/// The leader is the one that the configuration names, until promote() makes this node lead; each
/// grant is a new epoch. A node that resigns, or hears of a higher epoch, is granted the next one
/// soon (set_candidacy, each tick), unless another is to lead: then not until it is promoted or
/// started again. The pauses grow while that goes on, and differ from node to node, so that two
/// which both mean to lead do not refuse each other for ever.
class StaticCoordinator : public Coordinator {
 public:
  StaticCoordinator(NodeId self, NodeId leader) : self_(self), leader_(leader) {}

  void start(Epoch known, Listener listener) override;
  void stop() override { listener_ = nullptr; }
  void raise(Epoch known) override;
  void set_candidacy(Candidacy candidacy) override;
  void resign(Epoch epoch, NodeId successor) override;
  Result<> promote() override;
  CoordinatorStatus status() const override { return {}; }
  void register_metrics(observability::MetricRegistry&) override {}

 private:
  const NodeId self_, leader_;
  void grant_later();

  Epoch known_, granted_;
  bool wanted_ = false;    // to be granted again, when pause_ is over
  uint32_t pause_ = 0;     // in calls of set_candidacy
  uint32_t attempts_ = 0;  // lately
  uint32_t quiet_ = 0;     // calls since the last grant
  Listener listener_;
};

}  // namespace tailrace::replication
