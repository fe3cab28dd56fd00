#pragma once
// What the server has done and holds, as its status says it. Internal.

#include <memory>

#include "rpc/server/io_thread.h"
#include "rpc/wire/status.h"

namespace tailrace::rpc {

/// Not older than a moment: it reads /proc and sums up counters, which is dear where many ask. Any
/// thread.
std::shared_ptr<const NodeStatusAnswer::Activity> activity_of(ServerContext& context);

}  // namespace tailrace::rpc
