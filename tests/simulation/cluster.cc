#include "cluster.h"

#include <algorithm>
#include <utility>

#include "replication/static_coordinator.h"

namespace tailrace::simulation {

using namespace replication;

namespace {
constexpr Time kTick = std::chrono::milliseconds(10);
constexpr Time kFaultsEnd = std::chrono::seconds(3);
constexpr Time kEnd = std::chrono::seconds(6);
}  // namespace

Cluster::Cluster(uint64_t seed, ClusterOptions options) : options_(options), random_(seed) {
  nodes_.resize(options_.nodes);
  for (uint32_t i = 0; i < options_.nodes; ++i) {
    nodes_[i].id = NodeId{i + 1};
    nodes_[i].voter = i < options_.nodes - options_.learners;
    nodes_[i].promise.incarnation = i + 100;
  }
}

Outcome Cluster::run() {
  for (SimNode& node : nodes_)
    start(node);
  write();
  disturb();
  after(kFaultsEnd, [this] {
    faults_ = false;
    cuts_.clear();
    for (SimNode& node : nodes_)
      if (node.boot == 0) start(node);
  });
  while (!timers_.empty() && timers_.top().at <= kEnd && !outcome_.violation) {
    const Timer next = timers_.top();
    timers_.pop();
    now_ = next.at;
    next.run();
  }
  if (!outcome_.violation) check_end();
  outcome_.acknowledged = acknowledged_.size();
  return outcome_;
}

void Cluster::after(Time delay, std::function<void()> run) {
  timers_.push({now_ + delay, ++orders_, std::move(run)});
}

void Cluster::after(SimNode& node, Time delay, std::function<void()> run) {
  after(delay, [&node, boot = node.boot, run = std::move(run)] {
    if (node.boot == boot) run();
  });
}

Time Cluster::between(int64_t low_us, int64_t high_us) {
  return std::chrono::microseconds(
      random_.between(static_cast<uint64_t>(low_us), static_cast<uint64_t>(high_us)));
}

Cluster::SimNode* Cluster::find(NodeId id) {
  return id.value >= 1 && id.value <= nodes_.size() ? &nodes_[id.value - 1] : nullptr;
}

bool Cluster::cut(NodeId a, NodeId b) const {
  return cuts_.contains({a.value, b.value});
}

// ---- Nodes ------------------------------------------------------------------------------------

void Cluster::start(SimNode& node) {
  node.boot = ++boots_;
  CoreOptions options;
  options.self = node.id;
  for (const SimNode& member : nodes_)
    options.members.push_back({member.id, member.voter});
  options.heartbeat_interval = std::chrono::milliseconds(40);
  options.peer_timeout = std::chrono::milliseconds(200);
  options.window_bytes = 8192;
  options.batch_bytes = 2048;
  options.faults = options_.faults;
  options.check_invariants = false;  // told as a violation instead
  node.core = std::make_unique<Core>(options);
  node.invariants = std::make_unique<InvariantChecker>();
  if (&node == &leader()) ++outcome_.leader_starts;
  feed(node, Started{node.log.position(), node.log.epoch_table(), node.promise, now_});
  StaticCoordinator coordinator(node.id, leader().id);
  coordinator.start(std::max(node.promise.epoch, node.log.position().last_epoch), [&](Grant grant) {
    feed(node, Granted{grant.leader, grant.epoch});
  });
  tick(node);
  dial(node);
}

void Cluster::crash(SimNode& node) {
  if (node.boot == 0) return;
  ++outcome_.crashes;
  node.boot = 0;
  node.core.reset();
  node.log.crash();
  node.dialing = node.flushing = false;
  node.committed = Address{};
  node.anchors.clear();
  for (SimNode& other : nodes_) {
    if (&node != &leader() && &other != &node) continue;  // a follower has only its own link
    if (!other.linked) continue;
    // Half of the time the other side notices at once, else only by its timeout.
    const bool told = random_.chance(1, 2);
    other.linked = false;
    SimNode& peer = &other == &node ? leader() : other;
    if (told && peer.boot != 0)
      after(peer, between(0, 2000),
            [this, &peer, from = node.id] { feed(peer, PeerDisconnected{from}); });
  }
}

void Cluster::tick(SimNode& node) {
  after(node, kTick, [this, &node] {
    feed(node, Tick{now_, node.committed});
    tick(node);
  });
}

void Cluster::dial(SimNode& node) {
  after(node, between(5000, 30000), [this, &node] {
    if (node.dialing && !node.linked && leader().boot != 0 && !cut(node.id, leader().id)) {
      node.linked = true;
      feed(leader(), PeerConnected{node.id});
      if (node.boot != 0) feed(node, PeerConnected{leader().id});
    }
    dial(node);
  });
}

void Cluster::unlink(SimNode& node, bool tell_leader) {
  if (!node.linked) return;
  node.linked = false;
  SimNode& peer = tell_leader ? leader() : node;
  const NodeId from = tell_leader ? node.id : leader().id;
  if (peer.boot != 0)
    after(peer, between(0, 2000), [this, &peer, from] { feed(peer, PeerDisconnected{from}); });
}

void Cluster::send(SimNode& from, NodeId to, Message message) {
  SimNode* target = find(to);
  if (target == nullptr || cut(from.id, to)) return;
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
    const Time delay = arrival - now_;
    after(delay, [this, target, sender = from.id, message] {
      if (target->boot != 0) feed(*target, Received{sender, message});
    });
  }
}

