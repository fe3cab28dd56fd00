// The core as a follower or learner; the stream's receiving side serves a candidate's fetch, too.

#include <algorithm>
#include <utility>

#include "replication/protocol/core.h"
#include "replication/protocol/text.h"

namespace tailrace::replication {

namespace {

constexpr size_t kMostFresher = 64;

}  // namespace

void Core::follower_tick(Actions& actions) {
  if (state_.following.source == NodeId{} || !state_.connected.contains(state_.following.source))
    return;
  if (state_.now - state_.following.last_heard > options_.peer_timeout) {
    state_.following.streaming = false;
    state_.following.last_heard = state_.now;
    actions.push_back(Disconnect{state_.following.source});
  } else if (!state_.following.streaming && is_member(options_.self) &&
             state_.now - state_.following.last_subscribed >= state_.following.retry_after) {
    follower_subscribe(actions);
  }
}

// ---- Promises. ---------------------------------------------------------------------------------

/// Whether a candidate or leader is a voter, and whether this node is, is for its log to say, which
/// may hold a record of the members that this one's does not. Only where nothing but configuration
/// files tells who they are, these must not contradict each other.
///
/// Where this node holds a record that is committed, a candidate that is not in it has to go by a
/// later one: it was removed, or was not added yet.
bool Core::may_speak(NodeId peer, Address members, Actions& actions) {
  if (is_voter(peer)) return true;
  if (!may_move_epoch(peer) && members <= state_.members_record.end) {
    refuse(peer, RefusalReason::kUnknownNode, no_member(peer), actions);
    return false;
  }
  if (members != Address{} || !state_.members_record.empty()) return true;
  refuse(peer, RefusalReason::kUnknownNode,
         "node " + text(peer) + " is no voter in the configuration of node " + text(options_.self),
         actions);
  return false;
}

void Core::follower_seal(NodeId peer, const Seal& message, Actions& actions) {
  if (!may_speak(peer, message.members, actions)) return;
  if (!may_promise(message.epoch, peer, message.run)) {
    refuse_stale(peer, message.epoch, actions);
    return;
  }
  // A life before this one may have promised it; what this one ships has to be of that epoch, too.
  if (state_.promise.epoch != message.epoch || state_.promise.leader != peer ||
      state_.epoch != message.epoch)
    follower_adopt(peer, message.epoch, message.run, NodeId{}, actions);
  // A candidate that asks although it was told so already has lost the answer.
  if (state_.leader == peer && !options_.faults.epoch_for_two_lives) return;
  state_.following.sealing = peer;
  follower_answer_seal(actions);
}

/// Nobody who is none of the members, as a committed record has them, moves an epoch.
bool Core::may_move_epoch(NodeId peer) const {
  return is_member(peer) || state_.members_record.empty() ||
         state_.committed < state_.members_record.end;
}

/// Obeys `peer` in `epoch`; `leader` is 0 until it leads.
void Core::follower_adopt(NodeId peer, Epoch epoch, uint64_t run, NodeId leader, Actions& actions) {
  if (state_.role == Role::kLeader) {
    const Epoch own = state_.epoch;
    leader_end(actions);
    actions.push_back(Resign{own, peer});
  } else if (state_.role == Role::kCandidate) {
    candidate_lost(peer, "", actions);
  }
  stream_end(actions);
  state_.epoch = epoch;
  state_.leader = leader;
  state_.following = {.last_heard = state_.now,
                      .fed_at = state_.now,
                      .patience = options_.peer_timeout,
                      .upstream_after = state_.now};
  state_.following.source = source_in(leader);
  state_.fresher.clear();
  sure_.reset();
  settle(DropAppends{}, actions);
  if (state_.promise.epoch != epoch || state_.promise.leader != peer)
    promise(epoch, peer, run, actions);
  state_.problem.clear();
  actions.push_back(StateChanged{});
}

/// Once the promise is on disk, and nothing of a lower epoch is on its way there any more: what is
/// said here about the log is what a candidate decides by.
void Core::follower_answer_seal(Actions& actions) {
  if (state_.following.sealing == NodeId{}) return;
  const bool kept = promised() || options_.faults.ack_before_promise;
  if (!kept || !settled() || state_.hearing) return;
  // With this node's word and its own it would be elected, and its own may be a copy's. It asks
  // again.
  if (is_doubted(state_.following.sealing) && !options_.faults.seals_for_doubted) return;
  const NodeId to = std::exchange(state_.following.sealing, NodeId{});
  actions.push_back(Send{
      to, Sealed{state_.promise.epoch, state_.log.last_epoch, state_.log.begin, state_.log.durable,
                 state_.promise.incarnation, state_.persisted.vote, owed().first, owed().second}});
}

void Core::follower_leading(NodeId peer, const Leading& message, Actions& actions) {
  if (!may_speak(peer, message.members, actions)) return;
  if (!may_promise(message.epoch, peer, message.run)) {
    refuse_stale(peer, message.epoch, actions);
    return;
  }
  const bool news = state_.leader != peer || state_.epoch != message.epoch;
  if (news) follower_adopt(peer, message.epoch, message.run, peer, actions);
  // Whoever has its stream from another node needs to know the leader, no more.
  if (!news && state_.following.source != peer) return;
  state_.following.last_heard = state_.now;
  // It is said to whoever has no stream: what this node takes for one has ended on the other side.
  if (!news && state_.now - state_.following.last_subscribed < state_.following.retry_after) return;
  state_.following.streaming = false;
  follower_subscribe(actions);
}

void Core::follower_vote(NodeId peer, const GrantVote& message, Actions& actions) {
  if (!follower_obeys(peer, message.epoch, actions) || !state_.following.streaming ||
      peer != state_.leader || message.vote > Vote::kFull)
    return;
  if (message.incarnation == state_.promise.incarnation) {
    promise_vote(message.vote, actions);
  } else if (state_.now - state_.following.last_subscribed >= state_.following.retry_after) {
    // The leader takes this node for the one with the disk before: a late message told it so.
    state_.following.streaming = false;
    follower_subscribe(actions);
  }
}

// ---- The stream. -------------------------------------------------------------------------------

/// From an end that stands: what is still on its way to the disk might be of another epoch.
void Core::follower_subscribe(Actions& actions) {
  if (state_.following.source == NodeId{} || !promised() || !settled() || state_.hearing ||
      !state_.connected.contains(state_.following.source))
    return;
  state_.following.last_subscribed = state_.now;
  state_.following.retry_after = options_.heartbeat_interval;
  state_.following.streaming = false;
  actions.push_back(Send{
      state_.following.source,
      Subscribe{state_.promise.epoch, state_.log.last_epoch, state_.log.begin, state_.log.durable,
                state_.promise.incarnation, state_.persisted.vote, state_.run}});
}

/// Whether what comes from `peer` in `epoch` may be acted upon; tells the sender if its epoch is
/// over.
bool Core::follower_obeys(NodeId peer, Epoch epoch, Actions& actions) {
  if (state_.role == Role::kLeader) return false;
  if (options_.faults.accept_stale_epoch) return true;
  if (epoch < state_.promise.epoch) {
    refuse_stale(peer, epoch, actions);
    return false;
  }
  if (peer != state_.following.source || epoch != state_.epoch) return false;
  state_.following.last_heard = state_.now;
  return true;
}

void Core::follower_accept(NodeId peer, const Accept& message, Actions& actions) {
  if (!follower_obeys(peer, message.epoch, actions)) return;
  if (message.start != state_.received || state_.settling > 0) return;  // of another subscription
  state_.following.streaming = true;
  state_.outsider = false;
  state_.following.acknowledged = Address{};
  set_problem("", actions);
  advance_committed(message.committed, actions);
  actions.push_back(StateChanged{});
  follower_acknowledge(actions);
}

void Core::follower_diverges(NodeId peer, const Diverges& message, Actions& actions) {
  if (!follower_obeys(peer, message.epoch, actions)) return;
  if (state_.following.streaming || !settled() || message.asked != state_.log.durable)
    return;  // of an earlier subscription
  Address cut = std::min(message.end, state_.log.durable);
  for (const fasterlog::EpochStart& entry : epochs())
    if (entry.epoch > message.last_epoch) cut = std::min(cut, entry.start);
  const std::string ends = "in epoch " + std::to_string(message.last_epoch.value) + " node " +
                           text(peer) + "'s log ends at " + text(message.end);
  if (cut < std::min(state_.committed, state_.log.durable)) {
    actions.push_back(Fatal{"this node's log contradicts the leader's below what was committed: " +
                            ends + ", here " + text(state_.committed) +
                            " is committed. Keep its data for an examination; the node can rejoin "
                            "with an empty directory"});
    return;
  }
  if (cut >= state_.log.durable) {
    set_problem(
        "log refused by node " + text(peer) + ": " + ends + ", which leaves nothing here to cut",
        actions);
    return;
  }
  ++state_.cuts;
  stream_end(actions);
  settle(CutLog{cut}, actions);
}

void Core::follower_data(NodeId peer, const Data& message, Actions& actions) {
  if (!follower_obeys(peer, message.epoch, actions)) return;
  // Only the source that has checked this log, in the epoch it did so, may extend it.
  if (!state_.following.streaming) return;
  const uint64_t bytes = message.bytes ? message.bytes->size() : 0;
  if (message.from > state_.received) {  // something in between was lost
    state_.following.streaming = false;
    follower_subscribe(actions);
    return;
  }
  if (message.from + bytes > state_.received) {
    // After a new subscription the stream may repeat what was received.
    const size_t skip = state_.received - message.from;
    actions.push_back(AppendRaw{state_.received, message.bytes, skip});
    state_.received = message.from + bytes;
    state_.log.tail = std::max(state_.log.tail, state_.received);
  }
  advance_committed(message.committed, actions);
  const bool of_leader = peer == state_.leader || follows();  // or told on by an upstream
  if (of_leader && message.keep_from != Address{} && message.keep_from != state_.kept_from) {
    state_.kept_from = message.keep_from;
    actions.push_back(SetAnchor{options_.self, state_.kept_from});
  }
  // An echo of the future, or an age from before this clock's beginning, says nothing of use; and
  // no sum of these three can overflow.
  if (message.echo.count() > 0 && message.echo <= state_.now && message.age.count() >= 0 &&
      message.age <= message.echo) {
    // Sent after the source had heard what this node said at `echo`.
    const std::chrono::nanoseconds sure = message.echo - message.age;
    if (!sure_ || *sure_ < sure) sure_ = sure;
    auto& waiting = state_.fresher;
    if (waiting.empty() ||
        (sure > waiting.back().second && message.committed >= waiting.back().first)) {
      if (waiting.size() >= kMostFresher) waiting.pop_back();
      waiting.emplace_back(message.committed, sure);
    }
    note_applied(state_.applied);
  }
  state_.following.heard_round = std::max(state_.following.heard_round, message.round);
  const bool due =
      state_.now - state_.following.last_acknowledged >= options_.heartbeat_interval / 2;
  if (state_.following.acknowledged < state_.log.durable || (bytes == 0 && due) ||
      state_.following.answered_round < state_.following.heard_round)
    follower_acknowledge(actions);
}

void Core::follower_refused(NodeId peer, const Refuse& message, Actions& actions) {
  const bool by_leader = message.leader == peer && message.epoch >= state_.promise.epoch;
  if (message.reason == RefusalReason::kUnknownNode && by_leader && follows()) {
    state_.outsider = true;
    set_problem(message.message, actions);
  }
  if (peer != state_.following.source) return;
  state_.following.last_heard = state_.now;
  // A leader that is still starting, or hears of a later epoch, is soon asked again.
  state_.following.retry_after = message.reason == RefusalReason::kNotLeader
                                     ? options_.heartbeat_interval
                                     : options_.peer_timeout / 3;
  if (state_.outsider) state_.following.retry_after = options_.peer_timeout;
  state_.following.streaming = false;
  state_.following.last_subscribed = state_.now;
  const std::string_view what = message.reason == RefusalReason::kNeedsCheckpoint ||
                                        message.reason == RefusalReason::kLogDiverges
                                    ? "log refused"
                                    : "refused";
  set_problem(std::string(what) + " by node " + text(peer) + " (" +
                  std::string(name_of(message.reason)) + "): " + message.message,
              actions);
  if (peer != state_.leader && state_.leader != NodeId{} &&
      message.reason != RefusalReason::kNotLeader) {
    leave_upstream(actions);  // the leader may still have what this node needs
    return;
  }
  if (message.reason != RefusalReason::kNeedsCheckpoint) return;
  // One that it has acknowledged to since may have said so before: a copy that ends below what was
  // acknowledged would take that back. It asks again first. (Found by the simulation.)
  if (std::exchange(state_.following.acknowledged, Address{}) == Address{})
    actions.push_back(FetchCheckpoint{peer});
}

void Core::follower_acknowledge(Actions& actions) {
  // PromisePersisted comes back here.
  if (!promised() && !options_.faults.ack_before_promise) return;
  state_.following.acknowledged = state_.log.durable;
  state_.following.answered_round = state_.following.heard_round;
  state_.following.last_acknowledged = state_.now;
  ++state_.acks_sent;
  actions.push_back(Send{
      state_.following.source,
      Acknowledge{state_.epoch, state_.log.durable, state_.applied, state_.following.heard_round,
                  state_.now, state_.persisted.vote, state_.promise.incarnation}});
  tell_leader(actions);
}

void Core::on(const AppendFailed& event, Actions& actions) {
  state_.received = std::max(event.tail, state_.log.durable);
  state_.log.tail = state_.received;
  if (!follows() && state_.role != Role::kCandidate) return;
  state_.following.streaming = false;
  state_.following.last_subscribed = state_.now;
  state_.following.retry_after = options_.peer_timeout;
  if (state_.following.source == NodeId{}) return;
  refuse(state_.following.source, RefusalReason::kLogDiverges, event.message, actions);
  set_problem("the log refused bytes of the leader: " + event.message, actions);
}

}  // namespace tailrace::replication
