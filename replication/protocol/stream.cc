// The source of a stream: the leader's of its followers, a voter's of the candidate that fetches
// from it, and a follower's of the learners that it feeds.

#include <algorithm>
#include <utility>

#include "replication/protocol/core.h"
#include "replication/protocol/text.h"

namespace tailrace::replication {

/// Whether `peer`, which has promised that epoch, may have this node's log.
bool Core::feeds(NodeId peer, Epoch promised_epoch) const {
  if (state_.role == Role::kLeader) return !state_.leadership.epoch_start.empty();
  if (relays(peer, promised_epoch)) return true;
  // A candidate: this log stands still, for it has been promised that no one else extends it.
  return follows() && promised() && state_.promise.leader == peer &&
         state_.promise.epoch == promised_epoch && state_.following.source == NodeId{} && settled();
}

/// Whether it may not be fed at all, which it is told then.
bool Core::stream_refuses(NodeId peer, const Subscribe& message, Actions& actions) {
  const bool candidate = state_.promise.leader == peer && state_.role != Role::kLeader;
  if (!is_member(peer) && !candidate) {
    refuse(peer, RefusalReason::kUnknownNode, no_member(peer), actions);
    return true;
  }
  if (state_.role == Role::kLeader && message.promised > state_.epoch) {
    leader_deposed(message.promised, NodeId{}, actions);
    return true;
  }
  if (!feeds(peer, message.promised)) {
    refuse(peer, RefusalReason::kNotLeader,
           "node " + text(options_.self) + " does not lead" +
               (state_.leader.value != 0 && state_.leader != options_.self
                    ? "; node " + text(state_.leader) + " does"
                    : ""),
           actions);
    return true;
  }
  if (state_.following.source != NodeId{} && message.durable > state_.log.durable) {
    // A relay may lack what the learner had from elsewhere: that is no divergence.
    refuse(peer, RefusalReason::kNotLeader,
           "node " + text(options_.self) + " has the log up to " + text(state_.log.durable) +
               " only, and cannot feed from " + text(message.durable),
           actions);
    return true;
  }
  return false;
}

/// Whether its log is a prefix of this one. Else it is told where the two part, or that it needs a
/// checkpoint, because what it lacks, or what would tell, is not here any more.
bool Core::stream_matches(NodeId peer, FollowerState& follower, const Subscribe& message,
                          Actions& actions) {
  const auto needs_checkpoint = [&](std::string why) {
    follower.needs_checkpoint = true;
    stream_pin(peer, follower, actions);
    refuse(peer, RefusalReason::kNeedsCheckpoint, std::move(why) + ": it needs a checkpoint",
           actions);
    return false;
  };
  if (message.durable < state_.log.begin) {
    follower.durable = message.durable;
    return needs_checkpoint("its log ends at " + text(message.durable) + ", that of node " +
                            text(options_.self) + " begins at " + text(state_.log.begin));
  }
  const Epoch own = epoch_before(epochs(), message.durable);
  if (options_.faults.skip_log_check ||
      (message.durable <= ship_end() && own == message.last_epoch))
    return true;
  Epoch common;
  for (const fasterlog::EpochStart& entry : epochs())
    if (entry.epoch <= message.last_epoch) common = entry.epoch;
  // What stood before `begin` is not known here any more. The two logs may have parted there, too:
  // of one that was no member meanwhile nothing was kept. (Found by the simulation: it was told
  // that it contradicts what was committed.)
  const bool parted_before = common == Epoch{} && state_.log.begin > fasterlog::kFirstAddress;
  if (message.durable == state_.log.begin || parted_before ||
      (own == Epoch{} && message.last_epoch > own))
    return needs_checkpoint("what its log ends with cannot be compared with that of node " +
                            text(options_.self) + ", which begins at " + text(state_.log.begin));
  actions.push_back(Send{peer, Diverges{state_.epoch, message.durable, common,
                                        end_of_epoch(epochs(), common, ship_end())}});
  return false;
}

void Core::stream_subscribe(NodeId peer, const Subscribe& message, Actions& actions) {
  if (stream_refuses(peer, message, actions)) return;
  FollowerState& follower = state_.followers[peer];
  const Member* member = find_member(state_.members, peer);
  follower.voter = member != nullptr && member->voter;
  follower.joining = member != nullptr && member->joining;
  follower.relayed_by = NodeId{};
  follower.last_heard = state_.now;
  follower.streaming = false;
  if (!stream_matches(peer, follower, message, actions)) return;
  // What an earlier run of this disk acknowledged is gone: the disk is in a state from before.
  if (message.incarnation == follower.incarnation && message.durable < follower.held &&
      state_.introduced.contains(peer) && !options_.faults.forgets_lives) {
    state_.seen_before.insert(peer);
    refuse_seen(peer, actions);
    return;
  }
  // A node that comes back with another disk, or with less than it acknowledged, counts only by
  // what it acknowledges from now on.
  if (message.incarnation != follower.incarnation || message.durable < follower.acknowledged)
    follower.acknowledged = Address{};
  follower.incarnation = message.incarnation;
  follower.run = message.run;
  follower.held = Address{};
  follower.streaming_since = state_.now;
  follower.vote = message.vote;
  follower.round = 0;
  follower.echo = std::chrono::nanoseconds{0};  // its clock may have begun anew
  follower.durable = follower.next = message.durable;
  follower.needs_checkpoint = false;
  follower.streaming = true;
  follower.shipping = false;
  follower.told_committed = state_.committed;
  follower.last_sent = state_.now;
  stream_pin(peer, follower, actions);
  actions.push_back(Send{peer, Accept{state_.epoch, message.durable, state_.committed}});
  leader_begin_vote(follower, actions);
  if (state_.followers.contains(peer)) stream_ship(peer, follower, actions);
}

void Core::stream_acknowledge(NodeId peer, const Acknowledge& message, Actions& actions) {
  auto it = state_.followers.find(peer);
  if (it == state_.followers.end()) return;
  FollowerState& follower = it->second;
  if (message.epoch > state_.epoch && state_.role == Role::kLeader && may_move_epoch(peer)) {
    leader_deposed(message.epoch, NodeId{}, actions);
    return;
  }
  if (message.epoch != state_.epoch) return;  // of another term
  if (message.relayed_by != NodeId{}) {
    relayed_acknowledge(peer, follower, message, actions);
    return;
  }
  follower.relayed_by = NodeId{};
  if (message.incarnation != follower.incarnation) {
    follower.streaming = follower.shipping = false;  // until it has said which disk it has now
    return;
  }
  follower.last_heard = state_.now;
  ++state_.acks_received;
  if (message.durable > ship_end()) {
    follower.streaming = false;
    refuse(peer, RefusalReason::kLogDiverges,
           "it acknowledges " + text(message.durable) + ", beyond " + text(ship_end()) +
               ", up to where its source has shipped",
           actions);
    return;
  }
  follower.applied = std::max(follower.applied, message.applied);
  follower.round = std::max(follower.round, std::min(message.round, state_.round));
  if (follower.streaming) {
    follower.vote = message.vote;
    follower.echo = std::max(follower.echo, message.sent);
  }
  if (message.durable > follower.acknowledged || follower.acknowledged == Address{}) {
    follower.acknowledged = message.durable;
    follower.durable = std::max(follower.durable, message.durable);
    if (!follower.shipping) follower.next = std::max(follower.next, message.durable);
    if (follower.acknowledged >= follower.mark) {
      follower.passed_time = follower.mark_time;
      follower.mark = state_.log.durable;
      follower.mark_time = state_.now;
    }
  }
  if (state_.role == Role::kLeader) {
    leader_count(actions);
    leader_confirm(actions);
    leader_grant_votes(actions);
  }
  stream_ship(peer, follower, actions);
}

void Core::stream_tick(Actions& actions) {
  for (auto& [peer, follower] : state_.followers) {
    // While nothing is written it stays complete, and no acknowledgement says so.
    if (follower.durable >= state_.log.durable) {
      follower.mark = state_.log.durable;
      follower.mark_time = follower.passed_time = state_.now;
    }
    stream_pin(peer, follower, actions);
    if (!follower.streaming) continue;
    if (state_.now - follower.last_heard > options_.peer_timeout) {
      stream_lost(peer);
      actions.push_back(Disconnect{peer});
      continue;
    }
    stream_ship(peer, follower, actions);
    if (!follower.shipping && (follower.told_committed < state_.committed ||
                               state_.now - follower.last_sent >= options_.heartbeat_interval))
      stream_heartbeat(peer, follower, actions);
  }
}

void Core::stream_lost(NodeId peer) {
  auto it = state_.followers.find(peer);
  if (it == state_.followers.end()) return;
  it->second.streaming = it->second.shipping = false;
}

/// Nobody is fed any more; nothing of the log is kept for anyone.
void Core::stream_end(Actions& actions) {
  for (const auto& [peer, follower] : state_.followers)
    if (follower.pin) actions.push_back(RemoveAnchor{peer});
  state_.followers.clear();
}

/// The least that is kept here for any member; 0 where it is not this node's to say.
Address Core::stream_kept_from() const {
  // What the leader said it keeps, told on to those that are fed here.
  if (follows()) return state_.kept_from;
  if (state_.role != Role::kLeader) return Address{};
  Address least = state_.log.durable;
  for (const auto& [peer, follower] : state_.followers)
    if (follower.pin) least = std::min(least, *follower.pin);
  return least;
}

std::optional<std::chrono::nanoseconds> Core::sure_age() const {
  if (!sure_ || (state_.role != Role::kLeader && !follows())) return std::nullopt;
  if (options_.faults.relays_as_fresh && follows()) return std::chrono::nanoseconds{0};
  return state_.now - *sure_;
}

void Core::stream_heartbeat(NodeId peer, FollowerState& follower, Actions& actions) {
  follower.last_sent = state_.now;
  follower.told_committed = state_.committed;
  actions.push_back(
      Send{peer, Data{state_.epoch, follower.next, nullptr, state_.committed, state_.log.durable, 0,
                      state_.round, sure_age() ? follower.echo : std::chrono::nanoseconds{0},
                      sure_age().value_or(std::chrono::nanoseconds{0}), stream_kept_from()}});
}

/// What others may have of this log. A leader ships in parallel with its own flush: its bytes are
/// then durable elsewhere before they are here, and count nowhere before they are here. Nobody else
/// does, for who only has a copy of a log may have to say where it ends.
Address Core::ship_end() const {
  if (state_.role != Role::kLeader) return state_.log.durable;
  return std::max(state_.log.durable, state_.log.flushing);
}

void Core::stream_ship(NodeId peer, FollowerState& follower, Actions& actions) {
  if (!follower.streaming || follower.shipping || follower.next >= ship_end()) return;
  const uint64_t on_the_way =
      follower.next > follower.durable ? follower.next - follower.durable : 0;
  if (on_the_way >= options_.window_bytes) return;
  follower.shipping = true;
  follower.told_committed = state_.committed;
  follower.last_sent = state_.now;
  actions.push_back(ShipBytes{peer, state_.epoch, follower.next,
                              std::min(options_.batch_bytes, options_.window_bytes - on_the_way),
                              state_.committed, state_.round,
                              sure_age() ? follower.echo : std::chrono::nanoseconds{0},
                              sure_age().value_or(std::chrono::nanoseconds{0}), stream_kept_from(),
                              state_.role == Role::kLeader});
}

void Core::stream_ship_all(Actions& actions) {
  for (auto& [peer, follower] : state_.followers)
    stream_ship(peer, follower, actions);
}

void Core::on(const Shipped& event, Actions& actions) {
  auto it = state_.followers.find(event.peer);
  if (it == state_.followers.end() || !it->second.shipping || it->second.next != event.from) return;
  // It is the source that it was then, so `limit` is of the same kind: a leader's flush that has
  // begun must not become durable because it leads no more.
  if (state_.settling == 0 && event.limit > ship_end()) {
    (state_.role == Role::kLeader ? state_.log.flushing : state_.log.durable) = event.limit;
    state_.log.tail = std::max(state_.log.tail, event.limit);
  }
  FollowerState& follower = it->second;
  follower.shipping = false;
  follower.next = std::max(event.end, follower.durable);
  if (event.end > event.from) stream_ship(event.peer, follower, actions);
}

void Core::on(const ShipFailed& event, Actions& actions) {
  auto it = state_.followers.find(event.peer);
  if (it == state_.followers.end() || !it->second.shipping) return;
  FollowerState& follower = it->second;
  follower.shipping = false;
  follower.streaming = false;
  if (event.truncated) {
    follower.needs_checkpoint = true;
    stream_pin(event.peer, follower, actions);
  }
  refuse(event.peer,
         event.truncated ? RefusalReason::kNeedsCheckpoint : RefusalReason::kLogDiverges,
         "node " + text(options_.self) + " cannot read its log at " + text(follower.next) + ": " +
             event.message,
         actions);
}

/// Sets, moves or drops the anchor that keeps the log for `peer`.
void Core::stream_pin(NodeId peer, FollowerState& follower, Actions& actions) {
  const Address wanted = std::max(std::min(follower.durable, state_.log.durable), state_.log.begin);
  const bool too_far =
      state_.log.durable > wanted && state_.log.durable - wanted > options_.follower_pin_bytes;
  if (too_far) follower.needs_checkpoint = true;
  if (follower.needs_checkpoint && follower.streaming && !too_far)
    follower.needs_checkpoint = false;  // it has caught up by itself
  if (follower.needs_checkpoint) {
    if (follower.pin) actions.push_back(RemoveAnchor{peer});
    follower.pin.reset();
  } else if (follower.pin != wanted) {
    follower.pin = wanted;
    actions.push_back(SetAnchor{peer, wanted});
  }
}

}  // namespace tailrace::replication