void Cluster::feed(SimNode& node, const Event& event) {
  if (node.boot == 0 || outcome_.violation) return;
  std::vector<Action> actions;
  node.core->step(event, actions);
  check_obeys(node, event, actions);
  const ProtocolFaults& faults = options_.faults;
  const bool healthy = !faults.count_old_epochs && !faults.accept_stale_epoch &&
                       !faults.skip_log_check && !faults.ack_before_promise &&
                       !faults.minority_commits;
  if (healthy)
    if (std::optional<std::string> broken = node.invariants->check(*node.core))
      violate("invariant: " + *broken);
  for (const Action& action : actions)
    perform(node, action);
}

void Cluster::perform(SimNode& node, const Action& action) {
  if (const auto* persist = std::get_if<PersistPromise>(&action)) {
    after(node, between(0, 8000), [this, &node, promise = persist->promise] {
      node.promise = promise;
      feed(node, PromisePersisted{promise});
    });
  } else if (const auto* writer = std::get_if<BecomeWriter>(&action)) {
    if (node.promise.epoch < writer->epoch) violate("a leader writes in an epoch not on its disk");
    for (const Batch& batch : node.log.batches())
      if (batch.epoch >= writer->epoch) violate("a leader reuses an epoch");
    const AddressRange record = node.log.append(writer->epoch, 12, random_);
    flush(node);
    feed(node, WriterReady{record});
  } else if (std::holds_alternative<Connect>(action)) {
    node.dialing = true;
  } else if (const auto* disconnect = std::get_if<Disconnect>(&action)) {
    if (&node == &leader()) {
      unlink(*find(disconnect->peer), false);
    } else {
      node.dialing = false;
      unlink(node, true);
    }
  } else if (const auto* message = std::get_if<Send>(&action)) {
    if (const auto* acknowledge = std::get_if<Acknowledge>(&message->message))
      check_acknowledge(node, *acknowledge);
    send(node, message->peer, message->message);
  } else if (const auto* ship = std::get_if<ShipBytes>(&action)) {
    if (ship->from < node.log.begin) {
      violate("bytes that a follower needed were truncated");
      return;
    }
    const Address limit = options_.ship_not_durable ? node.log.tail() : node.log.durable();
    auto bytes = std::make_shared<std::vector<std::byte>>(
        node.log.read(ship->from, ship->most_bytes, limit));
    const Address end = ship->from + bytes->size();
    if (!bytes->empty())
      send(node, ship->peer, Data{ship->epoch, ship->from, bytes, ship->committed, limit, 0});
    feed(node, Shipped{ship->peer, ship->from, end, limit});
  } else if (const auto* append = std::get_if<AppendRaw>(&action)) {
    if (!node.log.append_raw(append->at, ByteSpan(*append->bytes).subspan(append->skip)))
      violate("a follower's log refuses what the leader shipped");
    flush(node);
  } else if (const auto* committed = std::get_if<AdvanceCommitted>(&action)) {
    check_committed(node, committed->committed);
  } else if (const auto* anchor = std::get_if<SetAnchor>(&action)) {
    node.anchors[anchor->peer] = anchor->address;
  } else if (const auto* gone = std::get_if<RemoveAnchor>(&action)) {
    node.anchors.erase(gone->peer);
  }
}

