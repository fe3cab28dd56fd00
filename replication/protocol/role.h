#pragma once

#include <cstdint>
#include <string_view>

namespace tailrace::replication {

/// What a node does at the moment. kFollower also while it looks for a leader; kCandidate: it has
/// been granted an epoch and collects the promises; kStopped: it cannot go on.
enum class Role : uint8_t { kStarting, kLeader, kFollower, kLearner, kCandidate, kStopped };
std::string_view name_of(Role role);

}  // namespace tailrace::replication
