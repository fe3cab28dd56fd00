#pragma once
// The first message of both sides: who I am, and what I speak.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/address.h"
#include "core/result.h"
#include "replication/messages.h"

namespace tailrace::rpc {

/// Raised when a message's meaning changes; new fields and verbs do not raise it.
inline constexpr uint32_t kProtocolVersion = 1;
/// What a hello says of the cluster's identity before there is one.
inline constexpr const char* kNoIdentity = "none";

/// kUnsupported when `theirs` is newer than ours, kInvalidArgument when it is none.
Result<> check_protocol_version(uint32_t theirs);

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
