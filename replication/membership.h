#pragma once
// Who belongs to the cluster. At first the members that the configuration file names; from the
// first change on the newest record of RecordKind::kConfiguration in a node's log, whether or not
// it is committed (Ongaro, "Consensus: Bridging Theory and Practice", section 4).
//
// The record's payload (docs/formats/members.md): one byte version = 1, u16 count, and for each
// member, by ascending id: u32 id, u8 kind (0 learner, 1 voter, 2 joining), u16 bytes of the peer
// address, u16 bytes of the client address, the two addresses.

#include <string>
#include <vector>

#include "core/address.h"
#include "core/bytes.h"
#include "core/result.h"

namespace tailrace::replication {

struct Member {
  NodeId id;
  bool voter = true;
  std::string peer_address = {};    // HOST:PORT of its peer listener
  std::string client_address = {};  // HOST:PORT that clients are told
  /// Of a learner: the voter that feeds it while it can; 0: the leader. From the node's own file.
  NodeId upstream = {};
  /// A learner that the leader makes a voter as soon as it has caught up.
  bool joining = false;
  bool operator==(const Member&) const = default;
};
using Members = std::vector<Member>;

/// Null if there is none.
const Member* find_member(const Members& members, NodeId id);
size_t count_voters(const Members& members);

/// What a record may hold: ids ascending and not 0, at least one voter, no voter that is joining.
/// Says what is wrong, or nothing.
std::string wrong_with(const Members& members);

std::vector<std::byte> encode_members(const Members& members);
/// kUnsupported when a newer version wrote it, kCorruption when it can not be read.
Result<Members> decode_members(ByteSpan payload);

/// What an operator wants changed; one member at a time, so that any two majorities, of the members
/// before and after, have a voter in common.
struct MemberChange {
  enum class Kind : uint8_t { kSet, kRemove };
  Kind kind = Kind::kSet;
  /// kSet: added, or made what this says; `voter` of who is none yet begins as joining. Empty
  /// addresses of a member stay as they are. kRemove: only the id counts.
  Member member;
};

/// The members after the change; the same ones when nothing is to be done. kInvalidArgument, or
/// kFailedPrecondition where `leader`, who makes the change, would not be a voter any more.
Result<Members> changed(const Members& members, const MemberChange& change, NodeId leader);

}  // namespace tailrace::replication
