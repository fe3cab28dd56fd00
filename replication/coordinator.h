#pragma once
// Who leads, and in which epoch.

#include <functional>

#include "core/address.h"

namespace tailrace::replication {

struct Grant {
  NodeId leader;
  Epoch epoch;  // set when this node leads: greater than every epoch before
};

/// Called on the executor.
class Coordinator {
 public:
  virtual ~Coordinator() = default;
  /// `known` is the highest epoch that this node has promised or holds in its log. The listener is
  /// called on the executor, once or whenever leadership changes, until stop().
  virtual void start(Epoch known, std::function<void(Grant)> listener) = 0;
  virtual void stop() = 0;
};

}  // namespace tailrace::replication
