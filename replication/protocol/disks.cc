// Which disk speaks for a number, and in which of its lives.
//
// A voter is a disk, not a number (from cluster version 2 on). The record of the members names the
// incarnation that votes for each number: the word of any other disk counts nothing, neither to
// choose a leader nor to commit, by whomever it is counted. So an old disk that is put back after
// its successor has voted cannot take part in cutting off what the successor acknowledged.
//
// That another disk gets the vote of a number takes two records, each committed before the next is
// written: one that makes the member joining, whereby there is one voter less, and one that makes
// it a voter again, with the disk that it has then. Each is a change of one voter like any other
// (reconfiguration.cc). In one record it would be two: with {1,2,A} before and {1,2,B} after it,
// {2,A} and {1,B} are majorities without a common voter.
//
// A disk in an earlier state (a directory put back from a copy) has the same incarnation and lacks
// what it acknowledged since. It counts its starts, durably and before it speaks, and every member
// remembers, as durably, the newest count and run that it has seen of each disk. Who comes with a
// count that was seen, in another run, is refused; it then draws a new incarnation, is a new disk,
// and joins as one. A leader that is still in office notices as well when a later run of a disk
// ends below what an earlier run acknowledged.
//
// The hello alone proves nothing: the network may keep that of a life which is over until the next
// one has been seen. So the disk is doubted for a timeout, and whoever is alive to be refused says
// in its next hello which incarnation it has given up: from then on nobody with that is believed.
//
// A copy that runs beside its original takes the connection from it, or loses it. A new life that
// comes while an older one is connected counts nothing for a timeout, nor is it sealed then (each
// of the two bodies would be a majority with one other voter), and once an older run has answered
// after a newer one, neither is believed: both become other disks.
//
// Where there is one voter nobody can give another disk the vote. An operator can: `tailrace
// promote` makes it go on from what it holds (leader_replace_disk).
//
// A copy that was made while the node ran comes back like any restart: its count is one above the
// last. So a new life first hears the other voters, for a moment at most, and until then says
// nothing by which a leader is chosen or anything is committed. It takes over the newest promise
// that they tell, with the life that it was made to; where two tell different lives of one epoch,
// it leaves that epoch to nobody. And it remembers where their logs end: its word counts only for a
// log that is not below the greatest of these, by (last epoch, end), for what it has forgotten
// cannot be above. After an honest restart this costs nothing, for others hold what the leader's
// log had at that moment; where whoever told it is gone for long, or nobody leads for so long, it
// is left out, or a cluster could not go on without that one.
//
// What nobody who is up knows, nobody can notice: a restored copy and another voter's absence
// together are two failures, and so is a copy that is older than two changes of the members.
//
// An epoch is promised to a life of a node, not to its number: another life may hold another log,
// and two logs in one epoch could not be told apart. (may_promise() in core.cc.)

#include <algorithm>
#include <utility>

#include "replication/protocol/core.h"
#include "replication/protocol/text.h"

