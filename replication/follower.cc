// The core as a follower or learner.

#include <algorithm>
#include <utility>

#include "replication/core.h"

namespace tailrace::replication {

void Core::follower_begin(Actions& actions) {
  state_.role = Role::kFollower;
  for (const CoreOptions::Peer& member : options_.members)
    if (member.id == options_.self && !member.voter) state_.role = Role::kLearner;
  state_.last_heard = state_.now;
  actions.push_back(BecomeCopy{});
  actions.push_back(StateChanged{});
  actions.push_back(Connect{state_.leader});
}

void Core::follower_tick(Actions& actions) {
  if (!state_.connected) return;  // the transport keeps dialling
  if (state_.now - state_.last_heard > options_.peer_timeout) {
    state_.connected = state_.streaming = false;
    state_.last_heard = state_.now;
    actions.push_back(Disconnect{state_.leader});
    actions.push_back(Connect{state_.leader});
  } else if (!state_.streaming && state_.now - state_.last_subscribed >= state_.retry_after) {
    follower_subscribe(actions);
  }
}

void Core::follower_subscribe(Actions& actions) {
  state_.last_subscribed = state_.now;
  state_.retry_after = options_.heartbeat_interval;
  state_.streaming = false;
  actions.push_back(
      Send{state_.leader, Subscribe{state_.promise.epoch, state_.log.last_epoch, state_.log.begin,
                                    state_.log.durable, state_.promise.incarnation}});
}

/// Whether what comes from `peer` in `epoch` may be acted upon; tells the sender if it may not.
bool Core::follower_obeys(NodeId peer, Epoch epoch, Actions& actions) {
  if (!follows() || peer != state_.leader) return false;
  state_.last_heard = state_.now;
  if (options_.faults.accept_stale_epoch) return true;
  const Promise& promised = state_.promise;
  if (epoch < promised.epoch) {
    refuse(peer, RefusalReason::kStaleEpoch,
           "epoch " + std::to_string(epoch.value) + " is over: epoch " +
               std::to_string(promised.epoch.value) + " was promised",
           actions);
    return false;
  }
  if (epoch == promised.epoch && promised.leader != NodeId{} && promised.leader != peer) {
    set_problem("two leaders in epoch " + std::to_string(epoch.value) + ": node " +
                    std::to_string(promised.leader.value) + " was promised, node " +
                    std::to_string(peer.value) + " claims it. Restart the one that should lead",
                actions);
    return false;
  }
  return true;
}

void Core::follower_accept(NodeId peer, const Accept& message, Actions& actions) {
  if (!follower_obeys(peer, message.epoch, actions)) return;
  if (message.start > state_.received) return;  // the answer to another subscription
  if (message.epoch > state_.promise.epoch || state_.promise.leader != peer)
    promise(message.epoch, peer, actions);
  const bool news = state_.epoch != message.epoch;
  state_.epoch = message.epoch;
  state_.connected = true;
  state_.streaming = true;
  state_.acknowledged = Address{};
  if (news) actions.push_back(StateChanged{});
  set_problem("", actions);
  advance_committed(message.committed, actions);
  follower_acknowledge(actions);
}

void Core::follower_data(NodeId peer, const Data& message, Actions& actions) {
  if (!follower_obeys(peer, message.epoch, actions)) return;
  const bool stale_allowed = options_.faults.accept_stale_epoch && message.epoch < state_.epoch;
  // Only the leader that has checked this log, in the epoch it did so, may extend it.
  if (!state_.streaming || (message.epoch != state_.epoch && !stale_allowed)) return;
  const uint64_t bytes = message.bytes ? message.bytes->size() : 0;
  if (message.from > state_.received) {  // something in between was lost
    follower_subscribe(actions);
    return;
  }
  if (message.from + bytes > state_.received) {
    // After a new subscription the stream repeats what was received and was not durable yet.
    const size_t skip = state_.received - message.from;
    actions.push_back(AppendRaw{state_.received, message.bytes, skip});
    state_.received = message.from + bytes;
  }
  advance_committed(message.committed, actions);
  const bool due = state_.now - state_.last_acknowledged >= options_.heartbeat_interval / 2;
  if (state_.acknowledged < state_.log.durable || (bytes == 0 && due))
    follower_acknowledge(actions);
}

void Core::follower_refused(NodeId peer, const Refuse& message, Actions& actions) {
  if (!follows() || peer != state_.leader) return;
  state_.last_heard = state_.now;
  // A leader that is still starting, or hears of a later epoch, is soon asked again.
  state_.retry_after = message.reason == RefusalReason::kNotLeader ? options_.heartbeat_interval
                                                                   : options_.peer_timeout / 3;
  state_.streaming = false;
  state_.last_subscribed = state_.now;
  const std::string_view what = message.reason == RefusalReason::kNeedsCheckpoint ||
                                        message.reason == RefusalReason::kLogDiverges
                                    ? "log refused"
                                    : "refused";
  set_problem(std::string(what) + " by node " + std::to_string(peer.value) + " (" +
                  std::string(name_of(message.reason)) + "): " + message.message,
              actions);
}

void Core::follower_acknowledge(Actions& actions) {
  const bool promised = state_.persisted == state_.promise;
  if (!promised && !options_.faults.ack_before_promise) return;  // PromisePersisted comes back here
  state_.acknowledged = state_.log.durable;
  state_.last_acknowledged = state_.now;
  ++state_.acks_sent;
  actions.push_back(
      Send{state_.leader, Acknowledge{state_.epoch, state_.log.durable, state_.applied}});
}

void Core::on(const AppendFailed& event, Actions& actions) {
  state_.received = std::max(event.tail, state_.log.durable);
  if (!follows()) return;
  state_.streaming = false;
  state_.last_subscribed = state_.now;
  state_.retry_after = options_.peer_timeout;
  refuse(state_.leader, RefusalReason::kLogDiverges, event.message, actions);
  set_problem("the log refused bytes of the leader: " + event.message, actions);
}

}  // namespace tailrace::replication
