#pragma once

#include <cstdint>
#include <string_view>

namespace tailrace::replication {

/// What a node does at the moment. kStopped: it led, and then heard of a higher epoch.
enum class Role : uint8_t { kStarting, kLeader, kFollower, kLearner, kStopped };
std::string_view name_of(Role role);

}  // namespace tailrace::replication
