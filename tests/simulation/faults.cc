// What happens to the cluster: writes, reads, the coordinator's grants, and everything bad.
#include <algorithm>
#include <functional>

#include <fmt/core.h>

#include "event_side.h"

namespace tailrace::simulation {

using namespace replication;

namespace {
constexpr Time kLease = std::chrono::milliseconds(120);
constexpr Time kQuiet = std::chrono::milliseconds(5500);  // no writes from here: all become equal
}  // namespace

// ---- The coordinator. --------------------------------------------------------------------------

/// A lease that lies: it ends early, it outlives its holder, and two nodes are granted one epoch.
void Cluster::coordinate() {
  after(between(5000, 40000), [this] {
    const bool held = holder_ != NodeId{} && now_ < lease_end_;
    if (held && at(holder_).boot == holder_boot_ && !at(holder_).paused &&
        !(faults_ && random_.chance(1, 30)))
      lease_end_ = now_ + kLease;  // kept alive
    const bool lies = faults_ && random_.chance(1, 25);
    if (!held || lies) {
      std::vector<SimNode*> eager;
      for (SimNode& node : nodes_) {
        if (node.boot == 0 || node.paused || !node.core->may_lead() || node.core->state().outsider)
          continue;
        if (lies || !node.core->hears_leader()) eager.push_back(&node);
      }
      // As the driver does: who would have to fetch everything first comes last
      // (Driver::candidacy).
      const auto votes = [](const SimNode* node) { return node->promise.vote != Vote::kNone; };
      if (!faults_ && std::ranges::any_of(eager, votes)) std::erase_if(eager, std::not_fn(votes));
      SimNode* winner = eager.empty() ? nullptr : eager[random_.below(eager.size())];
      for (SimNode* node : eager)
        if (node->id == successor_ && !lies) winner = node;
      successor_ = NodeId{};
      if (winner != nullptr) {
        held_ = Epoch{++revision_};
        holder_ = winner->id;
        holder_boot_ = winner->boot;
        lease_end_ = now_ + kLease + (faults_ ? between(0, 300000) : Time{0});
        grant(*winner, held_);
        if (lies) {
          SimNode& other = *eager[random_.below(eager.size())];
          if (random_.chance(1, 2)) grant(other, held_);
          if (random_.chance(1, 4)) grant(other, Epoch{held_.value / 2});
        }
      }
    }
    coordinate();
  });
}

void Cluster::grant(SimNode& node, Epoch epoch) {
  node.granted = std::max(node.granted, epoch);
  after(node, between(0, faults_ ? 20000 : 1000), [this, &node, epoch] {
    feed(node, Granted{node.id, epoch});
  });
}

void Cluster::resign(Epoch epoch, NodeId successor) {
  if (epoch != held_) return;
  holder_ = NodeId{};
  successor_ = successor;
}

/// A grant that was overtaken by a promise is exchanged for a higher one.
void Cluster::exchange(SimNode& node, Epoch known) {
  if (holder_ != node.id || holder_boot_ != node.boot || held_ >= known) return;
  revision_ = std::max(revision_, known.value);
  held_ = Epoch{++revision_};
  grant(node, held_);
}

// ---- Clients. ----------------------------------------------------------------------------------

/// To whichever nodes believe that they lead.
void Cluster::write() {
  for (SimNode& node : nodes_) {
    if (now_ >= kQuiet || node.boot == 0 || node.paused || !node.core->state().leadership.serving)
      continue;
    const AddressRange range =
        node.log.append(node.core->state().epoch, random_.below(600), random_);
    pending_.push_back({range, node.id, node.boot, node.core->state().epoch});
    flush(node);
  }
  after(between(500, events_ ? 24000 : 12000), [this] { write(); });
}

void Cluster::read() {
  for (SimNode& node : nodes_) {
    if (node.boot == 0 || node.paused || !node.core->state().leadership.serving) continue;
    const CoreState& state = node.core->state();
    node.reads.push_back({state.round + 1, state.epoch, node.committed, acknowledged_end_});
    feed(node, ConfirmAsked{now_ + node.clock});
  }
  after(between(1000, 30000), [this] { read(); });
}

// ---- Everything bad. ---------------------------------------------------------------------------

void Cluster::disturb() {
  after(between(20000, 200000), [this] {
    if (!faults_) return;
    if (is_calm()) return disturb();
    if (is_owing()) {
      cuts_.clear();
      for (SimNode& down : nodes_)
        if (down.boot == 0) bring_up(down);
      return disturb();
    }
    SimNode& node = nodes_[random_.below(nodes_.size())];
    SimNode& other = nodes_[random_.below(nodes_.size())];
    const bool disks = options_.disks && random_.chance(1, 2);
    switch (disks ? 12 + random_.below(5) : random_.below(18)) {
      case 0:
      case 1:
        crash(node);
        break;
      case 2:
        unlink(node.id, other.id);
        break;
      case 3:
        cuts_.insert({node.id.value, other.id.value});  // one direction, often just that one
        if (random_.chance(1, 2)) cuts_.insert({other.id.value, node.id.value});
        break;
      case 4:  // a node alone
        for (SimNode& peer : nodes_) {
          cuts_.insert({node.id.value, peer.id.value});
          if (random_.chance(3, 4)) cuts_.insert({peer.id.value, node.id.value});
        }
        break;
      case 5:
      case 6:
        cuts_.clear();
        break;
      case 7:
        wipe(node);
        break;
      case 8:
        if (node.boot != 0 && !node.paused && node.core->state().leadership.serving) {
          ++outcome_.transfers;
          feed(node, TransferAsked{other.id});
        }
        break;
      case 9:
        if (node.boot != 0 && !node.paused) {
          node.paused = true;
          const Time pause = between(10000, 600000);
          after(pause, [this, &node, pause, boot = node.boot] {
            if (node.boot != boot || !node.paused) return;
            node.paused = false;
            if (options_.clock_stops_in_suspend) node.clock -= pause;
            for (auto& run : std::exchange(node.waiting, {}))
              after(node, Time{0}, std::move(run));
          });
        }
        break;
      case 10:
        node.full_until = now_ + between(20000, 300000);
        break;
      case 11:
        if (node.boot == 0 || node.log.durable_batches == 0) break;
        ++outcome_.damaged_disks;
        crash(node);
        node.damaged = true;
        break;
      case 12:
        return_disk(node);
        break;
      case 13:
        copy_disk(node);
        break;
      case 14:
        put_back(node);
        break;
      case 15:
        lose_power(node);
        break;
      case 16:
        begin_clone(node);
        break;
      default:
        truncate();
        break;
    }
    for (SimNode& down : nodes_)
      if (down.boot == 0 && random_.chance(1, 2)) bring_up(down);
    disturb();
  });
}

/// Every node truncates as far as its anchors allow.
void Cluster::truncate() {
  for (SimNode& node : nodes_) {
    if (node.boot == 0 || node.paused) continue;
    Address limit = std::min(node.committed, node.log.durable());
    if (events_) limit = std::min(limit, events_->needed(node));
    for (const auto& [peer, address] : node.anchors)
      limit = std::min(limit, address);
    for (const Batch& batch : node.log.batches()) {
      if (batch.end() > limit || batch.end() <= node.log.begin) continue;
      node.log.begin = batch.end();
      ++outcome_.truncations;
    }
    feed(node, LogMoved{node.log.position(), applied(node)});
  }
}

/// Members come and go, one at a time, while there is a leader to ask.
void Cluster::change_members() {
  after(between(options_.change_pause_us / 15, options_.change_pause_us), [this] {
    if (!faults_) return;
    if (is_calm()) return change_members();
    for (SimNode& node : nodes_) {
      if (node.boot == 0 || node.paused || node.core->state().role != Role::kLeader) continue;
      if (const auto change = some_change(node)) feed(node, ChangeAsked{*change});
    }
    change_members();
  });
}

/// A vote is taken only where all voters that stay have one on their disks, as an operator would: a
/// majority that has forgotten is beyond what any protocol survives.
std::optional<MemberChange> Cluster::some_change(const SimNode& leader) {
  const SimNode& node = nodes_[random_.below(nodes_.size())];
  const Members& members = leader.core->state().members;
  const Member* member = find_member(members, node.id);
  MemberChange change;
  change.member = member_of(node.id, random_.chance(2, 3));
  if (member != nullptr && random_.chance(2, 3)) change.kind = MemberChange::Kind::kRemove;
  const bool takes = member != nullptr && member->voter &&
                     (change.kind == MemberChange::Kind::kRemove || !change.member.voter);
  if (!takes) return change;
  for (const Member& other : members)
    if (other.voter && other.id != node.id && !may_vote(other)) return std::nullopt;
  return change;
}

/// Whether the member's present disk remembers, and is the one that votes for it.
bool Cluster::may_vote(const Member& member) const {
  const SimNode& node = nodes_[member.id.value - 1];
  const Promise& promise = node.promise;
  return promise.vote == Vote::kFull && promise.incarnation != node.forgot &&
         (member.incarnation == 0 || member.incarnation == promise.incarnation);
}

/// A disk is lost, and only while all other voters' disks remember, whichever members a node goes
/// by: a majority's loss is beyond what any protocol survives.
bool Cluster::may_wipe(const SimNode& node) const {
  for (const SimNode& holder : nodes_) {
    const Members members = members_in(holder.log.batches());
    size_t others = 0;
    for (const Member& other : members) {
      if (other.id == node.id || !other.voter) continue;
      if (!may_vote(other)) return false;
      ++others;
    }
    const Member* self = find_member(members, node.id);
    // Who is joining may be a voter by the next record, which is on its way.
    if (self == nullptr || !(self->voter || self->joining)) continue;
    if (others < (others + 1) / 2 + 1 || !may_vote(*self)) return false;
  }
  return true;
}

void Cluster::wipe(SimNode& node) {
  if (!may_wipe(node)) return;
  node.damaged = false;
  if (trace_) fmt::print("{:8} node {} loses its disk\n", now_.count() / 1000, node.id.value);
  crash(node);
  ++outcome_.wipes;
  Disk fresh;
  fresh.promise.incarnation = 100 * ++disks_ + node.id.value;
  fresh.promise.starts = node.version >= 2 ? 1 : 0;
  node.shelf = disk_of(node);
  node.copy.reset();
  insert_disk(node, std::move(fresh));
  node.file = members_in(golden_);
  for (Member& member : node.file)
    member.incarnation = 0;
}

Cluster::Disk Cluster::disk_of(const SimNode& node) {
  Disk disk{node.log, node.promise, node.met, node.events};
  disk.log.crash();  // what is not durable is not on it
  return disk;
}

void Cluster::insert_disk(SimNode& node, Disk disk) {
  node.lost_log = std::exchange(node.log, std::move(disk.log));
  node.promise = std::move(disk.promise);
  node.met = std::move(disk.met);
  node.events = std::move(disk.events);
  node.committed = node.log.begin;
}

/// Every log says which disks vote. Before that the number does, whichever disk it has.
bool Cluster::votes_by_disk() const {
  return std::ranges::all_of(nodes_, [&](const SimNode& node) {
    return node.version >= 2 && record_in(node.log.batches()).cluster_version >= 2;
  });
}

/// The disk that was taken out comes back, and the present one is on the shelf. Where the present
/// one may vote that is its loss; the old one never was lost if it still is the one that votes.
void Cluster::return_disk(SimNode& node) {
  if (!node.shelf || !votes_by_disk()) return;
  const Members committed = members_in(golden_);
  const Member* member = find_member(committed, node.id);
  const bool still_votes =
      member != nullptr && member->incarnation == node.shelf->promise.incarnation;
  if (!still_votes && !may_wipe(node)) return;
  if (trace_)
    fmt::print("{:8} node {} has its old disk back\n", now_.count() / 1000, node.id.value);
  crash(node);
  ++outcome_.returned_disks;
  Disk old = std::move(*node.shelf);
  node.shelf = disk_of(node);
  node.copy.reset();
  node.damaged = false;
  insert_disk(node, std::move(old));
  lose_sight_of_the_longest(node);
}

/// While it runs, or between two lives.
void Cluster::copy_disk(SimNode& node) {
  if (node.boot == 0 || node.promise.starts == 0) return;
  node.copy = disk_of(node);
  if (random_.chance(1, 2)) return;
  crash(node);
  start(node);
}

/// All nodes at once; one of them, the leader if there is one, has a new disk when it comes back.
void Cluster::lose_power(SimNode& some) {
  SimNode* leader = &some;
  for (SimNode& each : nodes_)
    if (each.boot != 0 && each.core->state().leadership.serving) leader = &each;
  SimNode& node = *leader;
  for (SimNode& each : nodes_)
    crash(each);
  const Epoch again = node.granted;
  wipe(node);
  for (SimNode& each : nodes_)
    if (!each.damaged) start(each);
  // As a coordinator that grants what it has granted before, and to nobody else for a while.
  if (node.boot != 0) {
    grant(node, again);
    if (again == held_) {
      holder_ = node.id;
      holder_boot_ = node.boot;
      lease_end_ = now_ + kLease + between(0, 500000);
    }
  }
  // The others may hold more of that epoch than the new disk can be told of.
  if (random_.chance(1, 2)) lose_sight_of_the_longest(node);
}

/// What `node` has forgotten is best missed where the one that holds most is away.
void Cluster::lose_sight_of_the_longest(const SimNode& node) {
  SimNode* most = nullptr;
  for (SimNode& other : nodes_)
    if (other.id != node.id && (most == nullptr || other.log.durable() > most->log.durable()))
      most = &other;
  for (const SimNode& other : nodes_) {
    cuts_.insert({most->id.value, other.id.value});
    cuts_.insert({other.id.value, most->id.value});
    unlink(most->id, other.id);
  }
}

/// The disk has been started since it was copied, and all other voters have seen that; or all of
/// them are there to be heard, and one knows everything that was committed. Otherwise nobody could
/// notice.
bool Cluster::will_be_noticed(const SimNode& node, const Disk& copy) {
  // Whoever goes by other members may not know whom to hear, or who has seen it.
  const Members members = members_in(golden_);
  if (members_in(copy.log.batches()) != members) return false;
  for (const SimNode& other : nodes_)
    if (other.id != node.id && members_in(other.log.batches()) != members) return false;
  bool seen = true, heard = cuts_.empty() && !golden_.empty(), known = false;
  for (const SimNode& other : nodes_) {
    if (other.id == node.id) continue;
    const Member* voter = find_member(members, other.id);
    if (voter != nullptr && voter->voter) {
      const auto met = other.met.find(node.id);
      seen = seen && met != other.met.end() && met->second > copy.promise.starts;
    }
    heard = heard && other.boot != 0 && !other.paused && other.version >= 2;
    known = known || other.committed >= golden_.back().end();
  }
  return seen || (heard && known);
}

/// The disk is put back to what it was when it was copied.
void Cluster::put_back(SimNode& node) {
  if (!node.copy || !votes_by_disk() || !may_wipe(node) || !will_be_noticed(node, *node.copy))
    return;
  if (trace_) fmt::print("{:8} node {} is put back\n", now_.count() / 1000, node.id.value);
  crash(node);
  ++outcome_.put_back;
  node.damaged = false;
  insert_disk(node, *std::exchange(node.copy, std::nullopt));
  node.forgot = node.promise.incarnation;
  node.put_back_at = now_;
  start(node);
  for (SimNode& other : nodes_) {
    const bool up = other.boot != 0 && node.boot != 0 && !other.paused && other.id != node.id;
    if (up && !cut(node.id, other.id) && !cut(other.id, node.id) &&
        !links_.contains(pair_of(node.id, other.id)))
      connect(node, other);
  }
  if (node.boot != 0) grant(node, node.granted);  // by a coordinator that repeats itself
  lose_sight_of_the_longest(node);
}

/// What a checkpoint's transfer leaves: the source's committed prefix, begun where the source's
/// begins.
void Cluster::install_checkpoint(SimNode& node, SimNode& source, Address end) {
  const Address copy_end = std::min(source.committed, source.log.durable());
  // What it ended with when it was refused is not part of the cluster's log, and may be more than
  // there is of that; what came since then may be.
  const bool extended = node.log.tail() > copy_end && node.log.tail() != end;
  if (source.boot == 0 || source.paused || node.core->state().following.streaming || extended ||
      node.committed > copy_end || source.log.begin == fasterlog::kFirstAddress)
    return;
  const Promise promise = node.promise;
  crash(node);
  ++outcome_.installs;
  node.log = source.log;
  node.log.cut(copy_end);
  node.promise = promise;
  node.events = {source.events.checkpoint, {node.log.begin, node.log.begin, {}}};
  node.committed = node.log.begin;
  start(node);
}

}  // namespace tailrace::simulation
