#include "replication/protocol/invariants.h"

#include "replication/protocol/core.h"

namespace tailrace::replication {

namespace {

std::optional<std::string> check_leader(const Core& core) {
  const CoreState& state = core.state();
  const Promise& word = state.persisted;
  if (word.epoch < state.epoch || (word.epoch == state.epoch && word.leader != core.options().self))
    return "leads an epoch that it has not promised to itself on its disk";
  if (state.following.source != NodeId{} || state.following.streaming)
    return "leads and follows at once";
  if (!core.may_lead()) return "leads although it is no voter and none that joins";
  for (const Member& member : state.members) {
    const auto follower = state.followers.find(member.id);
    const bool self = member.id == core.options().self;
    if (self != (follower == state.followers.end()) ||
        (!self && (follower->second.removed || follower->second.voter != member.voter)))
      return "does not know its members (node " + std::to_string(member.id.value) + ")";
  }
  if (state.leadership.epoch_start.empty()) return std::nullopt;  // not a writer yet
  if (state.committed > state.log.durable) return "a leader's committed is beyond its durable";
  const bool confirmed = state.committed >= state.leadership.epoch_start.end;
  if (state.leadership.serving && !confirmed)
    return "serves before its epoch-start record is committed";
  if (confirmed && !state.leadership.serving && state.leadership.transferring == NodeId{})
    return "does not serve although its epoch-start record is committed";
  if (state.confirmed_round > state.round) return "a round is confirmed that was not asked";
  for (const auto& [peer, follower] : state.followers) {
    const std::string of = " (node " + std::to_string(peer.value) + ")";
    if (follower.acknowledged > core.ship_end()) return "acknowledged beyond what is shipped" + of;
    if (follower.streaming && follower.next > core.ship_end())
      return "shipped beyond what is being flushed" + of;
    if (follower.streaming && !state.connected.contains(peer))
      return "streams without a connection" + of;
    if (follower.round > state.round) return "a round is echoed that was not asked" + of;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> InvariantChecker::check(const Core& core) {
  const CoreState& state = core.state();
  if (state.committed < committed_) return "committed retreats";
  if (state.epoch < epoch_) return "the epoch retreats";
  if (state.promise.epoch < promised_) return "the promise retreats";
  if (state.persisted.epoch < persisted_) return "the persisted promise retreats";
  if (state.promise.epoch < state.epoch) return "acts in an epoch that was not promised";
  if (state.persisted.vote > state.promise.vote &&
      state.persisted.incarnation == state.promise.incarnation)
    return "a vote is on disk that was not given";
  if (state.log.durable < state.log.begin) return "durable below begin";
  if (!wrong_with(state.members).empty()) return "the members: " + wrong_with(state.members);
  if (!state.members_record.empty())
    if (const auto what =
            wrong_with(MembersRecord{state.members, state.cluster_version, state.identity});
        !what.empty())
      return "the members: " + what;
  if (identity_.known() && state.promise.identity != identity_)
    return "belongs to another cluster than before";
  if (state.role != Role::kLeader && state.settling == 0 &&
      state.members_record.end > state.log.durable)
    return "goes by a record of members that is not durable";
  committed_ = state.committed;
  epoch_ = state.epoch;
  promised_ = state.promise.epoch;
  persisted_ = state.persisted.epoch;
  identity_ = state.promise.identity;

  if (state.role == Role::kLeader) return check_leader(core);
  if (state.leadership.serving) return "serves without leading";
  if (state.received < state.log.durable) return "durable beyond what was received";
  if (state.following.streaming) {
    if (state.following.source == NodeId{}) return "has a stream from nobody";
    if (state.epoch != state.promise.epoch)
      return "follows in an epoch that is not the promised one";
    if (state.following.acknowledged > state.log.durable) return "acknowledges beyond durable";
  }
  if (state.role == Role::kCandidate) {
    if (state.promise.epoch != state.epoch || state.promise.leader != core.options().self)
      return "seeks an epoch that it has not promised to itself";
  } else if (!state.followers.empty() && state.following.source != NodeId{}) {
    for (const auto& [peer, follower] : state.followers) {
      if (follower.voter) return "relays to a voter, whose word the leader must hear";
      if (peer == state.following.source) return "feeds its own source";
      if (follower.streaming && follower.next > state.log.durable) return "relays beyond durable";
    }
  } else if (!state.followers.empty()) {
    // Only to the candidate that was promised the epoch.
    if (state.followers.size() > 1 || state.followers.begin()->first != state.promise.leader)
      return "feeds a node that is no candidate";
  }
  return std::nullopt;
}

}  // namespace tailrace::replication
