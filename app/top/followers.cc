#include "app/top/followers.h"

#include <algorithm>

namespace tailrace::app::top {

using rpc::NodeStatusAnswer;

bool is_position_known(const NodeStatusAnswer::Follower& follower) {
  return follower.durable != Address{};
}

bool has_majority(const NodeStatusAnswer& leader) {
  const auto takes_part = [&](const NodeStatusAnswer::Member& member) {
    const auto is_connected = [&](const NodeStatusAnswer::Follower& follower) {
      return follower.node == member.node && follower.connected;
    };
    return member.node == leader.node || std::ranges::any_of(leader.followers, is_connected);
  };
  size_t voters = 0, connected = 0;
  for (const NodeStatusAnswer::Member& member : leader.members) {
    if (!member.voter) continue;
    ++voters;
    if (takes_part(member)) ++connected;
  }
  return voters == 0 || connected > voters / 2;
}

bool lacks_majority(const NodeStatusAnswer& answer) {
  return answer.role == "leader" && answer.serving && !has_majority(answer);
}

}  // namespace tailrace::app::top
