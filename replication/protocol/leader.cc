// The core as a leader: what counts, who is told, and how it ends.

#include <algorithm>
#include <functional>
#include <utility>

#include "core/check.h"
#include "replication/protocol/core.h"

namespace tailrace::replication {

namespace {

std::string text(Epoch epoch) {
  return std::to_string(epoch.value);
}

}  // namespace

void Core::on(const WriterReady& event, Actions& actions) {
  if (state_.role != Role::kLeader) return;
  state_.leadership.epoch_start = event.record;
  state_.log = event.log;
  adopt_members(actions);
  for (const NodeId peer : state_.connected)
    leader_announce(peer, actions);
  actions.push_back(StateChanged{});
  leader_count(actions);
}

void Core::leader_announce(NodeId peer, Actions& actions) {
  if (state_.leadership.epoch_start.empty() || !state_.connected.contains(peer)) return;
  const auto follower = state_.followers.find(peer);
  if (follower == state_.followers.end()) {
    // It may have been away when it was removed, or not have been added yet.
    refuse(peer, RefusalReason::kUnknownNode, no_member(peer), actions);
    return;
  }
  follower->second.last_sent = state_.now;
  actions.push_back(Send{peer, Leading{state_.epoch, state_.members_record.end, state_.run}});
}

void Core::leader_tick(Actions& actions) {
  size_t heard = is_voter(options_.self) ? 1 : 0;
  for (const auto& [peer, follower] : state_.followers) {
    if (follower.voter && follower.streaming && is_its_disk(peer, follower.incarnation) &&
        state_.now - follower.last_heard <= options_.peer_timeout)
      ++heard;
    if (!follower.streaming && !hears_relayed(follower) &&
        state_.now - follower.last_sent >= options_.heartbeat_interval)
      leader_announce(peer, actions);
  }
  if (heard >= majority()) state_.leadership.majority_heard = state_.now;
  if (!state_.leadership.epoch_start.empty() &&
      (state_.leadership.rounds.empty() ||
       state_.now - state_.leadership.rounds.back().second >= options_.heartbeat_interval))
    leader_ask_round(actions);
  if (options_.give_up_after.count() > 0 &&
      state_.now - state_.leadership.majority_heard > options_.give_up_after) {
    const Epoch epoch = state_.epoch;
    leader_end(actions);
    actions.push_back(Resign{epoch, NodeId{}});
    set_problem(
        "no majority of the voters was heard for too long: epoch " + text(epoch) + " was given up",
        actions);
    return;
  }
  if (state_.leadership.transferring != NodeId{} &&
      state_.now - state_.leadership.transfer_began > options_.transfer_timeout) {
    set_problem("", actions);
    state_.leadership.transferring = NodeId{};
    state_.leadership.serving = state_.committed >= state_.leadership.epoch_start.end &&
                                !state_.leadership.epoch_start.empty();
    actions.push_back(StateChanged{});
  }
  leader_forget_removed(actions);
  leader_replace_disk(actions);
  leader_promote(actions);
  leader_raise_version(actions);
  leader_hand_over(actions);
}

/// What follows is a node without a leader; the log is a copy from here on.
void Core::leader_end(Actions& actions) {
  const Address kept_from = stream_kept_from();
  stream_end(actions);
  state_.role = idle_role();
  state_.leader = NodeId{};
  state_.leadership = {};
  // The next leader may need for a member what was pinned for it here.
  state_.kept_from = kept_from;
  actions.push_back(SetAnchor{options_.self, kept_from});
  state_.fresher.clear();
  sure_.reset();
  settle(BecomeCopy{}, actions);
  actions.push_back(StateChanged{});
}

/// `by`: whom the voters follow now; 0: nobody, as far as is known.
void Core::leader_deposed(Epoch higher, NodeId by, Actions& actions) {
  const Epoch epoch = state_.epoch;
  leader_end(actions);
  step_aside(epoch, higher, by, actions);
}

bool Core::counts(NodeId voter) const {
  if (!is_voter(voter)) return false;
  if (voter != options_.self &&
      (!is_its_disk(voter, state_.followers.at(voter).incarnation) || is_doubted(voter)))
    return false;
  if (options_.faults.votes_without_memory) return true;
  if (state_.leadership.first_start) {
    // As long as it is the disk that sealed this epoch: a newer one may have forgotten a later
    // promise.
    if (voter == options_.self) return true;
    const auto sealed = state_.leadership.sealed.find(voter);
    if (sealed != state_.leadership.sealed.end() &&
        sealed->second.incarnation == state_.followers.at(voter).incarnation)
      return true;
  }
  const Vote vote =
      voter == options_.self ? state_.persisted.vote : state_.followers.at(voter).vote;
  return vote != Vote::kNone;
}

/// Moves committed to what a majority of voters has durable.
void Core::leader_count(Actions& actions) {
  if (state_.role != Role::kLeader || state_.leadership.epoch_start.empty()) return;
  const Address own = options_.faults.counts_unflushed ? ship_end() : state_.log.durable;
  std::vector<Address> votes;
  for (const Member& member : state_.members) {
    if (!member.voter) continue;
    if (!counts(member.id))
      votes.push_back(Address{});
    else
      votes.push_back(member.id == options_.self ? own
                                                 : state_.followers.at(member.id).acknowledged);
  }
  size_t needed = majority();
  if (options_.faults.minority_commits && needed > 1) --needed;
  std::ranges::sort(votes, std::greater<>());
  // Where the others were faster it waits for its own disk: what it serves, and hands over, it has.
  const Address agreed = std::min(votes[needed - 1], own);
  // Bytes of earlier epochs count only together with this epoch's first record.
  if (agreed < state_.leadership.epoch_start.end && !options_.faults.count_old_epochs) return;
  if (agreed <= state_.committed) return;
  advance_committed(agreed, actions);
  if (!state_.leadership.serving && agreed >= state_.leadership.epoch_start.end &&
      state_.leadership.transferring == NodeId{}) {
    state_.leadership.serving = true;
    actions.push_back(StateChanged{});
  }
  leader_confirm(actions);
  // The next Data tells it anyway; where none is to come soon, it is told at once.
  if (state_.committed < state_.log.durable) return;
  for (auto& [peer, follower] : state_.followers)
    if (follower.streaming && !follower.shipping && follower.next >= ship_end())
      stream_heartbeat(peer, follower, actions);
}

// ---- Rounds: does a majority still obey? -------------------------------------------------------

void Core::on(const ConfirmAsked& event, Actions& actions) {
  note_now(event.now);
  if (state_.role != Role::kLeader) return;
  leader_ask_round(actions);
}

void Core::leader_ask_round(Actions& actions) {
  ++state_.round;
  state_.leadership.rounds.emplace_back(state_.round, state_.now);
  for (auto& [peer, follower] : state_.followers)
    if (follower.streaming && follower.voter) stream_heartbeat(peer, follower, actions);
  leader_confirm(actions);
}

void Core::leader_confirm(Actions& actions) {
  std::vector<uint64_t> rounds;
  for (const Member& member : state_.members) {
    if (!member.voter) continue;
    if (!counts(member.id))
      rounds.push_back(0);
    else
      rounds.push_back(member.id == options_.self ? state_.round
                                                  : state_.followers.at(member.id).round);
  }
  std::ranges::sort(rounds, std::greater<>());
  const uint64_t agreed = options_.faults.confirms_alone ? rounds[0] : rounds[majority() - 1];
  if (agreed <= state_.confirmed_round) return;
  state_.confirmed_round = agreed;
  std::optional<std::chrono::nanoseconds> asked;
  while (!state_.leadership.rounds.empty() && state_.leadership.rounds.front().first <= agreed) {
    asked = state_.leadership.rounds.front().second;
    state_.leadership.rounds.pop_front();
  }
  // It led then, and so knew of all that was committed: as soon as that is applied, the state is
  // of that moment. Before its own first record is committed it does not know.
  if (asked && state_.committed >= state_.leadership.epoch_start.end) {
    sure_ = asked;
    state_.fresher.emplace_back(state_.committed, *asked);
    note_applied(state_.applied);
  }
  actions.push_back(Confirmed{agreed});
}

// ---- Votes. ------------------------------------------------------------------------------------

void Core::leader_grant_votes(Actions& actions) {
  if (state_.committed < state_.leadership.epoch_start.end) return;
  const auto known = [&](NodeId voter) {
    return voter == options_.self ? state_.persisted.vote : state_.followers.at(voter).vote;
  };
  size_t able = 0;
  for (const Member& member : state_.members)
    if (member.voter && counts(member.id) && known(member.id) != Vote::kNone) ++able;
  const bool begun = able >= majority();
  promise_vote(begun ? Vote::kFull : Vote::kProvisional, actions);
  for (auto& [peer, follower] : state_.followers) {
    if (!(follower.voter || follower.joining) || !follower.streaming) continue;
    Vote wanted = begun ? Vote::kFull : Vote::kProvisional;
    if (follower.vote >= wanted) continue;
    if (follower.vote == Vote::kNone) {
      if (follower.acknowledged < follower.vote_from ||
          state_.confirmed_round < follower.vote_round)
        continue;
      wanted = Vote::kProvisional;
    }
    actions.push_back(Send{peer, GrantVote{state_.epoch, follower.incarnation, wanted}});
  }
}

// ---- Planned hand-over. ------------------------------------------------------------------------

void Core::on(const TransferAsked& event, Actions& actions) {
  if (state_.role != Role::kLeader || !state_.leadership.serving) return;
  auto it = state_.followers.find(event.to);
  if (it == state_.followers.end() || !it->second.voter || !it->second.streaming) return;
  state_.leadership.transferring = event.to;
  state_.leadership.transfer_began = state_.now;
  state_.leadership.serving = false;
  actions.push_back(StateChanged{});
}

/// Once the successor holds all, so that it need not fetch and no answer is owed any more. Only
/// LogMoved and Tick come here: where the log ends has to be read after serving has stopped.
void Core::leader_hand_over(Actions& actions) {
  if (state_.role != Role::kLeader || state_.leadership.transferring == NodeId{}) return;
  const NodeId to = state_.leadership.transferring;
  const FollowerState& follower = state_.followers.at(to);
  const bool all = state_.log.durable == state_.log.tail &&
                   state_.committed == state_.log.durable && state_.applied >= state_.committed &&
                   follower.acknowledged == state_.log.durable;
  if (!all || !follower.streaming) return;
  const Epoch epoch = state_.epoch;
  leader_end(actions);
  actions.push_back(Resign{epoch, to});
  actions.push_back(Send{to, TakeOver{epoch}});
}

}  // namespace tailrace::replication
