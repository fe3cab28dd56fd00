#pragma once
// Messages between nodes and their Cap'n Proto form. Internal.

#include "core/result.h"
#include "core/shared_bytes.h"
#include "replication/protocol/messages.h"
#include "rpc/wire/schema/peer.capnp.h"

namespace tailrace::rpc {

/// Many bytes of the log or of a state are not copied: a segment of the frame refers to them, so
/// they must live until it has been sent. Returns them, null when there are none.
SharedBytes encode_peer(const replication::Message& message, wire::PeerFrame::Builder to);
/// kUnsupported for a message that this version does not know. Bytes of the log are not copied
/// where the frame's memory is given: they share it.
Result<replication::Message> decode_peer(wire::PeerFrame::Reader from,
                                         const std::shared_ptr<const void>& memory = nullptr);

}  // namespace tailrace::rpc
