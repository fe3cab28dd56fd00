#pragma once

#include "replication/node.h"
#include "rpc/server/server.h"
#include "rpc/wire/status.h"

namespace tailrace::rpc {

/// What clients are told of this node; messages come without the folders of `data_directory`. Any
/// thread.
NodeStatusAnswer status_answer(const ServerDependencies& to, const replication::NodeStatus& now,
                               const std::string& data_directory);

}  // namespace tailrace::rpc
