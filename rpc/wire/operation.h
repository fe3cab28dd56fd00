#pragma once
// The commands that clients may ask for, and what each is on the wire. Internal.

#include <array>

#include "rpc/wire/schema/client.capnp.h"
#include "statemachine/command/command.h"

namespace tailrace::rpc {

struct WireOperation {
  statemachine::Operation operation;
  wire::Operation wire;
};
inline constexpr std::array kWireOperations{
    WireOperation{statemachine::Operation::kPut, wire::Operation::PUT},
    WireOperation{statemachine::Operation::kDelete, wire::Operation::DELETE},
    WireOperation{statemachine::Operation::kAdd, wire::Operation::ADD},
    WireOperation{statemachine::Operation::kCas, wire::Operation::CAS},
    WireOperation{statemachine::Operation::kInsert, wire::Operation::INSERT},
    WireOperation{statemachine::Operation::kExpire, wire::Operation::EXPIRE},
    WireOperation{statemachine::Operation::kTxn, wire::Operation::TXN},
    WireOperation{statemachine::Operation::kDigest, wire::Operation::DIGEST},
    WireOperation{statemachine::Operation::kScavenge, wire::Operation::SCAVENGE},
};

/// NONE, which every server refuses, for what no client may ask.
constexpr wire::Operation to_wire(statemachine::Operation operation) {
  for (const WireOperation& row : kWireOperations)
    if (row.operation == operation) return row.wire;
  return wire::Operation::NONE;
}
/// Nothing: NONE, or of a newer client.
constexpr std::optional<statemachine::Operation> from_wire(wire::Operation operation) {
  for (const WireOperation& row : kWireOperations)
    if (row.wire == operation) return row.operation;
  return std::nullopt;
}

}  // namespace tailrace::rpc
