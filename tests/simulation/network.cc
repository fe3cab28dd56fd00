// Connections and messages: lost, late, twice, out of order, cut in one direction.
#include <utility>

#include "cluster.h"

namespace tailrace::simulation {

using namespace replication;

namespace {

Introduction introduction(uint32_t version, const Core& core) {
  if (version < 2) return {};
  Introduction told = core.introduction();
  told.version = version;
  return told;
}

}  // namespace

/// Between every two nodes that are up, as the transport keeps it.
void Cluster::dial() {
  after(between(2000, 10000), [this] {
    for (SimNode& a : nodes_) {
      for (SimNode& b : nodes_) {
        if (a.id >= b.id || a.boot == 0 || b.boot == 0 || a.paused || b.paused || cut(a.id, b.id) ||
            cut(b.id, a.id) || links_.contains(pair_of(a.id, b.id)) || !random_.chance(1, 3))
          continue;
        connect(a, b);
      }
    }
    dial();
  });
}

/// `beside`: while another body of `a` was connected.
void Cluster::connect(SimNode& a, SimNode& b, bool beside) {
  Introduction of_a = introduction(a.version, *a.core);
  const Introduction of_b = introduction(b.version, *b.core);
  if (!may_be_of_one_cluster(of_a.identity, of_b.identity))
    return violate("two nodes of one cluster refuse each other as strangers");
  links_.insert(pair_of(a.id, b.id));
  of_a.beside = beside;
  feed(a, PeerConnected{b.id, of_b});
  feed(b, PeerConnected{a.id, of_a});
  meet(a, b);
  meet(b, a);
}

/// `node` will have seen, durably, how often the other's disk was started.
void Cluster::meet(SimNode& node, SimNode& other) {
  if (node.boot == 0 || other.boot == 0) return;
  const Life life = other.core->own_life();
  after(node, std::chrono::milliseconds(50), [&node, id = other.id, life] {
    if (life.starts != 0 && node.promise.starts != 0 && node.core->is_member(id))
      node.met[id] = std::max(node.met[id], life.starts);
  });
}

/// Half of the time a side notices at once, else only by its timeout.
void Cluster::unlink(NodeId a, NodeId b) {
  if (links_.erase(pair_of(a, b)) == 0) return;
  for (const auto& [one, other] : {std::pair{a, b}, std::pair{b, a}}) {
    SimNode& node = body(one, other);
    if (node.boot != 0 && random_.chance(1, 2))
      after(node, between(0, 2000), [this, &node, gone = other] {
        // The news of a connection that has been replaced is none.
        if (!has_link(node, gone)) feed(node, PeerDisconnected{gone});
      });
  }
  by_clone_.erase(pair_of(a, b));
}

/// What the network kept of a life that ends now comes out when the next one is connected already.
void Cluster::late_hello(SimNode& node) {
  if (!faults_ || node.version < 2 || &at(node.id) != &node || !random_.chance(1, 8)) return;
  after(between(1000, 400000), [this, &node, said = node.core->introduction()] {
    SimNode& peer = nodes_[random_.below(nodes_.size())];
    if (peer.boot == 0 || node.boot == 0 || peer.paused || node.paused || !has_link(node, peer.id))
      return;
    feed(peer, PeerDisconnected{node.id});
    feed(peer, PeerConnected{node.id, said});
    feed(peer, PeerDisconnected{node.id});
    feed(node, PeerDisconnected{peer.id});
    connect(node, peer);
  });
}

void Cluster::send(SimNode& from, NodeId to, Message message) {
  if (to.value == 0 || to.value > nodes_.size() || cut(from.id, to) || !has_link(from, to)) return;
  SimNode* target = &body(to, from.id);
  if (faults_ && random_.chance(1, 40)) return;
  const int copies = faults_ && random_.chance(1, 40) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    // In order, as a connection has it; with faults some overtake others, and a few outlive the
    // connection and even the sender.
    Time arrival = now_ + between(50, 2000);
    Time& last = arrivals_[{from.id.value, to.value}];
    if (faults_ && random_.chance(1, 50))
      arrival = now_ + between(50000, 800000);
    else if (!faults_ || !random_.chance(1, 20))
      last = arrival = std::max(arrival, last);
    after(arrival - now_, [this, target, origin = &from, sender = from.id, message] {
      if (target->boot == 0) return;
      // What one body said never comes out of the connection of the other.
      if (&body(sender, target->id) != origin || &body(target->id, sender) != target) return;
      if (target->paused)
        target->waiting.push_back([this, target, sender, message] {
          feed(*target, Received{sender, message, now_ + target->clock});
        });
      else
        feed(*target, Received{sender, message, now_ + target->clock});
    });
  }
}

}  // namespace tailrace::simulation
