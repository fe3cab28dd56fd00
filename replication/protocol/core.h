#pragma once
// The replication protocol: step(event) -> actions. No sockets, threads, clocks or disk, so that a
// whole cluster of cores can be run from one seed (tests/simulation).
//
// How a leader comes to be (candidate.cc, follower.cc):
//
//   1. The coordinator grants a voter an epoch, by whatever means. It may be wrong.
//   2. The candidate promises the epoch to itself, on its disk, and asks the voters to seal it. A
//      voter that has promised nothing higher, and this epoch to nobody else, promises it on its
//      disk. From then on it takes nothing from a lower epoch. When nothing of one is on its way to
//      its disk any more, it says where its log ends.
//   3. With a majority's word the candidate knows of everything that was ever committed: the log
//      with the greatest (last epoch, end) among them holds it. If that is not its own, it fetches
//      the rest of it from there, in the new epoch, cutting off what differs.
//   4. It becomes the log's writer, appends an epoch-start record and is the leader. It serves
//      nothing until that record is committed.
//   5. Members subscribe from their durable end. Where the two logs differ the member cuts its own
//      back, by the table of epochs, until it is a prefix; below its own `committed` that would be
//      a contradiction, and stops it.
//
// Who the members are is said by the newest record of them in a node's own log
// (reconfiguration.cc): the majorities of steps 2 and 3 are those of the log that the candidate
// ends up with.
//
// A learner may have its stream from a voter that follows (relay.cc). That changes nothing above:
// in one epoch every follower's log is a piece of the leader's.
//
// A leader ships what it flushes while it flushes it. So a follower may have durable what its
// leader has not, and never will have if that crashes: a tail that nobody counted, which the next
// leader keeps or has cut off, as it does with any other.
//
// `committed` is what a majority of voters has durable, the leader among them, counted by it from
// acknowledgements in its epoch, and only once that covers its epoch-start record (stream.cc).
//
// A voter's word counts only while it can have forgotten nothing (Vote in messages.h). A new disk
// has no vote. It gets one when it holds all that its predecessor can have acknowledged: that is
// all that the leader can have shipped when the member subscribed, provided that the leader still
// was the leader then, as a majority without this member has confirmed since (a round). At the
// cluster's first start nobody has a vote: then every voter has to be there.
//
// From cluster version 2 on a voter is a disk and not a number: the record of the members names the
// incarnation that votes for each, and disks.cc says what becomes of other disks, of a disk that is
// put back to an earlier state, and of an epoch that was promised to another life of a node.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/address.h"
#include "replication/protocol/events.h"
#include "replication/protocol/role.h"

