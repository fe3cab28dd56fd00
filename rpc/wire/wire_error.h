#pragma once
// Errors on the wire: the code travels as its stable name.

#include "core/result.h"
#include "rpc/wire/schema/client.capnp.h"

namespace tailrace::rpc {

void write_error(const Error& error, std::string_view leader_address, wire::Error::Builder to);
/// A name that this version does not know becomes kUnavailable.
Error read_error(wire::Error::Reader from);

}  // namespace tailrace::rpc
