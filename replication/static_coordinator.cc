#include "replication/static_coordinator.h"

namespace tailrace::replication {

void StaticCoordinator::start(Epoch known, std::function<void(Grant)> listener) {
  listener(Grant{leader_, self_ == leader_ ? Epoch{known.value + 1} : Epoch{}});
}

}  // namespace tailrace::replication
