#pragma once
// What is wrong with a cluster, in words. Internal.

#include <string>
#include <vector>

#include "app/top/view.h"

namespace tailrace::app::top {

using Answer = rpc::NodeStatusAnswer;

/// The one that leads and serves, the newest if an old one thinks that it does; null: none.
const Answer* find_leader(const Snapshot& snapshot);
/// What the leader says of the node; null: nothing.
const Answer::Follower* find_follower(const Answer* leader, NodeId node);

/// "ok", or a word for what is wrong with the node that said this.
std::string health_of(const Answer& answer, const Answer* leader);

/// One line each, the worst first. `view` has its nodes.
std::vector<std::string> problems_of(const Snapshot& now, const View& view);

}  // namespace tailrace::app::top
