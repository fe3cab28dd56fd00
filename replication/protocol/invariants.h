#pragma once
// What must hold after every step of the core.

#include <optional>
#include <string>

#include "core/address.h"
#include "core/cluster_identity.h"

namespace tailrace::replication {

class Core;

/// Follows one core; check() after each step, in debug builds and tests.
class InvariantChecker {
 public:
  /// The sentence that is broken, if any.
  std::optional<std::string> check(const Core& core);

 private:
  Address committed_;
  Epoch epoch_, promised_, persisted_;
  ClusterIdentity identity_;
};

}  // namespace tailrace::replication
