// The checkers. They know what is on the disks and what was said, not what the cores think.
#include <algorithm>

#include "cluster.h"

namespace tailrace::simulation {

using namespace replication;

namespace {

bool holds(const ModelLog& log, size_t count, uint32_t chain) {
  return log.durable_batches >= count && log.batches()[count - 1].chain == chain;
}

}  // namespace

void Cluster::violate(const std::string& what) {
  if (!outcome_.violation)
    outcome_.violation = what + " (at " + std::to_string(now_.count() / 1000) + " us)";
}

void Cluster::check_committed(SimNode& node, Address address) {
  if (address < node.committed) violate("committed retreats");
  node.committed = address;
  const auto& own = node.log.batches();
  const std::string who = "node " + std::to_string(node.id.value);
  if (node.leads) {
    const Epoch epoch = *node.leads;
    const size_t count = static_cast<size_t>(  // batches below address
        std::ranges::lower_bound(own, address, {}, &Batch::start) - own.begin());
    if (count == 0 || own[count - 1].end() != address) {
      violate("committed is not at a batch's end");
      return;
    }
    if (own[count - 1].epoch != epoch) violate("committed counts bytes of an earlier epoch alone");
    const auto [committer, first] = committers_.emplace(epoch.value, node.id.value);
    if (committer->second != node.id.value) violate("two nodes commit in one epoch");
    for (size_t i = golden_.size(); i < count; ++i) {
      if (!committed_in_.empty() && committed_in_.back() > epoch)
        violate("a leader commits although a later one has");
      if (own[i].configuration) {
        ++outcome_.changes;
        check_change(members_in(golden_), members_of(own[i]).members);
      }
      golden_.push_back(own[i]);
      committed_in_.push_back(epoch);
    }
    // One of the two disks is the one that is lost.
    const auto clone_holds = [&](const SimNode& voter) {
      return std::ranges::any_of(clones_, [&](const auto& clone) {
        return clone->id == voter.id && holds(clone->log, count, golden_[count - 1].chain);
      });
    };
    size_t have = 0, voters = 0;
    // By the newest members that its log has.
    for (const Member& member : members_in(own)) {
      if (!member.voter) continue;
      const SimNode& voter = at(member.id);
      ++voters;
      const uint32_t chain = golden_[count - 1].chain;
      if (holds(voter.log, count, chain) ||
          (voter.lost_log && holds(*voter.lost_log, count, chain)) || clone_holds(voter))
        ++have;
    }
    if (have < voters / 2 + 1) violate("committed without a majority that has it durable");
    std::erase_if(pending_, [&](const Write& write) {
      if (write.node != node.id) return false;
      if (write.boot != node.boot || write.epoch != epoch) return true;  // never answered
      if (write.range.end > address) return false;
      acknowledged_.push_back(write.range);
      acknowledged_end_ = std::max(acknowledged_end_, write.range.end);
      last_acknowledged_ = now_;
      acknowledged_by_.emplace_back(now_, acknowledged_end_);
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

/// So that any two majorities have a voter in common.
void Cluster::check_change(const Members& before, const Members& now) {
  size_t differences = 0;
  for (const SimNode& node : nodes_) {
    const Member* old = find_member(before, node.id);
    const Member* next = find_member(now, node.id);
    const bool voted = old != nullptr && old->voter, votes = next != nullptr && next->voter;
    differences += voted != votes;
    if (voted && votes && old->incarnation != 0 && old->incarnation != next->incarnation)
      differences += 2;  // one disk loses its vote, and another gets it
    if (!voted && votes && next->incarnation != 0) ++outcome_.replaced;
  }
  if (differences > 1) violate("two voters change at once");
}

/// A cluster goes over to what all members know, and have known for long enough: until then any of
/// them may be given its program of before.
void Cluster::check_version(const SimNode& leader, const MembersRecord& record) {
  const MembersRecord before = record_in(leader.log.batches());
  if (record.cluster_version < before.cluster_version) violate("the cluster's version is lowered");
  if (record.cluster_version <= before.cluster_version) return;
  for (const Member& member : record.members) {
    const SimNode& node = at(member.id);
    if (node.version < record.cluster_version)
      violate("the cluster goes over to a version that node " + std::to_string(node.id.value) +
              " does not know");
    else if (before.cluster_version > 1 && now_ - node.version_since < kFinalizeAfter)
      violate("the cluster goes over to a version that all have not known for long");
  }
}

/// Leader completeness: whoever leads holds everything that was committed in earlier epochs. (A
/// leader that is late may exist beside a later one; it can commit nothing.)
void Cluster::check_leads(const SimNode& node) {
  const auto earlier = static_cast<size_t>(
      std::ranges::lower_bound(committed_in_, node.core->state().epoch) - committed_in_.begin());
  if (earlier > 0 && !holds(node.log, earlier, golden_[earlier - 1].chain))
    violate("node " + std::to_string(node.id.value) + " leads without what was committed");
}

void Cluster::check_acknowledge(const SimNode& node, const Acknowledge& message) {
  if (message.relayed_by != NodeId{}) ++outcome_.relayed;
  if (message.durable > node.log.durable()) violate("acknowledges what is not durable");
  if (options_.promise_lies) return;
  if (node.promise.epoch < message.epoch) violate("acknowledges in an epoch it has not promised");
  if (message.epoch < node.promise.epoch) violate("acknowledges in an epoch below its promise");
}

void Cluster::check_sealed(const SimNode& node, const Sealed& message) {
  if (options_.promise_lies) return;
  if (node.promise.epoch < message.epoch) violate("seals an epoch it has not promised");
  if (message.durable != node.log.tail()) violate("seals with bytes on their way to the disk");
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

void Cluster::check_read(const SimNode& node, const Read& read) {
  const CoreState& state = node.core->state();
  if (state.role != Role::kLeader || state.epoch != read.epoch || !state.leadership.serving) return;
  ++outcome_.reads;
  if (read.committed < read.needed) violate("a linearizable read misses an acknowledged write");
}

std::string Cluster::describe() const {
  std::string all;
  for (const SimNode& node : nodes_) {
    if (node.boot == 0) continue;
    const CoreState& state = node.core->state();
    all += "\n  node " + std::to_string(node.id.value) + " " + std::string(name_of(state.role)) +
           " epoch " + std::to_string(state.epoch.value) + " promise " +
           std::to_string(state.promise.epoch.value) + "/" +
           std::to_string(state.promise.leader.value) +
           (state.persisted == state.promise ? "" : "*") + " vote " +
           std::to_string(static_cast<int>(state.promise.vote)) + " source " +
           std::to_string(state.following.source.value) +
           (state.following.streaming ? " streaming" : "") +
           (state.leadership.serving ? " serving" : "") + " log " +
           std::to_string(node.log.begin.value) + ".." + std::to_string(node.log.durable().value) +
           ".." + std::to_string(node.log.tail().value) + " committed " +
           std::to_string(node.committed.value) + " settling " + std::to_string(state.settling) +
           " sealed " + std::to_string(state.campaign.sealed.size()) + " connected " +
           std::to_string(state.connected.size()) + " " + state.problem;
  }
  return all;
}

/// A node that says its state is of some moment has applied all that was acknowledged before.
void Cluster::check_fresh(const SimNode& node) {
  if (node.boot == 0 || outcome_.violation || !node.core->state().fresh_at) return;
  ++outcome_.fresh;
  const Time moment = *node.core->state().fresh_at - node.clock;
  const auto after =
      std::ranges::upper_bound(acknowledged_by_, moment, {}, &std::pair<Time, Address>::first);
  if (after == acknowledged_by_.begin()) return;
  if (node.core->state().applied < std::prev(after)->second)
    violate("node " + std::to_string(node.id.value) +
            " calls its state fresher than it is, as of " + std::to_string(moment.count() / 1000) +
            " us");
}

void Cluster::check_end() {
  for (const AddressRange& range : acknowledged_)
    if (golden_.empty() || range.end > golden_.back().end())
      violate("an acknowledged write is lost");
  if (last_acknowledged_ < std::chrono::milliseconds(5000))
    violate("no progress after the faults: the last write was answered at " +
            std::to_string(last_acknowledged_.count() / 1000) + " us" + describe());
  const MembersRecord record = record_in(golden_);
  uint32_t known = kClusterVersion;
  for (const Member& member : record.members)
    known = std::min(known, at(member.id).version);
  if (record.cluster_version < known)
    violate("no progress after the faults: the version is not raised" + describe());
  for (const Member& member : record.members) {
    const SimNode& node = at(member.id);
    const std::string who = "node " + std::to_string(node.id.value);
    const std::string problem = node.core->state().problem;
    if (member.joining)
      violate("no progress after the faults: " + who + " still joins" + describe());
    if (golden_.empty() || node.log.durable_batches < golden_.size())
      violate("no progress after the faults: " + who + " has " +
              std::to_string(node.log.durable_batches) + " of " + std::to_string(golden_.size()) +
              " batches; " + problem + describe());
    else if (node.log.batches()[golden_.size() - 1].chain != golden_.back().chain)
      violate(who + " differs from the committed log");
    else if (node.committed < golden_.back().end())
      violate("no progress after the faults: " + who + " does not know what is committed");
    else if (member.voter && node.promise.vote != Vote::kFull)
      violate("no progress after the faults: " + who + " has no full vote");
    else if (member.voter && member.incarnation != 0 &&
             member.incarnation != node.promise.incarnation)
      violate("no progress after the faults: the vote of " + who + " is another disk's" +
              describe());
  }
}

}  // namespace tailrace::simulation
