#pragma once
// The one place that knows how a status is sent. Internal.

#include "rpc/wire/schema/client.capnp.h"
#include "rpc/wire/status.h"

namespace tailrace::rpc {

void write_status(const NodeStatusAnswer& status, wire::Status::Builder to);

/// Fields that an older server does not send have their defaults; a vote that is not known counts
/// as none. May throw kj::Exception (a malformed answer).
NodeStatusAnswer read_status(wire::Status::Reader from);

}  // namespace tailrace::rpc
