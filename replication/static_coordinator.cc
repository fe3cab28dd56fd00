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
}

void StaticCoordinator::resign(Epoch, NodeId) {}

Result<> StaticCoordinator::promote() {
  if (!listener_)
    return make_error(ErrorCode::kFailedPrecondition, "the node does not run");
  known_ = Epoch{known_.value + 1};
  listener_(Grant{self_, known_});
  return {};
}

}  // namespace tailrace::replication
