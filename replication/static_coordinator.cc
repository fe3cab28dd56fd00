#include "replication/static_coordinator.h"

#include <algorithm>
#include <utility>

namespace tailrace::replication {

void StaticCoordinator::start(Epoch known, Listener listener) {
  known_ = std::max(known_, known);
  listener_ = std::move(listener);
  if (self_ == leader_)
    (void)promote();
  else
    listener_(Grant{leader_, Epoch{}});
}

void StaticCoordinator::raise(Epoch known) {
  known_ = std::max(known_, known);
  // What is granted is exchanged for an epoch above it.
  if (granted_ != Epoch{} && granted_ < known_) (void)promote();
}

void StaticCoordinator::resign(Epoch epoch, NodeId successor) {
  if (epoch != granted_) return;
  granted_ = Epoch{};
  // Nobody else will: a refused epoch is followed by a higher one.
  if (successor == NodeId{}) (void)promote();
}

Result<> StaticCoordinator::promote() {
  if (!listener_) return make_error(ErrorCode::kFailedPrecondition, "the node does not run");
  granted_ = known_ = Epoch{known_.value + 1};
  listener_(Grant{self_, granted_});
  return {};
}

}  // namespace tailrace::replication
