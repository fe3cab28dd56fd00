#pragma once
// The protocol in sentences, for traces that are read by people: tests/replication/traces and
// TAILRACE_TRACE (docs/internals/testing.md).

#include <string>

#include "replication/protocol/events.h"

namespace tailrace::replication {

/// What the sender says: "promise me epoch 3".
std::string describe(const Message& message);
/// What happens to a node: "is granted epoch 3".
std::string describe(const Event& event);
/// What it does then: "tells node 2: promise me epoch 3".
std::string describe(const Action& action);

}  // namespace tailrace::replication