namespace tailrace::replication {

/// Deliberate faults, so that tests can show that their checkers would notice. Never set elsewhere.
struct ProtocolFaults {
  bool count_old_epochs = false;      // committed need not cover the epoch-start record
  bool accept_stale_epoch = false;    // a follower obeys an epoch below its promise
  bool skip_log_check = false;        // any follower's end is accepted
  bool ack_before_promise = false;    // a voter answers before its promise is on disk
  bool minority_commits = false;      // one voter less than a majority is enough to commit
  bool choose_by_address = false;     // the longest log wins, whatever its last epoch
  bool skip_fetch = false;            // a candidate leads although another log holds more
  bool votes_without_memory = false;  // a new disk votes at once
  bool confirms_alone = false;        // a leader believes that it leads without asking
  bool relays_as_fresh = false;       // a relay passes on what it was told as if it knew it now
  bool seal_by_minority = false;      // one promise less than a majority makes a leader
  bool old_members_seal = false;      // what is fetched does not change whose promises are needed
  bool changes_overlap = false;       // members change again before the last change is committed
  bool changes_early = false;         // and before the epoch-start record is
  bool counts_unflushed = false;      // a leader counts itself before its own flush is over
  bool votes_by_number = false;       // any disk votes for its node's number
  bool replaces_at_once = false;  // one record takes the vote from a disk and gives it to another
  bool forgets_lives = false;     // a disk put back to an earlier state is not noticed
  bool epoch_for_two_lives = false;  // an epoch is promised to a number, whichever life asks
  bool seals_for_doubted = false;    // a candidate that may be a copy beside its original is sealed
  bool believes_identity_early = false;  // the identity of a record that is not committed is kept
  bool raises_early = false;  // the leader writes what it knows itself, whatever others know
  bool operator==(const ProtocolFaults&) const = default;
};

struct CoreOptions {
  NodeId self;
  Members members;  // self included; as long as the log has no record of them
  /// Of a learner: the voter that feeds it, while it can; 0: the leader does.
  NodeId upstream;
  std::chrono::nanoseconds heartbeat_interval{std::chrono::milliseconds(200)};
  std::chrono::nanoseconds peer_timeout{std::chrono::milliseconds(3000)};
  /// A leader or candidate that has had no majority for so long gives its grant up, so that another
  /// can have it. 0: never, where nobody else would be granted one.
  std::chrono::nanoseconds give_up_after{0};
  /// A planned hand-over that takes longer is called off.
  std::chrono::nanoseconds transfer_timeout{std::chrono::milliseconds(2000)};
  /// So long at most a new life waits to hear the other voters before its word counts.
  std::chrono::nanoseconds hearing_time{std::chrono::milliseconds(1000)};
  /// All members have known a newer version for so long before the cluster goes over to it: until
  /// then a program before can be put back.
  std::chrono::nanoseconds finalize_after{0};
  /// The cluster goes over to nothing newer, whatever all know.
  uint32_t most_cluster_version = kClusterVersion;
  uint64_t window_bytes = 16u << 20;
  uint64_t batch_bytes = 1u << 20;
  uint64_t follower_pin_bytes = 4ull << 30;
  /// Stops the process when a step breaks an invariant (invariants.h).
#ifdef NDEBUG
  bool check_invariants = false;
#else
  bool check_invariants = true;
#endif
  ProtocolFaults faults;
};

/// What the source of a stream knows of one other member.
struct FollowerState {
  bool voter = true;
  bool joining = false;    // gets a vote before it votes (reconfiguration.cc)
  bool streaming = false;  // its Subscribe was accepted on this connection
  uint64_t run = 0;        // of the life that it was accepted from; 0: not said
  std::chrono::nanoseconds streaming_since{0};
  Address held;           // what an earlier run of its disk acknowledged in this epoch
  bool shipping = false;  // a ShipBytes is under way
  NodeId relayed_by;      // a learner that has its stream from that follower, not from here
  bool needs_checkpoint = false;
  /// When it was removed from the members; it is fed until it knows.
  std::optional<std::chrono::nanoseconds> removed;
  uint64_t incarnation = 0;
  Vote vote = Vote::kNone;
  Address vote_from;        // without a vote: it may get one once it has acknowledged this,
  uint64_t vote_round = 0;  // and this round is confirmed
  Address next;             // first byte not shipped yet
  Address durable;          // its durable end, as last told; 0 while never heard
  Address acknowledged;     // acknowledged in this epoch
  Address applied;
  Address told_committed;            // the last one sent to it
  uint64_t round = 0;                // the last one it has echoed
  std::chrono::nanoseconds echo{0};  // the newest time that it has sent
  std::optional<Address> pin;
  std::chrono::nanoseconds last_heard{0}, last_sent{0};
  // Lag in time: the durable end was `mark` at mark_time; it had all that was durable at
  // passed_time.
  Address mark;
  std::chrono::nanoseconds mark_time{0}, passed_time{0};
};

using Followers = std::map<NodeId, FollowerState>;

/// Of a candidate, in its epoch: it begins with the grant and ends with the lead or without it.
struct Campaign {
  std::chrono::nanoseconds since{0};
  std::chrono::nanoseconds last_asked{0};
  std::map<NodeId, Sealed> sealed{};  // by connected voters
  Epoch fetch_epoch{};                // while it has a source: the position that is fetched
  Address fetch_end{};
};

/// Of a leader, in its epoch: it begins when a majority has sealed it.
struct Leadership {
  std::chrono::nanoseconds majority_heard{0};
  /// Elected by all voters although too few have a vote: these, with the disks that they had then,
  /// count until they get one.
  bool first_start = false;
  std::map<NodeId, Sealed> sealed{};
  AddressRange epoch_start{};  // of the epoch's first record; empty before WriterReady
  bool serving = false;        // that record is committed, and no hand-over runs
  bool changing = false;       // AppendMembers is under way
  NodeId transferring{};       // hand-over to this node; 0: none
  std::chrono::nanoseconds transfer_began{0};
  uint32_t known_version = 0;  // by all members, since then
  std::chrono::nanoseconds known_since{0};
  std::deque<std::pair<uint64_t, std::chrono::nanoseconds>> rounds{};  // asked, not confirmed: when
};

/// Of whoever has a stream, or waits for one: a follower, a learner, a candidate that fetches. It
/// begins with the epoch that is obeyed, and with a campaign.
struct Following {
  NodeId source{};         // whose stream this is; 0: none
  bool streaming = false;  // the source has accepted
  NodeId sealing{};        // the candidate that waits for Sealed; 0: none
  Address acknowledged{};  // last told to the source on this connection
  uint64_t heard_round = 0, answered_round = 0;
  std::chrono::nanoseconds last_heard{0}, last_subscribed{0}, last_acknowledged{0}, retry_after{0};
  // Learner with an upstream (relay.cc).
  std::chrono::nanoseconds fed_at{0};          // it had a stream then, or chose its source
  std::chrono::nanoseconds patience{0};        // so long without a stream, then another source
  std::chrono::nanoseconds upstream_after{0};  // until then the leader is its source
  std::chrono::nanoseconds last_told_leader{0};
};

/// All the core remembers; readable for status, invariants and tests.
struct CoreState {
  Role role = Role::kStarting;
  NodeId leader;      // whom this node knows to lead in `epoch`; 0: nobody
  Epoch epoch;        // the one this node acts in; <= promise.epoch
  Promise promise;    // the newest; it may still be on its way to disk
  Promise persisted;  // on disk; <= promise
  LogPosition log;
  Address committed, applied;
  Members members;              // by ascending id
  AddressRange members_record;  // that says so; empty: the configuration file does
  /// What all members know of formats and rules, as the log says: nothing newer is written.
  uint32_t cluster_version = 1;
  ClusterIdentity identity;    // of members_record; kept (Promise::identity) once that is committed
  ClusterIdentity drawn;       // for a cluster without one, if this node leads it
  bool outsider = false;       // the leader says that this node is none of them
  std::string problem;         // empty if well
  std::set<NodeId> connected;  // whether or not they are members
  std::map<NodeId, Introduction> introduced;  // what those said of themselves
  /// Connected, and in a life that was seen before or is behind one that was: their word counts
  /// nothing and they are told so, until they come as another disk.
  std::set<NodeId> seen_before;
  /// A new life came while an older one of the same disk was still connected, or an older one after
  /// a newer: until then it may be a copy beside its original, and its word counts nothing.
  std::map<NodeId, std::chrono::nanoseconds> doubted_until;
  uint64_t run = 0;       // of this node's life
  uint64_t given_up = 0;  // the incarnation that it had before it was refused as seen before
  /// An operator said that this disk, the only voter's but not the one that votes, is to go on.
  bool told_to_go_on = false;
  /// This life has not heard all other voters yet, and says nothing by which a leader is chosen.
  bool hearing = true;
  std::chrono::nanoseconds hearing_since{0};
  /// Where the others' logs ended when this life began: its word counts only for a log that is not
  /// below. One that is gone for long is left out.
  struct Owed {
    uint64_t incarnation = 0;  // of the teller
    Epoch last_epoch;
    Address end;
    std::optional<std::chrono::nanoseconds> gone_since;
  };
  std::map<NodeId, Owed> owed;
  uint64_t renewals = 0;  // how often this life has become another disk
  std::chrono::nanoseconds now{0};
  std::chrono::nanoseconds promised_at{0};

