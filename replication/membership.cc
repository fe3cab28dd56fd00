#include "replication/membership.h"

#include <algorithm>

namespace tailrace::replication {

namespace {

constexpr uint8_t kVersion = 1;
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

std::vector<std::byte> encode_members(const Members& members) {
  std::vector<std::byte> bytes;
  append(bytes, kVersion);
  append(bytes, static_cast<uint16_t>(members.size()));
  for (const Member& member : members) {
    append(bytes, member.id.value);
    append(bytes, static_cast<uint8_t>(member.voter     ? kVoter
                                       : member.joining ? kJoining
                                                        : kLearner));
    append(bytes, static_cast<uint16_t>(member.peer_address.size()));
    append(bytes, static_cast<uint16_t>(member.client_address.size()));
    append(bytes, member.peer_address);
    append(bytes, member.client_address);
  }
  return bytes;
}

Result<Members> decode_members(ByteSpan payload) {
  Taker taker(payload);
  const auto version = taker.take<uint8_t>();
  if (taker.good() && version > kVersion)
    return make_error(ErrorCode::kUnsupported, "a record of the cluster's members has version " +
                                                   std::to_string(version) +
                                                   ", which a newer version of this program wrote");
  const auto wrong = [](std::string_view what) {
    return make_error(ErrorCode::kCorruption,
                      "a record of the cluster's members can not be read: " + std::string(what));
  };
  if (version != kVersion) return wrong("it has no version");
  const auto count = taker.take<uint16_t>();
  Members members;
  for (size_t i = 0; i < count && taker.good(); ++i) {
    Member& member = members.emplace_back();
    member.id = NodeId{taker.take<uint32_t>()};
    const auto kind = taker.take<uint8_t>();
    if (kind > kJoining) return wrong("a member of an unknown kind");
    member.voter = kind == kVoter;
    member.joining = kind == kJoining;
    const auto peer_bytes = taker.take<uint16_t>();
    const auto client_bytes = taker.take<uint16_t>();
    member.peer_address = taker.take_text(peer_bytes);
    member.client_address = taker.take_text(client_bytes);
  }
  if (!taker.good()) return wrong("it is cut off");
  if (!taker.at_end()) return wrong("there is more than its members");
  if (const std::string what = wrong_with(members); !what.empty()) return wrong(what);
  return members;
}

Result<Members> changed(const Members& members, const MemberChange& change, NodeId leader) {
  const NodeId id = change.member.id;
  const auto refuse = [&](ErrorCode code, const std::string& why) {
    return make_error(code, node(id) + " " + why);
  };
  if (id == NodeId{}) return make_error(ErrorCode::kInvalidArgument, "0 is no node's id");
  Members next = members;
  const auto found = std::ranges::find(next, id, &Member::id);
  const bool gives_up_vote = change.kind == MemberChange::Kind::kRemove || !change.member.voter;
  if (id == leader && gives_up_vote)
    return refuse(ErrorCode::kFailedPrecondition,
                  "leads, and can not change its own vote: hand over to another one first "
                  "(`tailrace transfer`)");
  if (change.kind == MemberChange::Kind::kRemove) {
    if (found != next.end()) next.erase(found);
  } else if (found == next.end()) {
    if (change.member.peer_address.empty() || change.member.client_address.empty())
      return refuse(ErrorCode::kInvalidArgument,
                    "is new: the addresses of its peer and client listeners are needed");
    Member added = change.member;
    added.upstream = NodeId{};
    added.joining = std::exchange(added.voter, false);
    next.push_back(std::move(added));
    std::ranges::sort(next, {}, &Member::id);
  } else {
    if (!change.member.peer_address.empty()) found->peer_address = change.member.peer_address;
    if (!change.member.client_address.empty()) found->client_address = change.member.client_address;
    found->joining = change.member.voter && !found->voter;
    found->voter = found->voter && change.member.voter;
  }
  if (next == members) return next;
  if (const std::string what = wrong_with(next); !what.empty())
    return make_error(ErrorCode::kInvalidArgument, what);
  for (const Member& member : next)
    if (next.size() > 1 && member.peer_address.empty())
      return make_error(
          ErrorCode::kFailedPrecondition,
          node(member.id) + " has no peer address, so that others could not reach it");
  return next;
}

}  // namespace tailrace::replication
