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

namespace {
constexpr uint32_t kMostDoublings = 5;
constexpr uint32_t kCalm = 200;  // calls without a grant: what was before is forgotten
}  // namespace

void StaticCoordinator::raise(Epoch known) {
  known_ = std::max(known_, known);
  // What is granted is exchanged for an epoch above it.
  if (granted_ != Epoch{} && granted_ < known_) grant_later();
}

void StaticCoordinator::resign(Epoch epoch, NodeId successor) {
  if (epoch != granted_) return;
  granted_ = Epoch{};
  wanted_ = false;
  // Nobody else will: a refused epoch is followed by a higher one.
  if (successor == NodeId{}) grant_later();
}

void StaticCoordinator::grant_later() {
  granted_ = Epoch{};
  wanted_ = true;
  pause_ = attempts_ * (1 + self_.value % 8);
  if (attempts_ < (1u << kMostDoublings)) attempts_ = 2 * attempts_ + 1;
}

void StaticCoordinator::set_candidacy(Candidacy candidacy) {
  if (++quiet_ > kCalm) attempts_ = 0;
  if (!wanted_ || candidacy == Candidacy::kNever || !listener_) return;
  if (pause_ > 0)
    --pause_;
  else
    (void)promote();
}

Result<> StaticCoordinator::promote() {
  if (!listener_) return make_error(ErrorCode::kFailedPrecondition, "the node does not run");
  wanted_ = false;
  quiet_ = 0;
  granted_ = known_ = Epoch{known_.value + 1};
  listener_(Grant{self_, granted_});
  return {};
}

}  // namespace tailrace::replication
