// The core as a leader.

#include <algorithm>
#include <functional>
#include <utility>

#include "core/check.h"
#include "replication/core.h"

namespace tailrace::replication {

namespace {

std::string text(Address address) {
  return std::to_string(address.value);
}
std::string text(Epoch epoch) {
  return std::to_string(epoch.value);
}
std::string text(NodeId node) {
  return std::to_string(node.value);
}

}  // namespace

void Core::leader_begin(Epoch epoch, Actions& actions) {
  TAILRACE_CHECK(epoch > state_.promise.epoch && epoch > state_.log.last_epoch,
                 "a leader's start must raise the epoch above " + text(state_.promise.epoch));
  state_.epoch = epoch;
  for (const CoreOptions::Peer& member : options_.members) {
    if (member.id == options_.self) continue;
    FollowerState& follower = state_.followers[member.id];
    follower.voter = member.voter;
    follower.mark_time = follower.passed_time = state_.now;
    leader_pin(member.id, follower, actions);
  }
  promise(epoch, options_.self, actions);
}

void Core::on(const WriterReady& event, Actions& actions) {
  state_.epoch_start = event.record;
  state_.epochs.push_back({state_.epoch, event.record.first});
  state_.role = Role::kLeader;
  actions.push_back(StateChanged{});
  leader_count(actions);
}

void Core::leader_tick(Actions& actions) {
  for (auto& [peer, follower] : state_.followers) {
    leader_pin(peer, follower, actions);
    if (!follower.connected) continue;
    if (state_.now - follower.last_heard > options_.peer_timeout) {
      leader_lost(peer);
      actions.push_back(Disconnect{peer});
      continue;
    }
    leader_ship(peer, follower, actions);
    if (follower.streaming && !follower.shipping &&
        (follower.told_committed < state_.committed ||
         state_.now - follower.last_sent >= options_.heartbeat_interval))
      leader_heartbeat(peer, follower, actions);
  }
}

std::optional<std::string> Core::why_log_differs(const Subscribe& message) const {
  if (message.durable > state_.log.durable)
    return "its log ends at " + text(message.durable) + ", beyond the leader's durable end " +
           text(state_.log.durable) + ": the leader has lost bytes, or it is another cluster's log";
  const Epoch own = epoch_before(state_.epochs, message.durable);
  if (own == message.last_epoch) return std::nullopt;
  // At the leader's begin the table may no longer reach back to the record before.
  if (message.durable == state_.log.begin && own == Epoch{} &&
      (state_.epochs.empty() || message.last_epoch <= state_.epochs.front().epoch))
    return std::nullopt;
  return "its log ends at " + text(message.durable) + " in epoch " + text(message.last_epoch) +
         ", where the leader's has epoch " + text(own);
}

void Core::leader_subscribe(NodeId peer, const Subscribe& message, Actions& actions) {
  const bool known = std::ranges::any_of(
      options_.members, [&](const CoreOptions::Peer& member) { return member.id == peer; });
  if (!known || peer == options_.self) {
    refuse(peer, RefusalReason::kUnknownNode,
           "node " + text(peer) + " is not among the members configured on node " +
               text(options_.self),
           actions);
    return;
  }
  if (state_.role != Role::kLeader) {
    refuse(peer, RefusalReason::kNotLeader,
           "node " + text(options_.self) + " does not lead" +
               (state_.leader.value != 0 && state_.leader != options_.self
                    ? "; node " + text(state_.leader) + " should"
                    : ""),
           actions);
    return;
  }
  FollowerState& follower = state_.followers.at(peer);
  follower.connected = true;
  follower.last_heard = state_.now;
  follower.streaming = false;
  if (message.promised > state_.epoch) {
    refuse(peer, RefusalReason::kStaleEpoch,
           "it has promised epoch " + text(message.promised) + ", the leader is only at " +
               text(state_.epoch),
           actions);
    leader_step_down(message.promised, peer, actions);
    return;
  }
  if (message.durable < state_.log.begin) {
    follower.durable = message.durable;
    follower.needs_checkpoint = true;
    leader_pin(peer, follower, actions);
    refuse(peer, RefusalReason::kNeedsCheckpoint,
           "its log ends at " + text(message.durable) + ", the leader's begins at " +
               text(state_.log.begin) + ": it needs a checkpoint",
           actions);
    return;
  }
  if (std::optional<std::string> why = why_log_differs(message);
      why && !options_.faults.skip_log_check) {
    refuse(peer, RefusalReason::kLogDiverges, *why, actions);
    return;
  }
  // A node that comes back with another disk, or with less than it acknowledged, votes only by what
  // it acknowledges from now on.
  if (message.incarnation != follower.incarnation || message.durable < follower.acknowledged)
    follower.acknowledged = Address{};
  follower.incarnation = message.incarnation;
  follower.durable = follower.next = message.durable;
  follower.needs_checkpoint = false;
  follower.streaming = true;
  follower.shipping = false;
  follower.told_committed = state_.committed;
  follower.last_sent = state_.now;
  leader_pin(peer, follower, actions);
  actions.push_back(Send{peer, Accept{state_.epoch, message.durable, state_.committed}});
  leader_ship(peer, follower, actions);
}

void Core::leader_acknowledge(NodeId peer, const Acknowledge& message, Actions& actions) {
  auto it = state_.followers.find(peer);
  if (state_.role != Role::kLeader || it == state_.followers.end()) return;
  FollowerState& follower = it->second;
  if (message.epoch > state_.epoch) {
    leader_step_down(message.epoch, peer, actions);
    return;
  }
  if (message.epoch < state_.epoch) return;  // of an earlier term of ours
  follower.last_heard = state_.now;
  ++state_.acks_received;
  if (message.durable > state_.log.durable) {
    follower.streaming = false;
    refuse(peer, RefusalReason::kLogDiverges,
           "it acknowledges " + text(message.durable) + ", beyond the leader's durable end " +
               text(state_.log.durable),
           actions);
    return;
  }
  follower.applied = std::max(follower.applied, message.applied);
  if (message.durable > follower.acknowledged || follower.acknowledged == Address{}) {
    follower.acknowledged = message.durable;
    follower.durable = std::max(follower.durable, message.durable);
    if (!follower.shipping) follower.next = std::max(follower.next, message.durable);
    if (follower.acknowledged >= follower.mark) {
      follower.passed_time = follower.mark_time;
      follower.mark = state_.log.durable;
      follower.mark_time = state_.now;
    }
    leader_count(actions);
  }
  leader_ship(peer, follower, actions);
}

void Core::leader_lost(NodeId peer) {
  auto it = state_.followers.find(peer);
  if (it == state_.followers.end()) return;
  it->second.connected = false;
  it->second.streaming = false;
  it->second.shipping = false;
}

void Core::leader_step_down(Epoch higher, NodeId told_by, Actions& actions) {
  // Remembered, so that the next start of this node as leader goes above it.
  if (higher > state_.promise.epoch) promise(higher, NodeId{}, actions);
  state_.role = Role::kStopped;
  state_.serving = false;
  for (auto& [peer, follower] : state_.followers)
    follower.streaming = follower.shipping = false;
  state_.problem = "node " + text(told_by) + " has promised epoch " + text(higher) +
                   ", higher than this leader's " + text(state_.epoch) +
                   ": another node has led since. Restart this one to lead again, if it should";
  actions.push_back(StateChanged{});
}

/// Moves committed to what a majority of voters has durable.
void Core::leader_count(Actions& actions) {
  if (state_.role != Role::kLeader) return;
  std::vector<Address> votes;
  for (const CoreOptions::Peer& member : options_.members) {
    if (!member.voter) continue;
    votes.push_back(member.id == options_.self ? state_.log.durable
                                               : state_.followers.at(member.id).acknowledged);
  }
  size_t needed = votes.size() / 2 + 1;
  if (options_.faults.minority_commits && needed > 1) --needed;
  std::ranges::sort(votes, std::greater<>());
  const Address majority = votes[needed - 1];
  // Bytes of earlier epochs count only together with this epoch's first record.
  if (majority < state_.epoch_start.end && !options_.faults.count_old_epochs) return;
  if (majority <= state_.committed) return;
  advance_committed(majority, actions);
  if (!state_.serving && majority >= state_.epoch_start.end) {
    state_.serving = true;
    actions.push_back(StateChanged{});
  }
  leader_tell_committed(actions);
}

/// The next Data tells it anyway; where none is to come soon, it is told at once.
void Core::leader_tell_committed(Actions& actions) {
  if (state_.committed < state_.log.durable) return;
  for (auto& [peer, follower] : state_.followers)
    if (follower.streaming && !follower.shipping && follower.next >= state_.log.durable)
      leader_heartbeat(peer, follower, actions);
}

void Core::leader_heartbeat(NodeId peer, FollowerState& follower, Actions& actions) {
  follower.last_sent = state_.now;
  follower.told_committed = state_.committed;
  actions.push_back(Send{
      peer, Data{state_.epoch, follower.next, nullptr, state_.committed, state_.log.durable, 0}});
}

void Core::leader_ship(NodeId peer, FollowerState& follower, Actions& actions) {
  if (!follower.streaming || follower.shipping || follower.next >= state_.log.durable) return;
  const uint64_t on_the_way =
      follower.next > follower.durable ? follower.next - follower.durable : 0;
  if (on_the_way >= options_.window_bytes) return;
  follower.shipping = true;
  follower.told_committed = state_.committed;
  follower.last_sent = state_.now;
  actions.push_back(ShipBytes{peer, state_.epoch, follower.next,
                              std::min(options_.batch_bytes, options_.window_bytes - on_the_way),
                              state_.committed});
}

void Core::leader_ship_all(Actions& actions) {
  for (auto& [peer, follower] : state_.followers)
    leader_ship(peer, follower, actions);
}

void Core::on(const Shipped& event, Actions& actions) {
  if (event.durable > state_.log.durable) state_.log.durable = event.durable;
  auto it = state_.followers.find(event.peer);
  if (it == state_.followers.end() || !it->second.shipping || it->second.next != event.from) return;
  FollowerState& follower = it->second;
  follower.shipping = false;
  follower.next = std::max(event.end, follower.durable);
  if (event.end > event.from) leader_ship(event.peer, follower, actions);
}

void Core::on(const ShipFailed& event, Actions& actions) {
  auto it = state_.followers.find(event.peer);
  if (it == state_.followers.end() || !it->second.shipping) return;
  FollowerState& follower = it->second;
  follower.shipping = false;
  follower.streaming = false;
  if (event.truncated) {
    follower.needs_checkpoint = true;
    leader_pin(event.peer, follower, actions);
  }
  refuse(
      event.peer, event.truncated ? RefusalReason::kNeedsCheckpoint : RefusalReason::kLogDiverges,
      "the leader can not read its log at " + text(follower.next) + ": " + event.message, actions);
}

/// Sets, moves or drops the anchor that keeps the log for `peer`.
void Core::leader_pin(NodeId peer, FollowerState& follower, Actions& actions) {
  const Address wanted = std::max(follower.durable, state_.log.begin);
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
