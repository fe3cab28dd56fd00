#pragma once
// What a node's answer says of the nodes that follow it, for `top`, `status` and `member`.

#include <string_view>

#include "rpc/wire/status.h"

namespace tailrace::app::top {

/// A leader knows no position of a follower that it has not heard yet.
bool is_position_known(const rpc::NodeStatusAnswer::Follower& follower);

/// Of a node that leads and serves: it and the voters that are connected to it and whose vote
/// counts are a majority of the voters. A voter with a new disk has no vote at first. True where
/// the answer names no voter: an older server.
bool has_majority(const rpc::NodeStatusAnswer& leader);
/// The node leads and serves, and has no majority.
bool lacks_majority(const rpc::NodeStatusAnswer& answer);
inline constexpr std::string_view kNoMajority =
    "no majority of the voters is connected: no write is answered";

}  // namespace tailrace::app::top
