#pragma once
// Who belongs to the cluster. At first the members that the configuration file names; from the
// first change on the newest record of RecordKind::kConfiguration in a node's log, whether or not
// it is committed (Ongaro, "Consensus: Bridging Theory and Practice", section 4).
//
// The record also says which version of formats and rules all members know: nothing newer is
// written (MembersRecord::cluster_version, core/cluster_version.h). From version 2 on a voter is a
// disk, not a number: the record names the incarnation that votes for each, and no other disk's
// word counts. From version 4 on it also says which cluster it is (MembersRecord::identity).
//
// The record's payload (docs/formats/members.md): one byte version, u16 count, from layout 2 on u32
// cluster_version, from layout 3 on u64 and u64 identity, and for each member, by ascending id: u32
// id, u8 kind (0 learner, 1 voter, 2 joining), from layout 2 on u64 incarnation, u16 bytes of the
// peer address, u16 bytes of the client address, the two addresses.

#include <string>
#include <vector>

#include "core/address.h"
#include "core/bytes.h"
#include "core/cluster_identity.h"
#include "core/cluster_version.h"
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
  /// Of a voter: the disk that votes for its number; 0: any (cluster version 1).
  uint64_t incarnation = 0;
  /// The record does not hold its addresses: each node's configuration file does.
  bool addresses_in_file = false;
  bool operator==(const Member&) const = default;
};
using Members = std::vector<Member>;

/// What the log says of the members.
struct MembersRecord {
  Members members;
  uint32_t cluster_version = 1;  // all members know it
  /// Drawn by the leader that writes the first record of version 4, the same in all that follow.
  ClusterIdentity identity = {};
};

/// Null if there is none.
const Member* find_member(const Members& members, NodeId id);
size_t count_voters(const Members& members);

/// What a record may hold: ids ascending and not 0, at least one voter, no voter that is joining.
/// Says what is wrong, or nothing.
std::string wrong_with(const Members& members);
/// As well: each voter, and no other member, has an incarnation from Feature::kDisksOfVotes on; the
/// cluster has an identity from Feature::kClusterIdentity on, and not before.
std::string wrong_with(const MembersRecord& record);

/// Layout 1 for cluster version 1, which nodes of before can read.
std::vector<std::byte> encode_members(const MembersRecord& record);
/// kUnsupported when a newer version wrote it, kCorruption when it cannot be read.
Result<MembersRecord> decode_members(ByteSpan payload);
/// Members whose addresses the record does not hold get those of `file`, where it has them.
void fill_addresses(Members& members, const Members& file);

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