namespace tailrace::replication {

namespace {

/// An epoch beyond this is nobody's: what comes after it must still fit into a coordinator's signed
/// numbers. One step up is bounded as well, so that no word can use the epochs up.
constexpr uint64_t kGreatestEpoch = uint64_t{1} << 62;
constexpr uint64_t kGreatestStep = uint64_t{1} << 40;

/// In timeouts: then it is not waited for what one owes by another's word.
constexpr int kGoneForLong = 5;

/// Of all disks together that are remembered.
constexpr size_t kMostSeen = 1024;

/// The epoch that a message speaks of; 0: of none.
struct EpochOf {
  Epoch operator()(const Subscribe& message) const { return message.promised; }
  Epoch operator()(const AskCheckpoint&) const { return {}; }
  Epoch operator()(const OfferCheckpoint&) const { return {}; }
  Epoch operator()(const ReadCheckpoint&) const { return {}; }
  Epoch operator()(const CheckpointPart&) const { return {}; }
  Epoch operator()(const auto& message) const { return message.epoch; }
};

/// SplitMix64: one of many numbers that follow from a random one.
uint64_t mixed(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

bool asks(const Message& message) {
  return std::holds_alternative<Seal>(message) || std::holds_alternative<Subscribe>(message) ||
         std::holds_alternative<Leading>(message);
}

}  // namespace

// ---- Every node. -------------------------------------------------------------------------------

bool Core::is_plausible(Epoch epoch) const {
  const uint64_t known = state_.promise.epoch.value;
  return epoch.value <= kGreatestEpoch && (known == 0 || epoch.value <= known + kGreatestStep);
}

bool Core::is_its_disk(NodeId node, uint64_t incarnation) const {
  const Member* member = find_member(state_.members, node);
  if (node == options_.self && state_.told_to_go_on && is_only_voter()) return true;
  return member == nullptr || member->incarnation == 0 || member->incarnation == incarnation ||
         options_.faults.votes_by_number;
}

bool Core::may_lead() const {
  const Member* self = find_member(state_.members, options_.self);
  return self != nullptr && (self->voter || self->joining);
}

/// By its number.
bool Core::is_only_voter() const {
  const Member* self = find_member(state_.members, options_.self);
  return self != nullptr && self->voter && voters() == 1;
}

/// An operator knows what this node cannot: that no other disk has what it lacks.
void Core::on(const GoOnAsked&, Actions& actions) {
  if (!needs_word()) return;
  state_.told_to_go_on = true;
  set_problem("", actions);
  if (follows()) state_.role = idle_role();
  candidate_choose(actions);
  actions.push_back(StateChanged{});
}

bool Core::needs_word() const {
  return is_only_voter() && !is_its_disk(options_.self, state_.promise.incarnation);
}

/// What a connection begins with: whether this life of that disk is over.
void Core::note_life(NodeId peer, const Introduction& introduction, Actions& actions) {
  const Life& life = introduction.life;
  if (life.starts == 0 || options_.faults.forgets_lives) return;
  if (introduction.given_up != 0) {
    // Which of two runs is the one that acknowledged cannot be known.
    const auto known = std::ranges::find_if(state_.promise.seen, [&](const auto& one) {
      return one.first == peer && one.second.incarnation == introduction.given_up;
    });
    if (known == state_.promise.seen.end() || known->second.starts != UINT64_MAX)
      remember_life(peer, {introduction.given_up, UINT64_MAX, 0}, actions);
  }
  for (auto& [node, seen] : state_.promise.seen) {
    if (node != peer || seen.incarnation != life.incarnation) continue;
    if (seen == life) return;
    if (life.starts > seen.starts) {
      if (introduction.beside) state_.doubted_until[peer] = state_.now + options_.peer_timeout;
      break;
    }
    // Put back, or there twice; or the hello of a life that is over, and came late.
    state_.seen_before.insert(peer);
    state_.doubted_until[peer] = state_.now + options_.peer_timeout;
    refuse_seen(peer, actions);
    return;
  }
  remember_life(peer, life, actions);
}

Introduction Core::introduction() const {
  return {kClusterVersion,       own_life(),         state_.promise.epoch,
          state_.promise.leader, state_.promise.run, state_.log.last_epoch,
          state_.log.durable,    state_.given_up,    state_.persisted.identity};
}

/// Whoever knows the life of a disk can speak for it: it is told to nobody who may be anybody.
Acquaintance Core::acquaintance(NodeId peer, const Introduction& said) const {
  const Member* member = find_member(state_.members, peer);
  if (member == nullptr) return Acquaintance::kStranger;
  if (state_.members_record.empty()) return Acquaintance::kDisk;
  // What was seen of a voter's number proves nothing: anybody may have said it.
  if (member->incarnation != 0)
    return member->incarnation == said.life.incarnation ? Acquaintance::kDisk
                                                        : Acquaintance::kMember;
  bool seen = false, any = false;
  for (const auto& [node, life] : state_.promise.seen) {
    any |= node == peer;
    seen |= node == peer && life.incarnation == said.life.incarnation;
  }
  return seen || !any ? Acquaintance::kDisk : Acquaintance::kMember;
}

void Core::hear(NodeId peer, const Introduction& told, Actions& actions) {
  if (!state_.hearing || !may_move_epoch(peer)) return;
  if (is_voter(peer) && !(state_.seen_before.contains(peer) && state_.owed.contains(peer)))
    state_.owed[peer] = {told.life.incarnation, told.last_epoch, told.durable, std::nullopt};
  const Promise& word = state_.promise;
  if (told.leader == NodeId{} || !is_plausible(told.promised) ||
      options_.faults.epoch_for_two_lives) {
    // Of an older version, or an epoch that it has only heard of.
  } else if (told.promised > word.epoch ||
             (told.promised == word.epoch && word.leader == NodeId{})) {
    follower_adopt(told.leader, told.promised, told.leader_run, NodeId{}, actions);
  } else if (told.promised == word.epoch &&
             (told.leader != word.leader || told.leader_run != word.run)) {
    // Whichever of them this disk had promised it to before: it is nobody's now. To itself, without
    // seeking it, is to nobody.
    follower_adopt(options_.self, word.epoch, state_.run, NodeId{}, actions);
  }
  end_hearing(actions);
}

/// Once all other voters were heard, or the time for that is over.
void Core::end_hearing(Actions& actions) {
  if (!state_.hearing) return;
  const bool heard = std::ranges::all_of(state_.members, [&](const Member& member) {
    return !member.voter || member.id == options_.self || state_.introduced.contains(member.id);
  });
  if (!heard && state_.now - state_.hearing_since < options_.hearing_time &&
      !options_.faults.forgets_lives)
    return;
  state_.hearing = false;
  keep_owed(actions);
  candidate_choose(actions);
  follower_answer_seal(actions);
  follower_subscribe(actions);
}

/// Another life may come before this disk has caught up, and may not hear the same.
void Core::keep_owed(Actions& actions) {
  std::vector<Promise::Owed> kept;
  for (const auto& [peer, owed] : state_.owed)
    if (std::pair(owed.last_epoch, owed.end) > std::pair(state_.log.last_epoch, state_.log.durable))
      kept.push_back({peer, owed.incarnation, owed.last_epoch, owed.end});
  if (kept == state_.promise.owed) return;
  state_.promise.owed = std::move(kept);
  keep_lives(actions);
}

std::pair<Epoch, Address> Core::owed() const {
  std::pair<Epoch, Address> most;
  if (options_.faults.forgets_lives) return most;
  for (const auto& [peer, owed] : state_.owed)
    if (is_voter(peer)) most = std::max(most, {owed.last_epoch, owed.end});
  return most;
}

void Core::forget_owed(Actions& actions) {
  const size_t before = state_.owed.size();
  const auto is_long = [&](std::chrono::nanoseconds since) {
    return state_.now - since > kGoneForLong * options_.peer_timeout;
  };
  // The one that told it may be there, and no voter any more for those who could lead.
  const bool leaderless = state_.role != Role::kLeader && state_.leader == NodeId{};
  const bool in_vain = leaderless && is_long(state_.hearing_since);
  std::erase_if(state_.owed, [&](const auto& one) {
    const auto& since = one.second.gone_since;
    return in_vain || (since && is_long(*since));
  });
  if (state_.owed.size() == before) return;
  keep_owed(actions);
  candidate_choose(actions);
  // Said anew to a candidate that may be waiting for it.
  if (!follows() || state_.leader != NodeId{} || !state_.connected.contains(state_.promise.leader))
    return;
  state_.following.sealing = state_.promise.leader;
  follower_answer_seal(actions);
}

/// Nothing of what an earlier life acknowledged counts any more.
void Core::stream_new_life(NodeId peer, const Introduction& introduction) {
  const auto found = state_.followers.find(peer);
  if (found == state_.followers.end() || introduction.life.run == 0) return;
  FollowerState& follower = found->second;
  if (follower.run == 0 || follower.run == introduction.life.run) return;
  follower.held = std::max(follower.held, follower.acknowledged);
  follower.acknowledged = Address{};
  follower.run = introduction.life.run;
}

void Core::remember_life(NodeId peer, const Life& life, Actions& actions) {
  if (!is_member(peer)) return;  // noted when it becomes one (members_changed)
  auto& seen = state_.promise.seen;
  std::erase_if(seen, [&](const auto& one) {
    return one.first == peer && one.second.incarnation == life.incarnation;
  });
  const auto of_peer = [&](const auto& one) { return one.first == peer; };
  if (std::ranges::count_if(seen, of_peer) >= static_cast<std::ptrdiff_t>(kMostDisksSeen))
    seen.erase(std::ranges::find_if(seen, of_peer));
  if (seen.size() >= kMostSeen) seen.erase(seen.begin());
  seen.emplace_back(peer, life);
  keep_lives(actions);
}

void Core::keep_lives(Actions& actions) {
  if (state_.promise.starts == 0) {  // its file has no place for them yet
    state_.persisted.seen = state_.promise.seen;
    state_.persisted.owed = state_.promise.owed;
  } else {
    actions.push_back(PersistPromise{state_.promise});
  }
}

void Core::refuse_seen(NodeId peer, Actions& actions) {
  ++state_.refusals_sent;
  const Life& life = state_.introduced.at(peer).life;
  actions.push_back(
      Send{peer, Refuse{RefusalReason::kSeenBefore, state_.promise.epoch, NodeId{},
                        "start " + std::to_string(life.starts) + " of the disk of node " +
                            text(peer) + " was seen by node " + text(options_.self) +
                            " before: the disk is in an earlier state than it was, or is there "
                            "twice. It counts as a new disk until it has caught up",
                        life}});
}

/// Whether a message is not to be acted upon, whatever it says.
bool Core::refuses_life(NodeId peer, const Message& message, Actions& actions) {
  const Epoch epoch = std::visit(EpochOf{}, message);
  if (!is_plausible(epoch)) {
    if (!std::holds_alternative<Refuse>(message))
      refuse(peer, RefusalReason::kNotLeader,
             "epoch " + std::to_string(epoch.value) + " is out of range: here it is " +
                 std::to_string(state_.promise.epoch.value),
             actions);
    return true;
  }
  if (const auto* subscribe = std::get_if<Subscribe>(&message);
      subscribe != nullptr && subscribe->run != 0) {
    // Late, of a connection or of a life that is over.
    const auto introduced = state_.introduced.find(peer);
    if (introduced == state_.introduced.end()) return true;
    const uint64_t run = introduced->second.life.run;
    if (run != 0 && run != subscribe->run) return true;
  }
  if (!state_.seen_before.contains(peer)) return false;
  const auto* refused = std::get_if<Refuse>(&message);
  if (refused != nullptr && refused->reason == RefusalReason::kSeenBefore) return false;
  if (asks(message)) refuse_seen(peer, actions);
  return true;
}

/// This disk was put back to an earlier state: what it acknowledged since is gone, so it is a new
/// one from here on.
void Core::become_another_disk(const Refuse& refused, NodeId by, Actions& actions) {
  if (!(refused.life == own_life())) {  // of an earlier life, or said twice
    // It knows only the hello of before: a new connection tells it more.
    if (refused.life.incarnation == state_.given_up && state_.given_up != 0)
      actions.push_back(Disconnect{by});
    return;
  }
  if (state_.role == Role::kLeader) {
    const Epoch epoch = state_.epoch;
    leader_end(actions);
    actions.push_back(Resign{epoch, NodeId{}});
  } else if (state_.role == Role::kCandidate) {
    candidate_lost(NodeId{}, "", actions);
  } else {
    stream_end(actions);
  }
  state_.following.sealing = NodeId{};
  state_.following.streaming = false;
  state_.given_up = state_.promise.incarnation;
  state_.told_to_go_on = false;
  ++state_.renewals;
  state_.promise.incarnation = mixed(state_.run + state_.renewals);
  state_.promise.vote = Vote::kNone;
  state_.promise.starts = 1;
  state_.promise.owed.clear();
  state_.owed.clear();
  actions.push_back(PersistPromise{state_.promise});
  state_.role = idle_role();
  set_problem("node " + text(by) + ": " + refused.message, actions);
}

/// A file of before has no place for the count.
void Core::count_starts(Actions& actions) {
  if (!all_know(Feature::kPromiseCountsStarts) || state_.promise.starts != 0) return;
  state_.promise.starts = 1;
  actions.push_back(PersistPromise{state_.promise});
}

// ---- The leader. -------------------------------------------------------------------------------

/// So many of these voters count and follow at the moment.
size_t Core::able_voters(const Members& members) const {
  size_t able = 0;
  for (const Member& member : members) {
    if (!member.voter || !counts(member.id)) continue;
    const auto follower = state_.followers.find(member.id);
    if (follower == state_.followers.end() ||
        (follower->second.streaming &&
         state_.now - follower->second.last_heard <= options_.peer_timeout))
      ++able;
  }
  return able;
}

/// A voter with another disk than the one which votes, this leader itself perhaps, joins anew,
/// provided that this can be committed without it.
void Core::leader_replace_disk(Actions& actions) {
  if (!all_know(Feature::kDisksOfVotes) || !state_.leadership.serving || !may_change()) return;
  for (const Member& member : state_.members) {
    if (!member.voter) continue;
    uint64_t incarnation = state_.persisted.incarnation;
    if (member.id == options_.self) {
      if (state_.told_to_go_on && member.incarnation != incarnation) return leader_go_on(actions);
      if (is_its_disk(member.id, incarnation)) continue;
    } else {
      const FollowerState& follower = state_.followers.at(member.id);
      incarnation = follower.incarnation;
      // For a while, in case that two processes take a number's place from each other.
      if (!follower.streaming || is_its_disk(member.id, incarnation) ||
          state_.now - follower.streaming_since < 2 * options_.heartbeat_interval)
        continue;
    }
    Members next = state_.members;
    Member& replaced = *std::ranges::find(next, member.id, &Member::id);
    replaced.voter = options_.faults.replaces_at_once;
    replaced.joining = !replaced.voter;
    replaced.incarnation = replaced.voter ? incarnation : 0;
    if (able_voters(next) <= count_voters(next) / 2) continue;
    append_members(std::move(next), actions);
    return;
  }
}

/// The only voter, by an operator's word: in one record, for there is no other majority.
void Core::leader_go_on(Actions& actions) {
  Members next = state_.members;
  std::ranges::find(next, options_.self, &Member::id)->incarnation = state_.persisted.incarnation;
  append_members(std::move(next), actions);
}

/// The newest version that all members know; while one of them is not connected, and never less
/// than, the cluster's own.
uint32_t Core::version_of_all() const {
  uint32_t version = options_.most_cluster_version;
  for (const Member& member : state_.members) {
    if (member.id == options_.self || options_.faults.raises_early) continue;
    const auto introduced = state_.introduced.find(member.id);
    version =
        std::min(version, introduced == state_.introduced.end() ? 0 : introduced->second.version);
  }
  return std::max(version, state_.cluster_version);
}

/// When all members have known a newer version for long enough, and have votes, the log says so:
/// from that record on it is written. It is the newest that all know, not only this program's own.
/// A log that says none yet, or version 1, was written by no release: it does not wait. A node that
/// is alone writes who the members are as soon as it leads, whatever they know: what its file says
/// of other voters later changes nothing any more, they are added.
void Core::leader_raise_version(Actions& actions) {
  if (!state_.leadership.serving) return;
  const uint32_t version = version_of_all();
  if (std::exchange(state_.leadership.known_version, version) != version) {
    state_.leadership.known_since = state_.now;
    actions.push_back(StateChanged{});
  }
  if (!may_change()) return;
  const bool unsaid = state_.members_record.empty();
  const bool young = unsaid || state_.cluster_version == kOldestClusterVersion;
  const bool begins = unsaid && is_only_voter();
  if (version <= state_.cluster_version && !begins) return;
  if (!young && !options_.faults.raises_early &&
      state_.now - state_.leadership.known_since < options_.finalize_after)
    return;
  if (is_only_voter()) promise_vote(Vote::kFull, actions);
  if (state_.persisted.vote != Vote::kFull) return;
  Members next = state_.members;
  for (Member& member : next) {
    // A disk that an earlier record names keeps the vote: replacing it takes two records.
    if (!knows(version, Feature::kDisksOfVotes) || member.incarnation != 0 || !member.voter)
      continue;
    member.incarnation = state_.persisted.incarnation;
    if (member.id == options_.self) continue;
    const FollowerState& follower = state_.followers.at(member.id);
    if (!follower.streaming || follower.vote != Vote::kFull || follower.incarnation == 0) return;
    member.incarnation = follower.incarnation;
  }
  append_members(std::move(next), version, actions);
}

}  // namespace tailrace::replication
