#include "replication/protocol/core.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "replication/protocol/invariants.h"

namespace tailrace::replication {

std::string_view name_of(Role role) {
  switch (role) {
    case Role::kStarting:
      return "starting";
    case Role::kLeader:
      return "leader";
    case Role::kFollower:
      return "follower";
    case Role::kLearner:
      return "learner";
    case Role::kCandidate:
      return "candidate";
    case Role::kStopped:
      return "stopped";
  }
  return "unknown";
}

std::string_view name_of(RefusalReason reason) {
  switch (reason) {
    case RefusalReason::kNotLeader:
      return "not_leader";
    case RefusalReason::kStaleEpoch:
      return "stale_epoch";
    case RefusalReason::kNeedsCheckpoint:
      return "needs_checkpoint";
    case RefusalReason::kLogDiverges:
      return "log_diverges";
    case RefusalReason::kUnknownNode:
      return "unknown_node";
    case RefusalReason::kSeenBefore:
      return "seen_before";
  }
  return "unknown";
}

Epoch epoch_before(const EpochTable& table, Address end) {
  Epoch epoch;
  for (const fasterlog::EpochStart& entry : table)
    if (entry.start < end) epoch = entry.epoch;
  return epoch;
}

Address end_of_epoch(const EpochTable& table, Epoch epoch, Address durable) {
  for (const fasterlog::EpochStart& entry : table)
    if (entry.epoch > epoch) return std::min(entry.start, durable);
  return durable;
}

Core::Core(CoreOptions options) : options_(std::move(options)) {
  for (Member& member : options_.members)
    member.upstream = NodeId{};  // what a learner's own file says to itself
  for (Member& member : options_.members)
    member.addresses_in_file = true;
  std::ranges::sort(options_.members, {}, &Member::id);
  state_.members = options_.members;
  state_.cluster_version = version_without_record();
  if (options_.check_invariants) checker_ = std::make_unique<InvariantChecker>();
}

Core::~Core() = default;

void Core::step(const Event& event, std::vector<Action>& actions) {
  std::visit([&](const auto& it) { on(it, actions); }, event);
  if (checker_) {
    std::optional<std::string> broken = checker_->check(*this);
    TAILRACE_CHECK(!broken, *broken);
  }
}

void Core::on(const Started& event, Actions& actions) {
  state_.log = event.log;
  state_.run = event.run;
  state_.drawn = event.drawn;
  state_.promise = state_.persisted = event.promise;
  adopt_members(actions);
  count_starts(actions);
  // The log may be ahead of the promise file: its records were taken just before a crash.
  if (state_.promise.epoch < event.log.last_epoch)
    promise(event.log.last_epoch, NodeId{}, 0, actions);
  state_.committed = event.committed;
  keep_identity(actions);
  state_.received = event.log.tail;
  state_.now = state_.hearing_since = event.now;
  for (const Promise::Owed& owed : event.promise.owed)
    state_.owed[owed.teller] = {owed.incarnation, owed.last_epoch, owed.end, event.now};
  end_hearing(actions);
  state_.role = idle_role();
  // Until a leader says who needs the log, everything of it may be needed.
  state_.kept_from = event.log.begin;
  actions.push_back(SetAnchor{options_.self, state_.kept_from});
  settle(BecomeCopy{}, actions);
  actions.push_back(StateChanged{});
}

void Core::on(const Tick& event, Actions& actions) {
  note_now(event.now);
  note_applied(event.applied);
  end_hearing(actions);
  forget_owed(actions);
  if (state_.role == Role::kLeader) leader_tick(actions);
  if (state_.role == Role::kCandidate) candidate_tick(actions);
  relay_tick(actions);
  stream_tick(actions);
  choose_source(actions);
  follower_tick(actions);
}

void Core::on(const PeerConnected& event, Actions& actions) {
  const NodeId peer = event.peer;
  state_.connected.insert(peer);
  stream_lost(peer);  // until it subscribes on this connection
  state_.introduced[peer] = event.introduction;
  state_.seen_before.erase(peer);
  state_.campaign.sealed.erase(peer);  // said by the life before, perhaps
  state_.leadership.sealed.erase(peer);
  if (state_.role == Role::kCandidate && peer == state_.following.source) {
    // Its log may be another one than what was to be fetched.
    state_.following.source = NodeId{};
    state_.following.streaming = false;
  }
  if (const auto owed = state_.owed.find(peer); owed != state_.owed.end()) {
    // What a disk held that is gone cannot be had any more.
    if (event.introduction.life.incarnation == owed->second.incarnation)
      owed->second.gone_since.reset();
    else
      state_.owed.erase(owed);
  }
  note_life(peer, event.introduction, actions);
  stream_new_life(peer, event.introduction);
  hear(peer, event.introduction, actions);
  if (state_.role == Role::kLeader) leader_announce(peer, actions);
  if (state_.role == Role::kCandidate) candidate_ask(peer, actions);
  if (peer == state_.following.source) {
    state_.following.last_heard = state_.now;
    state_.following.streaming = false;
    follower_subscribe(actions);
  }
}

void Core::on(const PeerDisconnected& event, Actions& actions) {
  const NodeId peer = event.peer;
  state_.connected.erase(peer);
  state_.introduced.erase(peer);
  state_.seen_before.erase(peer);
  if (const auto owed = state_.owed.find(peer); owed != state_.owed.end())
    owed->second.gone_since = state_.now;
  stream_lost(peer);
  if (peer == state_.following.sealing) state_.following.sealing = NodeId{};  // it will ask again
  if (peer == state_.following.source) state_.following.streaming = false;
  if (state_.role == Role::kCandidate) {
    state_.campaign.sealed.erase(peer);
    if (peer == state_.following.source) state_.following.source = NodeId{};
    candidate_choose(actions);
  }
}

void Core::on(const Received& event, Actions& actions) {
  const NodeId peer = event.peer;
  note_now(event.now);
  if (peer == options_.self) return;
  // Who leads or seeks to may be a member since a record that this node does not hold yet. Heard is
  // heard: a message may overtake the news of its connection.
  state_.connected.insert(peer);
  if (refuses_life(peer, event.message, actions)) return;
  if (const auto* subscribe = std::get_if<Subscribe>(&event.message)) {
    stream_subscribe(peer, *subscribe, actions);
  } else if (const auto* acknowledge = std::get_if<Acknowledge>(&event.message)) {
    stream_acknowledge(peer, *acknowledge, actions);
  } else if (const auto* accept = std::get_if<Accept>(&event.message)) {
    follower_accept(peer, *accept, actions);
  } else if (const auto* diverges = std::get_if<Diverges>(&event.message)) {
    follower_diverges(peer, *diverges, actions);
  } else if (const auto* data = std::get_if<Data>(&event.message)) {
    follower_data(peer, *data, actions);
  } else if (const auto* seal = std::get_if<Seal>(&event.message)) {
    follower_seal(peer, *seal, actions);
  } else if (const auto* sealed = std::get_if<Sealed>(&event.message)) {
    candidate_sealed(peer, *sealed, actions);
  } else if (const auto* leading = std::get_if<Leading>(&event.message)) {
    follower_leading(peer, *leading, actions);
  } else if (const auto* vote = std::get_if<GrantVote>(&event.message)) {
    follower_vote(peer, *vote, actions);
  } else if (const auto* take_over = std::get_if<TakeOver>(&event.message)) {
    const bool by_leader =
        take_over->epoch == state_.promise.epoch && peer == state_.promise.leader;
    if (may_lead() && by_leader) actions.push_back(SeekLead{});
  } else if (const auto* refused = std::get_if<Refuse>(&event.message)) {
    ++state_.refusals_received;
    // Of nobody who is not a member, unless this node follows it by a record that it lacks yet.
    if (!may_move_epoch(peer) && peer != state_.following.source && peer != state_.leader) return;
    if (refused->reason == RefusalReason::kSeenBefore) {
      become_another_disk(*refused, peer, actions);
    } else if (state_.role == Role::kLeader) {
      const bool stale = refused->reason == RefusalReason::kStaleEpoch &&
                         refused->epoch == state_.epoch;  // promised to another in our epoch
      if (refused->epoch > state_.epoch || stale)
        leader_deposed(refused->epoch, refused->leader, actions);
    } else if (state_.role == Role::kCandidate) {
      candidate_refused(peer, *refused, actions);
    } else {
      follower_refused(peer, *refused, actions);
    }
  }
}

void Core::on(const PromisePersisted& event, Actions& actions) {
  const uint64_t disk = state_.persisted.incarnation;
  if (event.promise.epoch >= state_.persisted.epoch) state_.persisted = event.promise;
  if (state_.promise.starts == 0) {  // in memory alone
    state_.persisted.seen = state_.promise.seen;
    state_.persisted.owed = state_.promise.owed;
  }
  if (state_.persisted.incarnation != disk) {  // new connections tell the others
    for (const Member& member : state_.members)
      if (member.id != options_.self && !state_.connected.contains(member.id))
        actions.push_back(Disconnect{member.id});  // one that is just being made
    for (const NodeId peer : state_.connected)
      actions.push_back(Disconnect{peer});
  }
  if (!promised()) return;
  if (state_.role == Role::kCandidate) {
    for (const Member& member : state_.members)
      candidate_ask(member.id, actions);
    candidate_choose(actions);
  } else if (state_.role == Role::kLeader) {
    leader_count(actions);  // with its own vote now
  } else {
    follower_answer_seal(actions);
    if (state_.following.streaming)
      follower_acknowledge(actions);  // what was held back until now
    else
      follower_subscribe(actions);
  }
}

void Core::on(const LogMoved& event, Actions& actions) {
  note_applied(event.applied);
  if (state_.settling > 0) return;  // it may be from before; LogSettled tells
  const bool durable_moved = event.log.durable > state_.log.durable;
  const Address shipped_to = ship_end();
  state_.log = event.log;
  state_.received = std::max(state_.received, event.log.durable);
  adopt_members(actions);
  if (ship_end() > shipped_to) stream_ship_all(actions);
  if (state_.role == Role::kLeader) {
    if (durable_moved) leader_count(actions);
    leader_hand_over(actions);
    return;
  }
  if (!durable_moved) return;
  if (state_.following.streaming) follower_acknowledge(actions);
  if (state_.role == Role::kCandidate) candidate_choose(actions);
  follower_answer_seal(actions);
  if (!state_.following.streaming) follower_subscribe(actions);
}

void Core::on(const LogSettled& event, Actions& actions) {
  if (state_.settling > 0) --state_.settling;
  state_.log = event.log;
  state_.received = event.log.tail;
  if (state_.settling > 0) return;
  adopt_members(actions);
  if (state_.role == Role::kCandidate) candidate_choose(actions);
  follower_answer_seal(actions);
  follower_subscribe(actions);
}

void Core::refuse(NodeId peer, RefusalReason reason, std::string message, Actions& actions) {
  ++state_.refusals_sent;
  // A leader that was promised the epoch only now may still be collecting its majority.
  const bool follows_it =
      state_.promise.leader != options_.self &&
      (state_.following.streaming || state_.now - state_.promised_at < options_.peer_timeout);
  const NodeId leader = state_.role == Role::kLeader ? options_.self
                        : follows_it                 ? state_.promise.leader
                                                     : NodeId{};
  actions.push_back(Send{peer, Refuse{reason, state_.promise.epoch, leader, std::move(message)}});
}

void Core::refuse_stale(NodeId peer, Epoch epoch, Actions& actions) {
  const Promise& word = state_.promise;
  refuse(peer, RefusalReason::kStaleEpoch,
         epoch == word.epoch ? "epoch " + std::to_string(epoch.value) + " was promised to node " +
                                   std::to_string(word.leader.value)
                             : "epoch " + std::to_string(epoch.value) + " is over: epoch " +
                                   std::to_string(word.epoch.value) + " was promised",
         actions);
}

/// An epoch belongs to one life of one node: another life may hold another log.
bool Core::may_promise(Epoch epoch, NodeId leader, uint64_t run) const {
  const Promise& word = state_.promise;
  if (epoch != word.epoch) return epoch > word.epoch;
  const bool same_life =
      word.run == run || word.run == 0 || run == 0 || options_.faults.epoch_for_two_lives;
  return word.leader == NodeId{} || (word.leader == leader && same_life);
}

void Core::promise(Epoch epoch, NodeId leader, uint64_t run, Actions& actions) {
  state_.promise.epoch = epoch;
  state_.promise.leader = leader;
  state_.promise.run = run;
  state_.promised_at = state_.now;
  actions.push_back(PersistPromise{state_.promise});
}

void Core::promise_vote(Vote vote, Actions& actions) {
  if (vote <= state_.promise.vote) return;
  state_.promise.vote = vote;
  actions.push_back(PersistPromise{state_.promise});
}

void Core::advance_committed(Address address, Actions& actions) {
  if (address <= state_.committed) return;
  state_.committed = address;
  actions.push_back(AdvanceCommitted{address});
  keep_identity(actions);
}

void Core::set_problem(std::string problem, Actions& actions) {
  if (state_.problem == problem) return;
  state_.problem = std::move(problem);
  actions.push_back(StateChanged{});
}

void Core::note_applied(Address applied) {
  state_.applied = std::max(state_.applied, applied);
  auto& waiting = state_.fresher;
  while (!waiting.empty() && waiting.front().first <= state_.applied) {
    if (!state_.fresh_at || *state_.fresh_at < waiting.front().second)
      state_.fresh_at = waiting.front().second;
    waiting.pop_front();
  }
}

/// Until LogSettled nothing is said about where the log ends.
void Core::settle(Action action, Actions& actions) {
  ++state_.settling;
  actions.push_back(std::move(action));
}

bool Core::is_voter(NodeId node) const {
  const Member* member = find_member(state_.members, node);
  return member != nullptr && member->voter &&
         (node != options_.self || is_its_disk(node, state_.promise.incarnation));
}

const EpochTable& Core::epochs() const {
  static const EpochTable none;
  return state_.log.epochs ? *state_.log.epochs : none;
}

bool Core::hears_leader() const {
  if (state_.role == Role::kLeader)
    return state_.now - state_.leadership.majority_heard <= options_.peer_timeout;
  return follows() && state_.following.streaming &&
         state_.now - state_.following.last_heard <= options_.peer_timeout;
}

}  // namespace tailrace::replication