/// Group commit: what is there when the flush begins is durable when it ends.
void Cluster::flush(SimNode& node) {
  if (options_.fsync_lies && &node != &leader()) {
    LogPosition told = node.log.position();
    told.durable = node.log.tail();
    told.last_epoch = node.log.batches().back().epoch;
    after(node, between(0, 100), [this, &node, told] {
      feed(node, LogMoved{told, node.committed});
    });
  }
  if (node.flushing) return;
  node.flushing = true;
  after(node, between(100, faults_ ? 6000 : 500), [this, &node, upto = node.log.batches().size()] {
    node.log.durable_batches = upto;
    node.flushing = false;
    if (node.log.batches().size() > upto) flush(node);
    if (!options_.fsync_lies || &node == &leader())
      feed(node, LogMoved{node.log.position(), node.committed});
  });
}

// ---- What happens to the cluster
// -----------------------------------------------------------------

void Cluster::write() {
  SimNode& node = leader();
  // The last half second is quiet, so that all can become equal.
  if (now_ < kEnd - std::chrono::milliseconds(500) && node.boot != 0 &&
      node.core->state().serving) {
    const AddressRange range =
        node.log.append(node.core->state().epoch, random_.below(600), random_);
    pending_.push_back({range, node.boot});
    flush(node);
  }
  after(between(500, 12000), [this] { write(); });
}

void Cluster::disturb() {
  after(between(20000, 300000), [this] {
    if (!faults_) return;
    SimNode& node = nodes_[random_.below(nodes_.size())];
    switch (random_.below(6)) {
      case 0:
      case 1:
        crash(node);
        break;
      case 2:
        unlink(node, random_.chance(1, 2));
        break;
      case 3: {
        SimNode& other = nodes_[random_.below(nodes_.size())];
        cuts_.insert({node.id.value, other.id.value});  // one direction, often just that one
        if (random_.chance(1, 2)) cuts_.insert({other.id.value, node.id.value});
        break;
      }
      case 4:
        cuts_.clear();
        break;
      default:
        truncate(leader());
        break;
    }
    for (SimNode& down : nodes_)
      if (down.boot == 0 && random_.chance(1, 2)) start(down);
    disturb();
  });
}

void Cluster::truncate(SimNode& node) {
  if (node.boot == 0 || node.anchors.size() + 1 < nodes_.size()) return;
  Address limit = std::min(node.committed, node.log.durable());
  for (const auto& [peer, address] : node.anchors)
    limit = std::min(limit, address);
  for (const Batch& batch : node.log.batches()) {
    if (batch.end() > limit || batch.end() <= node.log.begin) continue;
    node.log.begin = batch.end();
    ++outcome_.truncations;
  }
  feed(node, LogMoved{node.log.position(), node.committed});
}

// ---- Checkers
// --------------------------------------------------------------------------------------

void Cluster::violate(const std::string& what) {
  if (!outcome_.violation)
    outcome_.violation = what + " (at " + std::to_string(now_.count() / 1000) + " us)";
}

