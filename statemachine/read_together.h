#pragma once
// Several keys as they are at one applied address. Internal; StateMachine::read_together() is what
// others call.

#include <functional>
#include <string>
#include <vector>

#include "core/result.h"
#include "kv/store.h"
#include "statemachine/state_machine.h"
#include "statemachine/stretch_visits.h"

namespace tailrace::statemachine {

/// `keys`: as the store has them. `wake` has the applier look for visits. `log_time_ns` is asked on
/// the applier's thread, `go_on` on this one. What waits for the applier goes with the call.
Result<KeysTogether> read_keys_together(kv::Store& store, StretchVisits& visits,
                                        const std::function<void()>& wake,
                                        const std::function<uint64_t()>& log_time_ns,
                                        std::vector<std::string> keys, size_t most_bytes,
                                        const StateMachine::GoOn& go_on);

}  // namespace tailrace::statemachine
