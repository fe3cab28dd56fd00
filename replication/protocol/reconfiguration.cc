// Changing who belongs to the cluster.
//
// A record of the log says who the members are, and a node goes by the newest one that it holds,
// committed or not: the leader from when it enqueues it, the others from when it is durable on
// their disks. A cut takes it back. Every majority of the members before a change shares a voter
// with every majority after it, since one member is changed at a time: the leader begins a change
// only when the one before is committed, and only when its epoch-start record is (without that, two
// leaders could each have committed one of two changes that exclude each other; Ongaro on raft-dev,
// 2015).
//
// A new voter begins as a learner that is joining. It gets the stream and then its vote, by the
// same rule as a voter with a new disk (leader_grant_votes): when it becomes a voter its word
// counts at once, so that a cluster which has lost a voter is never worse off for having added one.
// Whoever leads makes it a voter once it is no more than a batch behind.
//
// Who is removed is fed until it holds the record of that. Who misses it, being down, learns from
// the leader's refusal, or from the log that it fetches as a candidate.

#include <algorithm>
#include <utility>

#include "replication/protocol/core.h"
#include "replication/protocol/text.h"

namespace tailrace::replication {

namespace {

/// In timeouts: how long one that was removed is fed at most.
constexpr int kFarewell = 3;

}  // namespace

// ---- Every node: whom the log names. -----------------------------------------------------------

void Core::adopt_members(Actions& actions) {
  const fasterlog::ConfigurationRecord* newest = nullptr;
  if (state_.log.configurations) {
    for (const fasterlog::ConfigurationRecord& record : *state_.log.configurations)
      if (state_.role == Role::kLeader || record.end <= state_.log.durable) newest = &record;
  }
  const AddressRange range = newest ? AddressRange{newest->start, newest->end} : AddressRange{};
  if (range.first == state_.members_record.first && range.end == state_.members_record.end) return;
  MembersRecord record{options_.members, version_without_record()};
  if (newest != nullptr) {
    Result<MembersRecord> read = decode_members(newest->payload);
    if (!read) {
      actions.push_back(Fatal{"at address " + text(newest->start) +
                              " of this node's log: " + read.error().message});
      return;
    }
    record = std::move(*read);
    fill_addresses(record.members, options_.members);
  }
  state_.members = std::move(record.members);
  state_.cluster_version = record.cluster_version;
  state_.members_record = range;
  state_.identity = record.identity;
  count_starts(actions);
  keep_identity(actions);
  members_changed(actions);
}

/// An identity that is not committed may be gone tomorrow, and with it whoever believed it.
void Core::keep_identity(Actions& actions) {
  const ClusterIdentity said = state_.identity, kept = state_.promise.identity;
  if (!said.known() || said == kept) return;
  if (kept.known()) {
    actions.push_back(Fatal{
        "this node's log belongs to the cluster with the identity " + text_of(said) +
        ", its PROMISE to that with " + text_of(kept) +
        ": one of them is from another node's directory. Put back the one that belongs here"});
    return;
  }
  const bool committed = state_.committed >= state_.members_record.end;
  if (!committed && !options_.faults.believes_identity_early) return;
  state_.promise.identity = said;
  actions.push_back(PersistPromise{state_.promise});
  for (const auto& [peer, introduction] : state_.introduced)
    if (state_.connected.contains(peer) && !may_be_of_one_cluster(introduction.identity, said))
      actions.push_back(Disconnect{peer});
}

void Core::members_changed(Actions& actions) {
  actions.push_back(MembersChanged{});
  for (const auto& [peer, introduction] : state_.introduced)
    if (is_member(peer)) note_life(peer, Introduction(introduction), actions);
  if (state_.role == Role::kLeader) {
    leader_take_members(actions);
    for (const Member& member : state_.members)
      leader_announce(member.id, actions);
    leader_count(actions);
    leader_confirm(actions);
  } else if (state_.role == Role::kCandidate) {
    for (const Member& member : state_.members)
      candidate_ask(member.id, actions);
  } else if (follows()) {
    state_.role = idle_role();
    relay_take_members(actions);
    const Member* self = find_member(state_.members, options_.self);
    const bool fed_by_leader = self == nullptr || self->voter || self->joining;
    if (fed_by_leader && state_.following.source != state_.leader)
      take_source(state_.leader, {}, actions);
  }
  actions.push_back(StateChanged{});
}

std::string Core::no_member(NodeId peer) const {
  return "node " + text(peer) + " is not among the members of the cluster, as node " +
         text(options_.self) +
         " knows them: stop it if it was removed, or make it one by `tailrace member add`";
}

// ---- The leader. -------------------------------------------------------------------------------

void Core::leader_take_members(Actions& actions) {
  for (auto& [peer, follower] : state_.followers) {
    if (is_member(peer)) continue;
    follower.voter = follower.joining = false;
    if (!follower.removed) follower.removed = state_.now;
  }
  for (const Member& member : state_.members) {
    if (member.id == options_.self) continue;
    const auto [place, fresh] = state_.followers.try_emplace(member.id);
    FollowerState& follower = place->second;
    follower.removed.reset();
    follower.voter = member.voter;
    const bool begins = member.joining && !follower.joining;
    follower.joining = member.joining;
    if (fresh) {
      follower.mark_time = follower.passed_time = state_.now;
      stream_pin(member.id, follower, actions);
    } else if (begins && follower.streaming) {
      leader_begin_vote(follower, actions);
    }
  }
}

/// It gets a vote once it holds all that it can have been sent from here, provided that a majority
/// without it confirms that this node still led.
void Core::leader_begin_vote(FollowerState& follower, Actions& actions) {
  if (state_.role != Role::kLeader || !(follower.voter || follower.joining) ||
      follower.vote != Vote::kNone)
    return;
  follower.vote_from = ship_end();
  follower.vote_round = state_.round + 1;
  leader_ask_round(actions);
}

bool Core::may_change() const {
  if (state_.role != Role::kLeader || state_.leadership.epoch_start.empty() ||
      state_.leadership.changing || state_.leadership.transferring != NodeId{})
    return false;
  const bool begun =
      state_.committed >= state_.leadership.epoch_start.end || options_.faults.changes_early;
  const bool over = state_.committed >= state_.members_record.end ||
                    options_.faults.changes_overlap || options_.faults.changes_early;
  return begun && over;
}

Result<Members> Core::after_change(const MemberChange& change) const {
  const std::string self = "node " + text(options_.self);
  if (state_.role != Role::kLeader ||
      (!state_.leadership.serving && !options_.faults.changes_early))
    return make_error(ErrorCode::kNotLeader, self + " does not lead, or is handing over");
  // Once there is a record, no first start without votes is possible any more.
  if (state_.persisted.vote != Vote::kFull)
    return make_error(ErrorCode::kUnavailable,
                      "no majority of the voters of this new cluster has its vote yet: try again");
  if (!may_change())
    return make_error(ErrorCode::kUnavailable,
                      "the change of members before is not committed yet: try again");
  Result<Members> next = changed(state_.members, change, options_.self);
  if (!next || count_voters(*next) >= voters()) return next;
  // Without a majority that has votes and follows, not even this change could be committed.
  const size_t able = able_voters(*next);
  if (able <= count_voters(*next) / 2)
    return make_error(ErrorCode::kFailedPrecondition,
                      "of the " + std::to_string(count_voters(*next)) +
                          " voters that would be left only " + std::to_string(able) +
                          " follow and have a vote, which is no majority: bring the others back, "
                          "or add voters, first");
  return next;
}

void Core::on(const ChangeAsked& event, Actions& actions) {
  // Alone it leads without a vote, as nobody has one at a first start. Then it gets one now.
  if (state_.role == Role::kLeader && state_.leadership.serving && is_only_voter())
    promise_vote(Vote::kFull, actions);
  Result<Members> next = after_change(event.change);
  if (!next || *next == state_.members) return;
  append_members(std::move(*next), actions);
}

void Core::append_members(Members next, Actions& actions) {
  // The first record of a node that was alone.
  for (Member& member : next)
    if (all_know(Feature::kDisksOfVotes) && member.voter && member.incarnation == 0)
      member.incarnation = state_.promise.incarnation;
  append_members(std::move(next), state_.cluster_version, actions);
}

void Core::append_members(Members next, uint32_t version, Actions& actions) {
  state_.leadership.changing = true;
  ClusterIdentity identity;
  if (knows(version, Feature::kClusterIdentity)) {
    identity = state_.promise.identity;
    if (!identity.known()) identity = state_.identity;
    if (!identity.known()) identity = state_.drawn;
  }
  actions.push_back(AppendMembers{{std::move(next), version, identity}});
}

void Core::on(const MembersAppended& event, Actions& actions) {
  if (state_.role != Role::kLeader) return;
  state_.leadership.changing = false;
  state_.log = event.log;
  adopt_members(actions);
}

/// One that is joining, has its vote and is close behind becomes a voter.
void Core::leader_promote(Actions& actions) {
  if (!state_.leadership.serving || !may_change()) return;
  for (const Member& member : state_.members) {
    if (!member.joining) continue;
    uint64_t incarnation = state_.persisted.incarnation;
    if (member.id != options_.self) {
      const FollowerState& follower = state_.followers.at(member.id);
      incarnation = follower.incarnation;
      // Its word, vote included, has to be of since it joined: an older one may be of another disk.
      const bool close = follower.streaming && follower.vote != Vote::kNone &&
                         follower.acknowledged >= state_.members_record.end &&
                         follower.acknowledged + options_.batch_bytes >= state_.log.durable &&
                         state_.now - follower.last_heard <= 2 * options_.heartbeat_interval;
      if (!close) continue;
    }
    Members next = state_.members;
    Member& joined = *std::ranges::find(next, member.id, &Member::id);
    joined.voter = true;
    joined.joining = false;
    if (all_know(Feature::kDisksOfVotes)) joined.incarnation = incarnation;
    append_members(std::move(next), actions);
    return;
  }
}

/// Who was removed and knows it, or does not listen, is fed no more.
void Core::leader_forget_removed(Actions& actions) {
  for (auto it = state_.followers.begin(); it != state_.followers.end();) {
    auto& [peer, follower] = *it;
    const Address record = state_.members_record.end;
    const bool knows = follower.acknowledged >= record && follower.told_committed >= record;
    const bool over =
        follower.removed && (knows || !follower.streaming ||
                             state_.now - *follower.removed > kFarewell * options_.peer_timeout);
    if (!over) {
      ++it;
      continue;
    }
    it = feed_no_more(it, RefusalReason::kUnknownNode, no_member(peer), actions);
  }
}

Followers::iterator Core::feed_no_more(Followers::iterator follower, RefusalReason reason,
                                       std::string why, Actions& actions) {
  const NodeId peer = follower->first;
  if (follower->second.pin) actions.push_back(RemoveAnchor{peer});
  refuse(peer, reason, std::move(why), actions);
  return state_.followers.erase(follower);
}

// ---- A relay. ----------------------------------------------------------------------------------

/// It feeds learners only.
void Core::relay_take_members(Actions& actions) {
  if (state_.following.source == NodeId{}) return;  // whom it feeds is a candidate
  for (auto it = state_.followers.begin(); it != state_.followers.end();) {
    const NodeId peer = it->first;
    if (relays(peer, state_.epoch)) {
      ++it;
      continue;
    }
    it = feed_no_more(it, RefusalReason::kNotLeader,
                      "node " + text(options_.self) + " feeds no node but learners", actions);
  }
}

}  // namespace tailrace::replication
