#include "replication/invariants.h"

#include "replication/core.h"

namespace tailrace::replication {

std::optional<std::string> InvariantChecker::check(const Core& core) {
  const CoreState& state = core.state();
  if (state.committed < committed_) return "committed retreats";
  if (state.epoch < epoch_) return "the epoch retreats";
  if (state.promise.epoch < promised_) return "the promise retreats";
  if (state.persisted.epoch < persisted_) return "the persisted promise retreats";
  if (state.promise.epoch < state.epoch) return "acts in an epoch that was not promised";
  if (state.log.durable < state.log.begin) return "durable below begin";
  committed_ = state.committed;
  epoch_ = state.epoch;
  promised_ = state.promise.epoch;
  persisted_ = state.persisted.epoch;

  if (state.role == Role::kLeader) {
    if (state.persisted.epoch < state.epoch) return "leads before its epoch is on disk";
    if (state.committed > state.log.durable) return "a leader's committed is beyond its durable";
    if (state.committed > Address{} && state.committed < state.epoch_start.end)
      return "committed counts records of an earlier epoch alone";
    if (state.serving != (state.committed >= state.epoch_start.end && !state.epoch_start.empty()))
      return "serving and the commitment of the epoch-start record differ";
    for (const auto& [peer, follower] : state.followers) {
      const std::string of = " (node " + std::to_string(peer.value) + ")";
      if (follower.acknowledged > state.log.durable) return "acknowledged beyond durable" + of;
      if (follower.streaming && follower.next > state.log.durable)
        return "shipped beyond durable" + of;
      if (follower.streaming && !follower.connected) return "streams without a connection" + of;
    }
  } else {
    if (state.serving) return "serves without leading";
    if (state.received < state.log.durable) return "durable beyond what was received";
    if (state.streaming && state.epoch != state.promise.epoch)
      return "follows in an epoch that is not the promised one";
    if (state.acknowledged > state.log.durable) return "acknowledges beyond durable";
  }
  return std::nullopt;
}

}  // namespace tailrace::replication
