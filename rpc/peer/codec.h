#pragma once
// Messages between nodes and their Cap'n Proto form. Internal.

#include "core/result.h"
#include "replication/protocol/messages.h"
#include "rpc/wire/schema/peer.capnp.h"

namespace tailrace::rpc {

/// Many bytes of the log or of a state are not copied: a segment of the frame refers to them, so
/// they must live until it has been sent. Returns them, null when there are none.
std::shared_ptr<const std::vector<std::byte>> encode_peer(const replication::Message& message,
                                                          wire::PeerFrame::Builder to);
/// kUnsupported for a message that this version does not know. The log bytes are copied once.
Result<replication::Message> decode_peer(wire::PeerFrame::Reader from);

}  // namespace tailrace::rpc
