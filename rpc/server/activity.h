#pragma once
// What the server has done and holds, as its status says it. Internal.

#include "rpc/server/io_thread.h"
#include "rpc/wire/status.h"

namespace tailrace::rpc {

/// Any thread.
NodeStatusAnswer::Activity activity_of(const ServerContext& context);

}  // namespace tailrace::rpc
