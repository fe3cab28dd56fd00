#pragma once
// When a leader appends a record of rules (statemachine/types/rules.h): its file wants others than
// the log has. Pure; the driver asks at each tick.

#include <optional>

#include "core/address.h"
#include "replication/protocol/core.h"
#include "statemachine/state_machine.h"

namespace tailrace::replication {

class LeaderRules {
 public:
  /// What of those that the file wants all members know.
  static statemachine::Rules known(statemachine::Rules wanted, uint32_t cluster_version) {
    if (!knows(cluster_version, Feature::kSessionLimits)) wanted.limits.reset();
    if (!knows(cluster_version, Feature::kPositions)) wanted.positions = false;
    return wanted;
  }

  bool is_due(const CoreState& state, const statemachine::RulesStatus& rules,
              Address applied) const {
    if (state.role != Role::kLeader || !state.leadership.serving ||
        !knows(state.cluster_version, Feature::kRules))
      return false;
    // What its predecessors wrote, and what it has asked for itself, counts once it is applied.
    if (applied < state.leadership.epoch_start.end) return false;
    if (asked_ && asked_->epoch == state.epoch && applied < asked_->end) return false;
    return !rules.in_log || rules.in_force != known(rules.wanted, state.cluster_version);
  }
  /// One that ends there is in the log; what another epoch's leader does with it is not known.
  void asked(Epoch epoch, Address end) { asked_ = Asked{epoch, end}; }

 private:
  struct Asked {
    Epoch epoch;
    Address end;
  };
  std::optional<Asked> asked_;
};

}  // namespace tailrace::replication
