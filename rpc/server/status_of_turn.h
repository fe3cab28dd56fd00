#pragma once

#include <cstdint>
#include <memory>

#include "replication/node.h"

namespace tailrace::rpc {

/// The node's status as one turn of the io thread sees it. All that is decided in a turn (one
/// handler of its io_context) goes by one status; the next turn looks anew, and nobody has to
/// remember that: turns are counted where handlers are run (IoThread::turn()). On the io thread.
class StatusOfTurn {
 public:
  const replication::NodeStatus& get(const replication::Node& node, uint64_t turn) {
    if (!status_ || turn != turn_) {
      status_ = node.status();
      turn_ = turn;
    }
    return *status_;
  }
  /// Something is known to have changed in this turn.
  void look_anew() { status_.reset(); }

 private:
  std::shared_ptr<const replication::NodeStatus> status_;
  uint64_t turn_ = 0;
};

}  // namespace tailrace::rpc
