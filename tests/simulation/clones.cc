// A copy of a node's disk that runs beside its original: two bodies of one number, which take its
// connections from each other. One at a time, while all other voters are up and heard; and nothing
// else happens until the original was told, for together with another's absence these are two
// failures (docs/internals/safety.md).
#include <utility>

#include <fmt/core.h>

#include "cluster.h"

namespace tailrace::simulation {

using namespace replication;

Cluster::SimNode& Cluster::body(NodeId of, NodeId seen_by) {
  const auto found = by_clone_.find(pair_of(of, seen_by));
  return found != by_clone_.end() && found->second->id == of ? *found->second : at(of);
}

/// Another body may have the connection by now.
bool Cluster::has_link(const SimNode& node, NodeId peer) {
  return links_.contains(pair_of(node.id, peer)) && &body(node.id, peer) == &node;
}

void Cluster::begin_clone(SimNode& node) {
  if (options_.servers || is_calm() || node.boot == 0 || node.paused || node.version < 2 ||
      !cuts_.empty() || !votes_by_disk() || !may_wipe(node))
    return;
  Disk copy = node.copy && random_.chance(1, 2) ? *node.copy : disk_of(node);
  if (copy.promise.starts == 0 || !will_be_noticed(node, copy)) return;
  for (const SimNode& other : nodes_)
    if (other.boot == 0 || other.paused) return;
  if (trace_) fmt::print("{:8} a clone of node {} starts\n", now_.count() / 1000, node.id.value);
  ++outcome_.clones;
  clones_.push_back(std::make_unique<SimNode>());
  SimNode& clone = *clones_.back();
  clone.id = node.id;
  clone.file = node.file;
  clone.clock = node.clock + between(0, 1000000);
  insert_disk(clone, std::move(copy));
  clone.lost_log.reset();
  // Whoever of the two is believed in the end, one disk is lost.
  node.forgot = node.promise.incarnation;
  start(clone);
  meet_clone(clone);
  after(clone, between(20000, 500000), [this, &clone] { end_clone(clone); });
}

void Cluster::end_clone(SimNode& clone) {
  if (trace_) fmt::print("{:8} the clone of node {} ends\n", now_.count() / 1000, clone.id.value);
  crash(clone);
  std::erase_if(by_clone_, [&](const auto& one) { return one.second == &clone; });
}

/// A clone runs, or the original of one has not been told yet.
bool Cluster::is_calm() {
  if (clones_.empty()) return false;
  const SimNode& clone = *clones_.back();
  const SimNode& original = at(clone.id);
  return clone.boot != 0 || (clone.met_others && original.promise.incarnation == original.forgot);
}

/// A disk was put back and has not caught up with what it was told by those who hold more. When
/// they are away for long it no longer waits for that, and these are two failures.
bool Cluster::is_owing() {
  for (SimNode& node : nodes_) {
    if (!node.put_back_at) continue;
    if (node.promise.incarnation != node.forgot ||
        (node.boot != 0 && node.core->state().owed.empty()))
      node.put_back_at.reset();
    else if (now_ - *node.put_back_at > std::chrono::milliseconds(100))
      return true;
  }
  return false;
}

/// Both bodies dial, and take the connections from each other.
void Cluster::meet_clone(SimNode& clone) {
  after(clone, between(1000, 8000), [this, &clone] {
    SimNode& peer = nodes_[random_.below(nodes_.size())];
    SimNode& dials = random_.chance(2, 3) ? clone : at(clone.id);
    if (peer.id != clone.id && peer.boot != 0 && dials.boot != 0 && !dials.paused && !peer.paused)
      take_link(dials, peer);
    meet_clone(clone);
  });
}

void Cluster::take_link(SimNode& node, SimNode& peer) {
  const Pair pair = pair_of(node.id, peer.id);
  SimNode& old = body(node.id, peer.id);
  const bool beside = links_.contains(pair);
  if (beside && &old == &node) return;
  if (beside) {
    after(old, between(0, 2000), [this, &old, gone = peer.id] {
      if (!has_link(old, gone)) feed(old, PeerDisconnected{gone});
    });
    feed(peer, PeerDisconnected{node.id});
  }
  by_clone_.erase(pair);
  if (&node != &at(node.id)) {
    by_clone_[pair] = &node;
    node.met_others = true;
  }
  connect(node, peer, beside);
}

}  // namespace tailrace::simulation
