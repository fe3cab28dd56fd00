#pragma once
// What a peer says of itself first, and whether it is one of ours.

#include <cstdint>
#include <string>

#include "core/address.h"
#include "core/result.h"
#include "replication/protocol/messages.h"
#include "rpc/wire/hello.h"

namespace tailrace::rpc {

/// A peer's own words about itself.
struct PeerIdentity {
  uint32_t protocol_version = kProtocolVersion;
  std::string cluster;
  NodeId node;
  replication::Introduction introduction = {};
};
/// kUnsupported (newer protocol) or kFailedPrecondition (another cluster, or a node with our own
/// number), naming both sides.
Result<> check_peer(const PeerIdentity& theirs, const PeerIdentity& ours);

}  // namespace tailrace::rpc
