#include "replication/protocol/membership.h"

#include <algorithm>

#include "core/host_port.h"

namespace tailrace::replication {

namespace {

// The whole record is read, sent and told of at every change.
constexpr size_t kMostMembers = 1024;
constexpr uint8_t kLayout1 = 1, kLayout2 = 2, kLayout3 = 3;
enum Kind : uint8_t { kLearner = 0, kVoter = 1, kJoining = 2 };

template <typename T>
void append(std::vector<std::byte>& to, T value) {
  to.resize(to.size() + sizeof value);
  store(to.data() + to.size() - sizeof value, value);
}

void append(std::vector<std::byte>& to, const std::string& text) {
  const ByteSpan bytes = as_bytes(text);
  to.insert(to.end(), bytes.begin(), bytes.end());
}

/// Takes from the front; once something was missing, gives zeros.
class Taker {
 public:
  explicit Taker(ByteSpan bytes) : left_(bytes) {}
  template <typename T>
  T take() {
    const ByteSpan bytes = take_bytes(sizeof(T));
    return bytes.empty() ? T{} : load<T>(bytes.data());
  }
  std::string take_text(size_t size) { return to_string(take_bytes(size)); }
  bool good() const { return good_; }
  bool at_end() const { return left_.empty(); }

 private:
  ByteSpan take_bytes(size_t size) {
    good_ = good_ && size <= left_.size();
    if (!good_) return {};
    const ByteSpan bytes = left_.first(size);
    left_ = left_.subspan(size);
    return bytes;
  }
  ByteSpan left_;
  bool good_ = true;
};

std::string node(NodeId id) {
  return "node " + std::to_string(id.value);
}

}  // namespace

const Member* find_member(const Members& members, NodeId id) {
  const auto found = std::ranges::find(members, id, &Member::id);
  return found == members.end() ? nullptr : &*found;
}

size_t count_voters(const Members& members) {
  return static_cast<size_t>(std::ranges::count(members, true, &Member::voter));
}

std::string wrong_with(const Members& members) {
  NodeId before;
  for (const Member& member : members) {
    if (member.id <= before) return "the ids of the members do not ascend from 1";
    if (member.voter && member.joining) return node(member.id) + " votes and is still joining";
    if (member.peer_address.size() > UINT16_MAX || member.client_address.size() > UINT16_MAX)
      return "an address of " + node(member.id) + " is too long";
    before = member.id;
  }
  if (members.size() > UINT16_MAX) return "too many members";
  if (count_voters(members) == 0) return "no member votes";
  return {};
}

std::string wrong_with(const MembersRecord& record) {
  if (std::string what = wrong_with(record.members); !what.empty()) return what;
  if (record.identity.known() != knows(record.cluster_version, Feature::kClusterIdentity))
    return record.identity.known() ? "an identity of the cluster, which is of a version before"
                                   : "the cluster has no identity";
  for (const Member& member : record.members) {
    const bool named = member.incarnation != 0;
    if (named != (member.voter && knows(record.cluster_version, Feature::kDisksOfVotes)))
      return named ? "a disk is named for " + node(member.id) + ", which has no vote"
                   : "no disk is named that votes for " + node(member.id);
  }
  return {};
}

std::vector<std::byte> encode_members(const MembersRecord& record) {
  const bool layout2 = knows(record.cluster_version, Feature::kDisksOfVotes);
  std::vector<std::byte> bytes;
  const bool layout3 = knows(record.cluster_version, Feature::kClusterIdentity);
  append(bytes, layout3 ? kLayout3 : layout2 ? kLayout2 : kLayout1);
  append(bytes, static_cast<uint16_t>(record.members.size()));
  if (layout2) append(bytes, record.cluster_version);
  if (layout3) {
    append(bytes, record.identity.high);
    append(bytes, record.identity.low);
  }
  for (const Member& member : record.members) {
    append(bytes, member.id.value);
    append(bytes, static_cast<uint8_t>(member.voter     ? kVoter
                                       : member.joining ? kJoining
                                                        : kLearner));
    if (layout2) append(bytes, member.incarnation);
    const bool in_file = layout2 && member.addresses_in_file;
    const std::string peer = in_file ? std::string() : member.peer_address;
    const std::string client = in_file ? std::string() : member.client_address;
    append(bytes, static_cast<uint16_t>(peer.size()));
    append(bytes, static_cast<uint16_t>(client.size()));
    append(bytes, peer);
    append(bytes, client);
  }
  return bytes;
}

void fill_addresses(Members& members, const Members& file) {
  for (Member& member : members) {
    const Member* named = find_member(file, member.id);
    if (!member.addresses_in_file || named == nullptr) continue;
    member.peer_address = named->peer_address;
    member.client_address = named->client_address;
  }
}

Result<MembersRecord> decode_members(ByteSpan payload) {
  Taker taker(payload);
  const auto layout = taker.take<uint8_t>();
  if (taker.good() && layout > kLayout3)
    return make_error(ErrorCode::kUnsupported, "a record of the cluster's members has version " +
                                                   std::to_string(layout) +
                                                   ", which a newer version of this program wrote");
  const auto wrong = [](std::string_view what) {
    return make_error(ErrorCode::kCorruption,
                      "a record of the cluster's members cannot be read: " + std::string(what));
  };
  if (layout == 0) return wrong("it has no version");
  const auto count = taker.take<uint16_t>();
  MembersRecord record;
  if (layout >= kLayout2) {
    record.cluster_version = taker.take<uint32_t>();
    if (taker.good() && record.cluster_version > kClusterVersion)
      return make_error(ErrorCode::kUnsupported,
                        "the cluster is of version " + std::to_string(record.cluster_version) +
                            ", this program knows versions up to " +
                            std::to_string(kClusterVersion) + ": upgrade this node");
    const bool disks = knows(record.cluster_version, Feature::kDisksOfVotes);
    const bool identity = knows(record.cluster_version, Feature::kClusterIdentity);
    if (taker.good() && (!disks || identity != (layout >= kLayout3)))
      return wrong("its layout is of another version");
  }
  if (layout >= kLayout3) {
    record.identity.high = taker.take<uint64_t>();
    record.identity.low = taker.take<uint64_t>();
  }
  for (size_t i = 0; i < count && taker.good(); ++i) {
    Member& member = record.members.emplace_back();
    member.id = NodeId{taker.take<uint32_t>()};
    const auto kind = taker.take<uint8_t>();
    if (kind > kJoining) return wrong("a member of an unknown kind");
    member.voter = kind == kVoter;
    member.joining = kind == kJoining;
    if (layout >= kLayout2) member.incarnation = taker.take<uint64_t>();
    const auto peer_bytes = taker.take<uint16_t>();
    const auto client_bytes = taker.take<uint16_t>();
    member.peer_address = taker.take_text(peer_bytes);
    member.client_address = taker.take_text(client_bytes);
    member.addresses_in_file = layout >= kLayout2 && peer_bytes == 0 && client_bytes == 0;
  }
  if (!taker.good()) return wrong("it is cut off");
  if (!taker.at_end()) return wrong("there is more than its members");
  if (const std::string what = wrong_with(record); !what.empty()) return wrong(what);
  return record;
}

Result<Members> changed(const Members& members, const MemberChange& change, NodeId leader) {
  const NodeId id = change.member.id;
  const auto refuse = [&](ErrorCode code, const std::string& why) {
    return make_error(code, node(id) + " " + why);
  };
  if (id == NodeId{}) return make_error(ErrorCode::kInvalidArgument, "0 is no node's id");
  // What logs have from before there was a limit is read all the same.
  for (const std::string& address : {change.member.peer_address, change.member.client_address})
    if (address.size() > kMostHostPortBytes)
      return refuse(ErrorCode::kInvalidArgument,
                    "cannot have an address of " + std::to_string(address.size()) +
                        " bytes: the limit is " + std::to_string(kMostHostPortBytes));
  Members next = members;
  const auto found = std::ranges::find(next, id, &Member::id);
  const bool gives_up_vote = change.kind == MemberChange::Kind::kRemove || !change.member.voter;
  if (id == leader && gives_up_vote)
    return refuse(ErrorCode::kFailedPrecondition,
                  "leads, and cannot change its own vote: hand over to another one first "
                  "(`tailrace transfer`)");
  if (change.kind == MemberChange::Kind::kRemove) {
    if (found != next.end()) next.erase(found);
  } else if (found == next.end()) {
    if (change.member.peer_address.empty() || change.member.client_address.empty())
      return refuse(ErrorCode::kInvalidArgument,
                    "is new: the addresses of its peer and client listeners are needed");
    Member added = change.member;
    added.upstream = NodeId{};
    added.incarnation = 0;
    added.addresses_in_file = false;
    added.joining = std::exchange(added.voter, false);
    if (next.size() >= kMostMembers)
      return refuse(ErrorCode::kResourceExhausted,
                    "is not added: " + std::to_string(next.size()) +
                        " are members, and the most that a cluster takes are " +
                        std::to_string(kMostMembers));
    next.push_back(std::move(added));
    std::ranges::sort(next, {}, &Member::id);
  } else {
    if (!change.member.peer_address.empty()) found->peer_address = change.member.peer_address;
    if (!change.member.client_address.empty()) found->client_address = change.member.client_address;
    if (!change.member.peer_address.empty() || !change.member.client_address.empty())
      found->addresses_in_file = false;
    found->joining = change.member.voter && !found->voter;
    found->voter = found->voter && change.member.voter;
    if (!found->voter) found->incarnation = 0;
  }
  if (next == members) return next;
  if (const std::string what = wrong_with(next); !what.empty())
    return make_error(ErrorCode::kInvalidArgument, what);
  for (const Member& member : next) {
    if (next.size() > 1 && member.peer_address.empty())
      return make_error(ErrorCode::kFailedPrecondition,
                        node(member.id) +
                            " has no peer address, so that others could not reach it: give it a "
                            "configuration file with `replication.members`, and restart it");
    if (member.id == id || change.kind == MemberChange::Kind::kRemove) continue;
    const Member& now = *find_member(next, id);
    for (const std::string& address : {member.peer_address, member.client_address})
      if (!address.empty() &&
          (comparable_address(address) == comparable_address(now.peer_address) ||
           comparable_address(address) == comparable_address(now.client_address)))
        return refuse(ErrorCode::kInvalidArgument,
                      "cannot be at " + address + ", where " + node(member.id) + " is");
  }
  return next;
}

}  // namespace tailrace::replication