  /// What this node has applied holds everything that was acknowledged to anyone up to then, by
  /// this node's clock. Nothing: no such moment is known.
  std::optional<std::chrono::nanoseconds> fresh_at;

  // What belongs to one role, or to one epoch of it: assigned whole where that begins and ends.
  Campaign campaign;
  Leadership leadership;
  Following following;

  // Of the source of a stream: a leader, a relay, a voter that a candidate fetches from.
  Followers followers;
  /// Rounds of this life, over all epochs that it leads; what is asked is never asked again.
  uint64_t round = 0, confirmed_round = 0;

  // Of the log while something is on its way to it.
  unsigned settling = 0;  // so many LogSettled are awaited
  Address received;       // end of what was handed to the log; >= log.durable
  Address kept_from;      // as the leader asked
  /// Once so much is applied, the state is as fresh as that; ascending in both.
  std::deque<std::pair<Address, std::chrono::nanoseconds>> fresher;

  // Counts since the start.
  uint64_t acks_sent = 0, acks_received = 0, refusals_sent = 0, refusals_received = 0;
  uint64_t elections_won = 0, elections_lost = 0, cuts = 0;
};

class InvariantChecker;

class Core {
 public:
  explicit Core(CoreOptions options);
  ~Core();

  /// Adds to `actions` what is to be done, in order. One thread at a time.
  void step(const Event& event, std::vector<Action>& actions);

