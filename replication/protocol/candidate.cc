// The core as a candidate: from the coordinator's grant to the epoch-start record.

#include <algorithm>
#include <utility>

#include "replication/protocol/core.h"
#include "replication/protocol/text.h"

namespace tailrace::replication {

void Core::on(const Granted& event, Actions& actions) {
  if (event.leader != options_.self) return;
  if (event.epoch <= state_.promise.epoch || !is_plausible(event.epoch) || !may_lead()) {
    // Granted before the coordinator heard of what was promised meanwhile, or before this node knew
    // that it has no vote any more. Kept, it would keep all others from leading.
    actions.push_back(Resign{event.epoch, NodeId{}});
    return;
  }
  candidate_begin(event.epoch, actions);
}

void Core::candidate_begin(Epoch epoch, Actions& actions) {
  if (state_.role == Role::kLeader) leader_end(actions);
  stream_end(actions);
  state_.role = Role::kCandidate;
  state_.epoch = epoch;
  state_.leader = NodeId{};
  state_.following = {.last_heard = state_.following.last_heard};
  state_.campaign = {.since = state_.now};
  sure_.reset();
  settle(DropAppends{}, actions);
  promise(epoch, options_.self, state_.run, actions);
  state_.problem.clear();
  actions.push_back(StateChanged{});
}

void Core::candidate_ask(NodeId peer, Actions& actions) {
  const bool may_ask = promised() || options_.faults.ack_before_promise;
  if (!may_ask || peer == options_.self || !is_voter(peer) || !state_.connected.contains(peer) ||
      state_.campaign.sealed.contains(peer))
    return;
  actions.push_back(Send{peer, Seal{state_.epoch, state_.members_record.end, state_.run}});
}

void Core::candidate_sealed(NodeId peer, const Sealed& message, Actions& actions) {
  if (state_.role != Role::kCandidate || message.epoch != state_.epoch) return;
  state_.campaign.sealed[peer] = message;
  candidate_choose(actions);
}

void Core::candidate_refused(NodeId peer, const Refuse& message, Actions& actions) {
  if (message.reason == RefusalReason::kStaleEpoch && message.epoch >= state_.epoch) {
    const Epoch epoch = state_.epoch;
    candidate_end("node " + text(peer) + " refused epoch " + std::to_string(epoch.value) + ": " +
                      message.message,
                  actions);
    step_aside(epoch, message.epoch, message.leader, actions);
    return;
  }
  if (peer != state_.following.source) return;  // the source of the fetch
  state_.following.source = NodeId{};
  state_.following.streaming = false;
  state_.campaign.sealed.erase(peer);  // whatever it said of its log, this node cannot have it
  if (message.reason == RefusalReason::kNeedsCheckpoint) {
    candidate_lost(peer,
                   "node " + text(peer) +
                       " holds more, and this node's log ends before that one's "
                       "begins: it needs a checkpoint",
                   actions);
    actions.push_back(FetchCheckpoint{peer});
    return;
  }
  candidate_choose(actions);
}

std::pair<Epoch, Address> Core::rank(Epoch last, Address end) const {
  return options_.faults.choose_by_address ? std::pair{Epoch{}, end} : std::pair{last, end};
}

/// What has come of promises, judged by the log that this node would end up with.
Core::Promised Core::candidate_count() const {
  Promised count;
  count.best = options_.self;
  auto greatest = rank(state_.log.last_epoch, state_.log.durable);
  for (const auto& [peer, sealed] : state_.campaign.sealed) {
    const auto theirs = rank(sealed.last_epoch, sealed.durable);
    if (theirs <= greatest) continue;
    greatest = theirs;
    count.best = peer;
  }
  const auto holds = [&](Epoch epoch, Address end) { return rank(epoch, end) <= greatest; };
  const auto may_vote = [&](Vote vote) {
    return vote != Vote::kNone || options_.faults.votes_without_memory;
  };
  const bool own_counts = is_voter(options_.self) && holds(owed().first, owed().second);
  const bool told = state_.told_to_go_on && is_only_voter();
  count.votes = own_counts && (may_vote(state_.persisted.vote) || told) ? 1 : 0;
  count.answered = own_counts ? 1 : 0;
  // Members that were changed had begun: a new disk that is being filled passes through those of
  // long ago, who may all have lost theirs since.
  count.begun = state_.persisted.vote == Vote::kFull || !state_.members_record.empty();
  for (const auto& [peer, sealed] : state_.campaign.sealed) {
    if (!is_voter(peer) || !is_its_disk(peer, sealed.incarnation) || is_doubted(peer) ||
        !holds(sealed.owed_epoch, sealed.owed))
      continue;
    ++count.answered;
    if (may_vote(sealed.vote)) ++count.votes;
    count.begun = count.begun || sealed.vote == Vote::kFull;
  }
  count.needed = majority();
  if (options_.faults.seal_by_minority && count.needed > 1) --count.needed;
  if (options_.faults.old_members_seal && state_.campaign.fetch_end != Address{}) count.needed = 0;
  return count;
}

/// Says what is missing, once it has been missing for a moment.
void Core::candidate_wait(const Promised& count, Actions& actions) {
  const bool all = count.answered == voters();
  if (!all && state_.now - state_.campaign.since < options_.heartbeat_interval) return;
  const std::string seeks = "seeks the lead in epoch " + std::to_string(state_.epoch.value);
  if (needs_word())
    set_problem("the log says that another disk votes for node " + text(options_.self) +
                    ", the only voter: this one lost its PROMISE, was put back to an earlier "
                    "state, or is there twice. If it is to go on from what it holds, run "
                    "`tailrace promote --node " +
                    text(options_.self) + "`",
                actions);
  else if (all)
    set_problem("too many voters have lost their disks: of " + std::to_string(voters()) +
                    ", only " + std::to_string(count.votes) +
                    " still know what was committed. Bring the disks of the others back" +
                    (state_.members_record.empty()
                         ? ". If those in the configuration file were never members yet, take "
                           "them out of it, start, and add them by `tailrace member add`"
                         : ""),
                actions);
  else if (count.begun || count.votes > 0)
    set_problem(seeks + ": of " + std::to_string(count.needed) + " votes that make a majority " +
                    std::to_string(count.votes) + " are promised",
                actions);
  else
    set_problem(seeks + ": the first start of a cluster needs every voter, and of " +
                    std::to_string(voters()) + " only " + std::to_string(count.answered) +
                    " have answered",
                actions);
}

/// Steps 3 and 4 of core.h, as soon as enough is known.
void Core::candidate_choose(Actions& actions) {
  if (state_.role != Role::kCandidate || !promised() || !settled() || state_.hearing) return;
  Campaign& campaign = state_.campaign;
  if (state_.following.source != NodeId{}) {
    if (rank(state_.log.last_epoch, state_.log.durable) <
        rank(campaign.fetch_epoch, campaign.fetch_end))
      return;  // still fetching
    state_.following.source = NodeId{};
    state_.following.streaming = false;
  }
  if (!may_lead()) {
    candidate_lost(NodeId{}, "the log that this node has fetched says that it is no voter any more",
                   actions);
    return;
  }
  const Promised count = candidate_count();
  const bool first_start = count.votes < count.needed;
  if (first_start && (count.answered != voters() || count.begun)) {
    candidate_wait(count, actions);
    return;
  }
  if (count.best == options_.self || options_.faults.skip_fetch) {
    candidate_won(first_start, count.begun, actions);
    return;
  }
  const Sealed& from = campaign.sealed.at(count.best);
  state_.following.source = count.best;
  campaign.fetch_epoch = from.last_epoch;
  campaign.fetch_end = from.durable;
  state_.following.last_heard = state_.now;
  state_.following.retry_after = std::chrono::nanoseconds{0};
  follower_subscribe(actions);
}

void Core::candidate_won(bool first_start, bool begun, Actions& actions) {
  // Its log holds all that the others know of, so it has forgotten nothing.
  if (!first_start) promise_vote(begun ? Vote::kFull : Vote::kProvisional, actions);
  ++state_.elections_won;
  state_.role = Role::kLeader;
  state_.leader = options_.self;
  state_.leadership = {.majority_heard = state_.now,
                       .first_start = first_start,
                       .sealed = std::move(state_.campaign.sealed)};
  state_.campaign = {};
  state_.following = {.last_heard = state_.following.last_heard};
  state_.problem.clear();
  if (state_.kept_from != Address{}) actions.push_back(RemoveAnchor{options_.self});
  state_.kept_from = Address{};
  state_.followers.clear();
  leader_take_members(actions);
  actions.push_back(BecomeWriter{state_.epoch});
}

void Core::candidate_lost(NodeId successor, std::string why, Actions& actions) {
  const Epoch epoch = state_.epoch;
  candidate_end(std::move(why), actions);
  actions.push_back(Resign{epoch, successor == options_.self ? NodeId{} : successor});
}

void Core::candidate_end(std::string why, Actions& actions) {
  ++state_.elections_lost;
  state_.role = idle_role();
  state_.leader = NodeId{};
  state_.campaign = {};
  state_.following = {.last_heard = state_.following.last_heard};
  state_.problem = std::move(why);
  actions.push_back(StateChanged{});
}

/// Someone has promised `higher`, to `by` (0: to nobody who is known to lead). Where no one does,
/// the grant is not given up: the coordinator exchanges it for an epoch above what was heard of.
void Core::step_aside(Epoch granted, Epoch higher, NodeId by, Actions& actions) {
  const bool exchanged = higher > state_.promise.epoch;
  const bool other = by != NodeId{} && by != options_.self;
  if (other || !exchanged) actions.push_back(Resign{granted, other ? by : NodeId{}});
  if (exchanged) promise(higher, NodeId{}, 0, actions);
}

void Core::candidate_tick(Actions& actions) {
  if (options_.give_up_after.count() > 0 &&
      state_.now - state_.campaign.since > options_.give_up_after) {
    candidate_lost(NodeId{},
                   "no majority of the voters promised epoch " +
                       std::to_string(state_.epoch.value) + " in time",
                   actions);
    return;
  }
  if (state_.now - state_.campaign.last_asked < options_.heartbeat_interval) return;
  state_.campaign.last_asked = state_.now;
  for (const Member& member : state_.members)
    candidate_ask(member.id, actions);
  candidate_choose(actions);  // to say what is missing
}

}  // namespace tailrace::replication
