#pragma once

#include <nlohmann/json_fwd.hpp>

#include "rpc/client/client.h"

namespace tailrace::app {

/// What `member list --json` and `status --json` say of the members: an array.
nlohmann::json members_json(const rpc::NodeStatusAnswer& node);

/// "voter", "learner" or "joining".
const char* kind_of(const rpc::NodeStatusAnswer::Member& member);

}  // namespace tailrace::app