  const CoreState& state() const { return state_; }
  const CoreOptions& options() const { return options_; }
  /// Whether the leader's stream (or, on the leader, a majority) has been heard lately.
  bool hears_leader() const;
  /// On the leader: that learner has its stream from another node, and said so lately.
  bool hears_relayed(const FollowerState& follower) const;
  bool is_member(NodeId node) const { return find_member(state_.members, node) != nullptr; }
  /// By its number; of this node itself, by its disk as well.
  bool is_voter(NodeId node) const;
  /// Whether this node may seek the lead: as a voter, also with another disk than the one that
  /// votes, or as one that is joining. Its own word then counts for nothing.
  bool may_lead() const;
  /// Whether only an operator's word (GoOnAsked) lets this node lead: it is the only voter, by its
  /// number, and the log names another disk.
  bool needs_word() const;
  /// Whether it is that disk which votes for the number, or any may.
  bool is_its_disk(NodeId node, uint64_t incarnation) const;
  Life own_life() const { return {state_.promise.incarnation, state_.promise.starts, state_.run}; }
  /// What this node says of itself when a connection comes up.
  Introduction introduction() const;
  Acquaintance acquaintance(NodeId peer, const Introduction& said) const;
  bool may_send_batches(NodeId peer) const {
    return is_member(peer) || peer == state_.following.source || peer == state_.leader;
  }
  /// Up to where others may have this log (stream.cc).
  Address ship_end() const;
  /// What ChangeAsked would make of the members, the same ones if nothing, or why it cannot now:
  /// kNotLeader, kUnavailable (the change before is not committed yet: later), or as changed().
  Result<Members> after_change(const MemberChange& change) const;

 private:
  using Actions = std::vector<Action>;

  // core.cc
  void on(const Started& event, Actions& actions);
  void on(const Tick& event, Actions& actions);
  void on(const PeerConnected& event, Actions& actions);
  void on(const PeerDisconnected& event, Actions& actions);
  void on(const Received& event, Actions& actions);
  void on(const PromisePersisted& event, Actions& actions);
  void on(const LogMoved& event, Actions& actions);
  void on(const LogSettled& event, Actions& actions);
  void refuse(NodeId peer, RefusalReason reason, std::string message, Actions& actions);
  void refuse_stale(NodeId peer, Epoch epoch, Actions& actions);
  void promise(Epoch epoch, NodeId leader, uint64_t run, Actions& actions);
  void promise_vote(Vote vote, Actions& actions);
  void advance_committed(Address address, Actions& actions);
  void set_problem(std::string problem, Actions& actions);
  void note_now(std::chrono::nanoseconds now) { state_.now = std::max(state_.now, now); }
  void note_applied(Address applied);
  void settle(Action action, Actions& actions);
  bool may_promise(Epoch epoch, NodeId leader, uint64_t run) const;
  bool promised() const { return state_.persisted == state_.promise; }
  /// Nothing is on its way to the log's disk.
  bool settled() const {
    return state_.settling == 0 && state_.log.durable >= state_.log.tail &&
           state_.log.durable >= state_.received;
  }
  size_t voters() const { return count_voters(state_.members); }
  size_t majority() const { return voters() / 2 + 1; }
  const EpochTable& epochs() const;
  bool follows() const { return state_.role == Role::kFollower || state_.role == Role::kLearner; }
  Role idle_role() const { return is_voter(options_.self) ? Role::kFollower : Role::kLearner; }

