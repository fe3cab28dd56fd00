// A follower that feeds learners, and a learner that is fed by one (`upstream`): the leader ships
// its log once to the relay instead of to each of them.
//
// Who leads in which epoch a learner still hears from the leader itself, and the leader hears from
// it how far it is (Acknowledge::relayed_by), so that it keeps the log and tells its lag. Only the
// log's bytes, and what is committed, come through the relay.
//
// Why that is safe: a relay feeds only in the epoch in which its own source has accepted it, so its
// log is a piece of that epoch's leader's, and so is what the learner gets; both cut back by the
// same comparison of epochs when the epoch changes. The relay ships no more than it has durable.
// Only learners are fed so: a voter's word has to reach the leader.
//
// A relay that is silent, gone, or does not hear its own source costs a pause: the learner goes
// back to the leader, and tries its upstream again later.

#include <algorithm>
#include <utility>

#include "replication/protocol/core.h"
#include "replication/protocol/text.h"

namespace tailrace::replication {

namespace {

/// In timeouts: how long a learner stays with the leader before it tries its upstream again.
constexpr int kUpstreamPause = 10;

}  // namespace

// ---- The relay. --------------------------------------------------------------------------------

bool Core::relays(NodeId peer, Epoch promised_epoch) const {
  const Member* learner = find_member(state_.members, peer);
  return follows() && state_.following.streaming && promised() && promised_epoch == state_.epoch &&
         is_voter(options_.self) && learner != nullptr && !learner->voter && !learner->joining;
}

/// What this node tells others must not be older than they think: without a source it feeds nobody.
void Core::relay_tick(Actions& actions) {
  if (!follows() || state_.following.source == NodeId{} || state_.followers.empty() ||
      state_.now - state_.following.last_heard <= options_.peer_timeout)
    return;
  for (const auto& [peer, follower] : state_.followers)
    refuse(peer, RefusalReason::kNotLeader,
           "node " + text(options_.self) + " does not hear its own source", actions);
  stream_end(actions);
}

// ---- The learner. ------------------------------------------------------------------------------

bool Core::has_upstream() const {
  const Member* self = find_member(state_.members, options_.self);
  return options_.upstream != NodeId{} && self != nullptr && !self->voter && !self->joining &&
         is_voter(options_.upstream);
}

NodeId Core::source_in(NodeId leader) const {
  const bool relay = has_upstream() && leader != NodeId{} && options_.upstream != leader &&
                     state_.now >= state_.following.upstream_after;
  return relay ? options_.upstream : leader;
}

void Core::take_source(NodeId source, std::chrono::nanoseconds patience, Actions& actions) {
  state_.following.source = source;
  state_.following.streaming = false;
  state_.following.acknowledged = Address{};
  state_.following.last_heard = state_.following.fed_at = state_.now;
  state_.following.patience = patience;
  state_.following.retry_after = std::chrono::nanoseconds{0};
  actions.push_back(StateChanged{});
  follower_subscribe(actions);
}

void Core::leave_upstream(Actions& actions) {
  state_.following.upstream_after = state_.now + kUpstreamPause * options_.peer_timeout;
  take_source(state_.leader, options_.peer_timeout, actions);
}

void Core::choose_source(Actions& actions) {
  if (!follows() || !has_upstream() || state_.following.source == NodeId{} ||
      options_.upstream == state_.leader)
    return;
  if (state_.following.streaming) state_.following.fed_at = state_.now;
  if (state_.following.source == options_.upstream) {
    if (state_.now - state_.following.fed_at > state_.following.patience) leave_upstream(actions);
    return;
  }
  const bool again = state_.following.streaming
                         ? state_.now >= state_.following.upstream_after
                         : !state_.connected.contains(state_.leader) &&
                               state_.now - state_.following.fed_at > state_.following.patience;
  // Tried while the leader feeds it, the upstream has to answer at once.
  if (again && state_.connected.contains(options_.upstream) && settled())
    take_source(
        options_.upstream,
        state_.following.streaming ? 2 * options_.heartbeat_interval : options_.peer_timeout,
        actions);
}

/// Often enough for the leader to keep the log for this node and to know that it lives.
void Core::tell_leader(Actions& actions) {
  if (state_.following.source == state_.leader || state_.leader == NodeId{} || !follows() ||
      !state_.connected.contains(state_.leader) ||
      state_.now - state_.following.last_told_leader < options_.heartbeat_interval)
    return;
  state_.following.last_told_leader = state_.now;
  actions.push_back(Send{
      state_.leader,
      Acknowledge{state_.epoch, state_.log.durable, state_.applied, 0, state_.now,
                  state_.persisted.vote, state_.promise.incarnation, state_.following.source}});
}

// ---- Its leader. -------------------------------------------------------------------------------

bool Core::hears_relayed(const FollowerState& follower) const {
  return follower.relayed_by != NodeId{} &&
         state_.now - follower.last_heard <= options_.peer_timeout;
}

void Core::relayed_acknowledge(NodeId peer, FollowerState& follower, const Acknowledge& message,
                               Actions& actions) {
  if (state_.role != Role::kLeader || follower.voter || follower.removed) return;
  // A relay ships what the leader shipped to it, so this is said of another log.
  if (message.durable > ship_end()) return;
  follower.streaming = follower.shipping = follower.needs_checkpoint = false;
  follower.relayed_by = message.relayed_by;
  follower.last_heard = state_.now;
  // What another disk of it had is nothing that this one has lost.
  if (follower.incarnation != message.incarnation)
    follower.durable = follower.acknowledged = follower.held = Address{};
  follower.incarnation = message.incarnation;
  follower.durable = std::max(follower.durable, message.durable);
  follower.applied = std::max(follower.applied, message.applied);
  if (follower.durable >= follower.mark) {
    follower.passed_time = follower.mark_time;
    follower.mark = state_.log.durable;
    follower.mark_time = state_.now;
  }
  stream_pin(peer, follower, actions);
}

}  // namespace tailrace::replication
