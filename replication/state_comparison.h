#pragma once
// Whether all nodes come to the same state. The leader says the digest of its state at an address
// that every node digests (a kCompare command), the members answer with theirs. Pure: what happens
// comes in, what is to be sent goes out; the driver does the rest.
//
// Who is wrong is decided by the majority of the voters, not by the leader: it may be the one. A
// state that was found wrong once is no witness any more. Where no digest has a majority, because
// voters are down, the cluster has two, or all differ, nobody can be called wrong: it is a dispute.
// That marks nobody. While it lasts the leader's state is read and those that differ are not, so
// that the answers are at least of one state; an operator decides, or the voters that come back do.
//
// Nothing is lost with a connection: a member is asked again until it has answered for this address
// or there is a newer one, and a newer one waits until what differs has been decided.

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/address.h"
#include "replication/protocol/membership.h"
#include "replication/protocol/messages.h"
#include "statemachine/state_machine.h"

namespace tailrace::replication {

using StateDigest = statemachine::StateDigest;

bool same(const StateDigest& one, const StateDigest& other);

/// A state that is not the cluster's.
struct Divergence {
  StateDigest own, cluster;
  bool operator==(const Divergence& other) const {
    return same(own, other.own) && same(cluster, other.cluster);
  }
};
/// For people: where, both digests.
std::string describe(const Divergence& divergence, std::string_view other = "the cluster's");

struct ComparisonOptions {
  NodeId self;
  std::set<NodeId> voters;
  size_t members = 1;                    // with self
  std::chrono::nanoseconds interval{0};  // between two digests; 0: none are asked for
  std::chrono::nanoseconds resend{std::chrono::seconds(1)};
  std::chrono::nanoseconds patience{std::chrono::seconds(10)};  // with voters that do not answer
};

class StateComparison {
 public:
  using Time = std::chrono::nanoseconds;

  explicit StateComparison(ComparisonOptions options) : options_(std::move(options)) {}

  /// They have changed; what was heard of others is forgotten.
  void set_members(const Members& members);

  // ---- This node. ----
  /// Sticky: found by this comparison, or known from before the start.
  const std::optional<Divergence>& divergence() const { return divergence_; }
  void known_before(const Divergence& divergence) { divergence_ = divergence; }
  /// This node's state is not the leader's, and nobody knows which is right. Not sticky.
  const std::optional<Divergence>& dispute() const { return dispute_; }
  /// The newest address at which this node's digest was compared with the cluster's.
  Address last_compared() const { return last_compared_; }
  uint64_t mismatches() const { return mismatches_; }

  // ---- Leader. ----
  /// At each tick: the epoch in which it leads and serves, or 0; what its state machine has.
  void tick(Epoch leads, const statemachine::DigestProgress& progress, Time now);
  /// Whether a kCompare command is to be appended now; asked() says that it was.
  bool wants_digest(const std::set<NodeId>& connected, Time now) const;
  void asked(Address end, Time now);
  /// What is to be sent now.
  std::vector<std::pair<NodeId, CompareState>> due(const std::set<NodeId>& connected, Time now);
  void answered(NodeId member, const StateCompared& answer, Time now);
  /// It may be another disk than before: asked again.
  void connected(NodeId member) { answers_.erase(member); }

  struct MemberView {
    Address last_compared;  // 0: never
    bool diverged = false;
    std::optional<Divergence> divergence;  // when this leader has seen it
    std::optional<Divergence> dispute;     // its state is not this leader's; nobody knows more
  };
  MemberView member(NodeId id) const;

  /// States differ at the newest address, and none has a majority.
  bool disputed() const { return disputed_; }

  // ---- Member. ----
  /// `own` is the digest at the address that is asked for; nothing when it was skipped or is gone.
  StateCompared answer(const CompareState& question, const std::optional<StateDigest>& own);

 private:
  void settle(Time now);
  void begin_dispute(Time now);
  /// Of those who are not known to be wrong: the voters', and whether any differ.
  struct Witnesses {
    std::vector<StateDigest> voters;
    bool differ = false;
  };
  Witnesses witnesses() const;
  void count(NodeId member, const StateCompared& answer);
  bool is_held(Time now) const;

  ComparisonOptions options_;
  std::optional<Divergence> divergence_, dispute_;
  Address last_compared_;
  uint64_t mismatches_ = 0;

  Epoch leads_;
  statemachine::DigestProgress progress_;
  Time asked_at_{0}, finished_at_{0};
  Address asked_;                     // end of the command that was appended last
  std::optional<StateDigest> own_;    // what is compared now
  std::optional<StateDigest> right_;  // decided: the cluster's at own_'s address
  bool disputed_ = false;             // at own_'s address
  std::optional<Time> differs_since_;
  Time decided_at_{0};
  std::map<NodeId, StateCompared> answers_;  // at own_'s address
  std::map<NodeId, Time> sent_;
  std::map<NodeId, MemberView> members_;
};

}  // namespace tailrace::replication