  // reconfiguration.cc
  void on(const ChangeAsked& event, Actions& actions);
  void on(const MembersAppended& event, Actions& actions);
  void adopt_members(Actions& actions);
  void members_changed(Actions& actions);
  void leader_take_members(Actions& actions);
  void relay_take_members(Actions& actions);
  void leader_begin_vote(FollowerState& follower, Actions& actions);
  void leader_promote(Actions& actions);
  void leader_forget_removed(Actions& actions);
  /// Tells it why, and goes on with the next one.
  Followers::iterator feed_no_more(Followers::iterator follower, RefusalReason reason,
                                   std::string why, Actions& actions);
  bool may_change() const;
  std::string no_member(NodeId peer) const;
  void append_members(Members next, Actions& actions);
  void append_members(Members next, uint32_t version, Actions& actions);
  void keep_identity(Actions& actions);
  /// Whoever is alone need not ask what others know.
  uint32_t version_without_record() const {
    return options_.members.size() == 1 ? options_.most_cluster_version : kOldestClusterVersion;
  }
  /// Whether it may be written (core/cluster_version.h).
  bool all_know(Feature feature) const { return knows(state_.cluster_version, feature); }

  // disks.cc
  void on(const GoOnAsked& event, Actions& actions);
  bool is_plausible(Epoch epoch) const;
  bool is_only_voter() const;
  bool may_move_epoch(NodeId peer) const;
  bool is_doubted(NodeId peer) const {
    const auto until = state_.doubted_until.find(peer);
    return until != state_.doubted_until.end() && state_.now < until->second;
  }
  void note_life(NodeId peer, const Introduction& introduction, Actions& actions);
  void remember_life(NodeId peer, const Life& life, Actions& actions);
  void hear(NodeId peer, const Introduction& introduction, Actions& actions);
  void end_hearing(Actions& actions);
  void forget_owed(Actions& actions);
  void keep_owed(Actions& actions);
  std::pair<Epoch, Address> owed() const;
  void stream_new_life(NodeId peer, const Introduction& introduction);
  void keep_lives(Actions& actions);
  void refuse_seen(NodeId peer, Actions& actions);
  bool refuses_life(NodeId peer, const Message& message, Actions& actions);
  void become_another_disk(const Refuse& refused, NodeId by, Actions& actions);
  void count_starts(Actions& actions);
  size_t able_voters(const Members& members) const;
  void leader_replace_disk(Actions& actions);
  uint32_t version_of_all() const;
  void leader_raise_version(Actions& actions);
  void leader_go_on(Actions& actions);

  // candidate.cc
  void on(const Granted& event, Actions& actions);
  void candidate_begin(Epoch epoch, Actions& actions);
  void candidate_ask(NodeId peer, Actions& actions);
  void candidate_sealed(NodeId peer, const Sealed& message, Actions& actions);
  void candidate_refused(NodeId peer, const Refuse& message, Actions& actions);
  struct Promised {
    NodeId best;  // whose log holds the most
    size_t votes = 0, answered = 0, needed = 0;
    bool begun = false;  // somebody knows that the cluster has had a leader
  };
  /// Of two logs the one with the greater rank holds all that was committed.
  std::pair<Epoch, Address> rank(Epoch last, Address end) const;
  Promised candidate_count() const;
  void candidate_wait(const Promised& count, Actions& actions);
  void candidate_choose(Actions& actions);
  void candidate_won(bool first_start, bool begun, Actions& actions);
  void candidate_lost(NodeId successor, std::string why, Actions& actions);
  void candidate_end(std::string why, Actions& actions);
  void step_aside(Epoch granted, Epoch higher, NodeId by, Actions& actions);
  void candidate_tick(Actions& actions);

