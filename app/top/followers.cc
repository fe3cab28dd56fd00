#include "app/top/followers.h"

#include <set>

namespace tailrace::app::top {

using rpc::NodeStatusAnswer;

bool is_position_known(const NodeStatusAnswer::Follower& follower) {
  return follower.durable != Address{};
}

bool has_majority(const NodeStatusAnswer& leader) {
  // A set: a server may name very many.
  std::set<NodeId> taking_part{leader.node};
  for (const NodeStatusAnswer::Follower& follower : leader.followers)
    if (follower.connected && follower.vote != Vote::kNone) taking_part.insert(follower.node);
  size_t voters = 0, connected = 0;
  for (const NodeStatusAnswer::Member& member : leader.members) {
    if (!member.voter) continue;
    ++voters;
    if (taking_part.contains(member.node)) ++connected;
  }
  return voters == 0 || connected > voters / 2;
}

bool lacks_majority(const NodeStatusAnswer& answer) {
  return answer.role == "leader" && answer.serving && !has_majority(answer);
}

}  // namespace tailrace::app::top