void Cluster::check_committed(SimNode& node, Address address) {
  if (address < node.committed) violate("committed retreats");
  node.committed = address;
  const auto& own = node.log.batches();
  const std::string who = "node " + std::to_string(node.id.value);
  if (&node == &leader()) {
    const size_t count = static_cast<size_t>(  // batches below address
        std::ranges::lower_bound(own, address, {}, &Batch::start) - own.begin());
    if (count == 0 || own[count - 1].end() != address) {
      violate("committed is not at a batch's end");
      return;
    }
    if (own[count - 1].epoch != node.core->state().epoch)
      violate("committed counts bytes of an earlier epoch alone");
    for (size_t i = golden_.size(); i < count; ++i)
      golden_.push_back(own[i]);
    size_t have = 0, voters = 0;
    for (const SimNode& voter : nodes_) {
      if (!voter.voter) continue;
      ++voters;
      const auto& theirs = voter.log.batches();
      have +=
          voter.log.durable_batches >= count && theirs[count - 1].chain == golden_[count - 1].chain;
    }
    if (have < voters / 2 + 1) violate("committed without a majority that has it durable");
    std::erase_if(pending_, [&](const Write& write) {
      if (write.leader_boot != node.boot) return true;  // never answered
      if (write.range.end > address) return false;
      acknowledged_.push_back(write.range);
      return true;
    });
  }
  const Address most = golden_.empty() ? Address{} : golden_.back().end();
  if (address > most) violate(who + " calls bytes committed that are not");
  const size_t below = std::min(
      golden_.size(),
      static_cast<size_t>(std::ranges::upper_bound(own, address, {}, &Batch::end) - own.begin()));
  if (below > 0 && own[below - 1].chain != golden_[below - 1].chain)
    violate(who + " differs from the committed log below " + std::to_string(address.value));
}

void Cluster::check_acknowledge(const SimNode& node, const Acknowledge& message) {
  if (message.durable > node.log.durable()) violate("acknowledges what is not durable");
  if (node.promise.epoch < message.epoch) violate("acknowledges in an epoch it has not promised");
  if (message.epoch < node.promise.epoch) violate("acknowledges in an epoch below its promise");
}

void Cluster::check_obeys(const SimNode& node, const Event& event,
                          const std::vector<Action>& actions) {
  const auto* received = std::get_if<Received>(&event);
  if (received == nullptr) return;
  Epoch epoch = Epoch{~uint64_t{0}};
  if (const auto* data = std::get_if<Data>(&received->message)) epoch = data->epoch;
  if (const auto* accept = std::get_if<Accept>(&received->message)) epoch = accept->epoch;
  if (epoch >= node.promise.epoch) return;
  for (const Action& action : actions) {
    const auto* message = std::get_if<Send>(&action);
    if (std::holds_alternative<AppendRaw>(action) ||
        std::holds_alternative<AdvanceCommitted>(action) ||
        (message != nullptr && std::holds_alternative<Acknowledge>(message->message)))
      violate("obeys an epoch below its promise");
  }
}

void Cluster::check_end() {
  for (const AddressRange& range : acknowledged_)
    if (golden_.empty() || range.end > golden_.back().end())
      violate("an acknowledged write is lost");
  const ModelLog& log = leader().log;
  if (!leader().core->state().serving) {
    violate("no progress: the leader does not serve: " + leader().core->state().problem);
    return;
  }
  if (!pending_.empty())
    violate("no progress: " + std::to_string(pending_.size()) + " writes hang, from " +
            std::to_string(pending_.front().range.first.value) + " on; committed is " +
            std::to_string(leader().committed.value));
  for (const SimNode& node : nodes_) {
    const std::string who = "node " + std::to_string(node.id.value);
    if (node.log.durable() != log.durable() || node.log.tail() != log.tail())
      violate("no progress: " + who + " ends at " + std::to_string(node.log.durable().value) +
              ", the leader at " + std::to_string(log.durable().value) + ": " +
              node.core->state().problem);
    else if (node.committed != leader().committed)
      violate("no progress: " + who + " has not heard of the last commit");
    for (size_t i = 0; i < golden_.size() && i < node.log.batches().size(); ++i)
      if (node.log.batches()[i].bytes != golden_[i].bytes) violate(who + " differs in the end");
  }
}

}  // namespace tailrace::simulation