  // leader.cc
  void on(const WriterReady& event, Actions& actions);
  void on(const TransferAsked& event, Actions& actions);
  void on(const ConfirmAsked& event, Actions& actions);
  void leader_tick(Actions& actions);
  void leader_announce(NodeId peer, Actions& actions);
  void leader_end(Actions& actions);
  void leader_deposed(Epoch higher, NodeId by, Actions& actions);
  void leader_count(Actions& actions);
  void leader_confirm(Actions& actions);
  void leader_grant_votes(Actions& actions);
  void leader_hand_over(Actions& actions);
  void leader_ask_round(Actions& actions);
  bool counts(NodeId voter) const;

  // stream.cc: the source's side
  void on(const Shipped& event, Actions& actions);
  void on(const ShipFailed& event, Actions& actions);
  bool feeds(NodeId peer, Epoch promised) const;
  bool stream_refuses(NodeId peer, const Subscribe& message, Actions& actions);
  bool stream_matches(NodeId peer, FollowerState& follower, const Subscribe& message,
                      Actions& actions);
  void stream_subscribe(NodeId peer, const Subscribe& message, Actions& actions);
  void stream_acknowledge(NodeId peer, const Acknowledge& message, Actions& actions);
  void stream_tick(Actions& actions);
  void stream_lost(NodeId peer);
  void stream_end(Actions& actions);
  Address stream_kept_from() const;
  void stream_ship(NodeId peer, FollowerState& follower, Actions& actions);
  void stream_ship_all(Actions& actions);
  void stream_heartbeat(NodeId peer, FollowerState& follower, Actions& actions);
  /// How long ago this node knew for certain what was committed: the leader, because it led, a
  /// follower from what it was told. Nothing: it never did in this epoch.
  std::optional<std::chrono::nanoseconds> sure_age() const;
  void stream_pin(NodeId peer, FollowerState& follower, Actions& actions);

  // relay.cc
  bool relays(NodeId peer, Epoch promised) const;
  void relay_tick(Actions& actions);
  bool has_upstream() const;
  NodeId source_in(NodeId leader) const;
  void take_source(NodeId source, std::chrono::nanoseconds patience, Actions& actions);
  void leave_upstream(Actions& actions);
  void choose_source(Actions& actions);
  void tell_leader(Actions& actions);
  void relayed_acknowledge(NodeId peer, FollowerState& follower, const Acknowledge& message,
                           Actions& actions);

  // follower.cc
  void on(const AppendFailed& event, Actions& actions);
  void follower_tick(Actions& actions);
  bool may_speak(NodeId peer, Address members, Actions& actions);
  void follower_seal(NodeId peer, const Seal& message, Actions& actions);
  void follower_answer_seal(Actions& actions);
  void follower_leading(NodeId peer, const Leading& message, Actions& actions);
  void follower_adopt(NodeId peer, Epoch epoch, uint64_t run, NodeId leader, Actions& actions);
  void follower_subscribe(Actions& actions);
  void follower_accept(NodeId peer, const Accept& message, Actions& actions);
  void follower_diverges(NodeId peer, const Diverges& message, Actions& actions);
  void follower_data(NodeId peer, const Data& message, Actions& actions);
  void follower_vote(NodeId peer, const GrantVote& message, Actions& actions);
  void follower_refused(NodeId peer, const Refuse& message, Actions& actions);
  void follower_acknowledge(Actions& actions);
  bool follower_obeys(NodeId peer, Epoch epoch, Actions& actions);

  CoreOptions options_;
  CoreState state_;
  /// All that was acknowledged to anyone up to then is below `committed`; by this node's clock, in
  /// this epoch. On the leader: when it led for certain.
  std::optional<std::chrono::nanoseconds> sure_;
  std::unique_ptr<InvariantChecker> checker_;  // null unless options_.check_invariants
};

}  // namespace tailrace::replication
