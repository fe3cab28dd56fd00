#include "rpc/wire/status_codec.h"

#include "rpc/wire/message.h"

namespace tailrace::rpc {
namespace {

capnp::Text::Reader to_text(const std::string& text) {
  return {text.c_str(), text.size()};
}

void write_copy(const NodeStatusAnswer::Copy& copy, wire::StateCopy::Builder to) {
  to.setStage(to_text(copy.stage));
  to.setFrom(copy.from.value);
  to.setReceived(copy.received);
  to.setBytes(copy.bytes);
  to.setProblem(to_text(copy.problem));
}

NodeStatusAnswer::Copy read_copy(wire::StateCopy::Reader from) {
  return {.stage = to_string(from.getStage()),
          .problem = to_string(from.getProblem()),
          .from = NodeId{from.getFrom()},
          .received = from.getReceived(),
          .bytes = from.getBytes()};
}

void write_follower(const NodeStatusAnswer::Follower& follower, wire::Follower::Builder to) {
  to.setNode(follower.node.value);
  to.setVoter(follower.voter);
  to.setVote(static_cast<uint8_t>(follower.vote));
  to.setConnected(follower.connected);
  to.setRelayedBy(follower.relayed_by.value);
  to.setNeedsCheckpoint(follower.needs_checkpoint);
  to.setDurable(follower.durable.value);
  to.setApplied(follower.applied.value);
  to.setLagBytes(follower.lag_bytes);
  to.setLagSeconds(follower.lag_seconds);
  to.setUnhealthy(to_text(follower.unhealthy));
  to.setLastCompared(follower.last_compared.value);
}

NodeStatusAnswer::Follower read_follower(wire::Follower::Reader from) {
  return {.node = NodeId{from.getNode()},
          .voter = from.getVoter(),
          .vote = vote_of(from.getVote()),
          .connected = from.getConnected(),
          .needs_checkpoint = from.getNeedsCheckpoint(),
          .relayed_by = NodeId{from.getRelayedBy()},
          .durable = Address{from.getDurable()},
          .applied = Address{from.getApplied()},
          .lag_bytes = from.getLagBytes(),
          .lag_seconds = from.getLagSeconds(),
          .unhealthy = to_string(from.getUnhealthy()),
          .last_compared = Address{from.getLastCompared()}};
}

void write_member(const NodeStatusAnswer::Member& member, wire::Member::Builder to) {
  to.setNode(member.node.value);
  to.setVoter(member.voter);
  to.setJoining(member.joining);
  to.setPeerAddress(to_text(member.peer_address));
  to.setClientAddress(to_text(member.client_address));
}

NodeStatusAnswer::Member read_member(wire::Member::Reader from) {
  return {.node = NodeId{from.getNode()},
          .voter = from.getVoter(),
          .joining = from.getJoining(),
          .peer_address = to_string(from.getPeerAddress()),
          .client_address = to_string(from.getClientAddress())};
}

// The log and the store.

void write_stores(const NodeStatusAnswer& status, wire::Status::Builder to) {
  to.setBegin(status.begin.value);
  to.setCheckpointed(status.checkpointed.value);
  to.setApplied(status.applied.value);
  to.setCommitted(status.committed.value);
  to.setDurable(status.durable.value);
  to.setTail(status.tail.value);
  to.setLogDiskBytes(status.log_disk_bytes);
  to.setStoreUsedBytes(status.store_used_bytes);
  to.setStoreCapacityBytes(status.store_capacity_bytes);
  to.setLiveRecords(status.live_records);
  to.setStoreLogBegin(status.store_log.begin);
  to.setStoreLogHead(status.store_log.head);
  to.setStoreLogReadOnly(status.store_log.read_only);
  to.setStoreLogTail(status.store_log.tail);
  to.setLogTimeNs(status.log_time_ns);
}

void read_stores(wire::Status::Reader from, NodeStatusAnswer& status) {
  status.begin = Address{from.getBegin()};
  status.checkpointed = Address{from.getCheckpointed()};
  status.applied = Address{from.getApplied()};
  status.committed = Address{from.getCommitted()};
  status.durable = Address{from.getDurable()};
  status.tail = Address{from.getTail()};
  status.log_disk_bytes = from.getLogDiskBytes();
  status.store_used_bytes = from.getStoreUsedBytes();
  status.store_capacity_bytes = from.getStoreCapacityBytes();
  status.live_records = from.getLiveRecords();
  status.store_log = {.begin = from.getStoreLogBegin(),
                      .head = from.getStoreLogHead(),
                      .read_only = from.getStoreLogReadOnly(),
                      .tail = from.getStoreLogTail()};
  status.log_time_ns = from.getLogTimeNs();
}

template <typename All>
unsigned count_of(const All& all) {
  return static_cast<unsigned>(all.size());
}

void write_stages(const NodeStatusAnswer::Activity& activity, wire::Activity::Builder to) {
  auto bounds = to.initStageBoundsSeconds(count_of(activity.stage_bounds_s));
  for (unsigned i = 0; i < bounds.size(); ++i)
    bounds.set(i, activity.stage_bounds_s[i]);
  auto stages = to.initStages(count_of(activity.stages));
  for (unsigned i = 0; i < stages.size(); ++i) {
    const NodeStatusAnswer::Activity::Stage& stage = activity.stages[i];
    stages[i].setName(to_text(stage.name));
    auto counts = stages[i].initCounts(count_of(stage.counts));
    for (unsigned j = 0; j < counts.size(); ++j)
      counts.set(j, stage.counts[j]);
    stages[i].setSumSeconds(stage.sum_s);
  }
}

void read_stages(wire::Activity::Reader from, NodeStatusAnswer::Activity& activity) {
  for (const double bound : from.getStageBoundsSeconds())
    activity.stage_bounds_s.push_back(bound);
  for (const auto one : from.getStages()) {
    NodeStatusAnswer::Activity::Stage stage{
        .name = to_string(one.getName()), .counts = {}, .sum_s = one.getSumSeconds()};
    for (const uint64_t count : one.getCounts())
      stage.counts.push_back(count);
    activity.stages.push_back(std::move(stage));
  }
}

void write_activity(const NodeStatusAnswer::Activity& activity, wire::Activity::Builder to) {
  to.setUptimeSeconds(activity.uptime_s);
  to.setCpuSeconds(activity.cpu_s);
  to.setResidentBytes(activity.resident_bytes);
  to.setDiskFreeBytes(activity.disk_free_bytes);
  to.setDiskCapacityBytes(activity.disk_capacity_bytes);
  to.setWrites(activity.writes);
  to.setReads(activity.reads);
  to.setEvents(activity.events);
  to.setRecordBytes(activity.record_bytes);
  to.setRefused(activity.refused);
  to.setNotLeader(activity.not_leader);
  to.setFailed(activity.failed);
  to.setInFlight(activity.in_flight);
  to.setConnections(activity.connections);
  to.setTails(activity.tails);
  write_stages(activity, to);
}

NodeStatusAnswer::Activity read_activity(wire::Activity::Reader from) {
  NodeStatusAnswer::Activity activity;
  activity.uptime_s = from.getUptimeSeconds();
  activity.cpu_s = from.getCpuSeconds();
  activity.resident_bytes = from.getResidentBytes();
  activity.disk_free_bytes = from.getDiskFreeBytes();
  activity.disk_capacity_bytes = from.getDiskCapacityBytes();
  activity.writes = from.getWrites();
  activity.reads = from.getReads();
  activity.events = from.getEvents();
  activity.record_bytes = from.getRecordBytes();
  activity.refused = from.getRefused();
  activity.not_leader = from.getNotLeader();
  activity.failed = from.getFailed();
  activity.in_flight = from.getInFlight();
  activity.connections = from.getConnections();
  activity.tails = from.getTails();
  read_stages(from, activity);
  return activity;
}

}  // namespace

void write_status(const NodeStatusAnswer& status, wire::Status::Builder to) {
  to.setNode(status.node.value);
  to.setRole(to_text(status.role));
  to.setProblem(to_text(status.problem));
  write_copy(status.copy, to.initCopy());
  to.setEpoch(status.epoch.value);
  to.setLeader(status.leader.value);
  to.setSource(status.source.value);
  to.setLeaderAddress(to_text(status.leader_address));
  to.setServing(status.serving);
  write_stores(status, to);
  to.setVote(static_cast<uint8_t>(status.vote));
  to.setCoordinator(to_text(status.coordinator));
  to.setUnhealthy(to_text(status.unhealthy));
  to.setDiverged(status.diverged);
  to.setLastCompared(status.last_compared.value);
  auto followers = to.initFollowers(count_of(status.followers));
  for (unsigned i = 0; i < followers.size(); ++i)
    write_follower(status.followers[i], followers[i]);
  auto members = to.initMembers(count_of(status.members));
  for (unsigned i = 0; i < members.size(); ++i)
    write_member(status.members[i], members[i]);
  to.setMembersInLog(status.members_in_log);
  to.setRemoved(status.removed);
  to.setClusterVersion(status.cluster_version);
  to.setNextVersion(status.next_version);
  to.setNextVersionInMs(status.next_version_in_ms);
  to.setClusterIdentity(to_text(status.cluster_identity));
  auto anchors = to.initAnchors(count_of(status.anchors));
  for (unsigned i = 0; i < anchors.size(); ++i) {
    anchors[i].setName(to_text(status.anchors[i].first));
    anchors[i].setAddress(status.anchors[i].second.value);
  }
  if (status.activity) write_activity(*status.activity, to.initActivity());
  if (!status.last_failure) return;
  auto failure = to.initLastFailure();
  failure.setUnixTimeNs(status.last_failure->unix_time_ns);
  failure.setReason(to_text(status.last_failure->reason));
  failure.setMessage(to_text(status.last_failure->message));
}

NodeStatusAnswer read_status(wire::Status::Reader from) {
  NodeStatusAnswer status;
  status.node = NodeId{from.getNode()};
  status.role = to_string(from.getRole());
  status.problem = to_string(from.getProblem());
  status.copy = read_copy(from.getCopy());
  status.epoch = Epoch{from.getEpoch()};
  status.leader = NodeId{from.getLeader()};
  status.source = NodeId{from.getSource()};
  status.leader_address = to_string(from.getLeaderAddress());
  status.serving = from.getServing();
  read_stores(from, status);
  status.vote = vote_of(from.getVote());
  status.coordinator = to_string(from.getCoordinator());
  status.unhealthy = to_string(from.getUnhealthy());
  status.diverged = from.getDiverged();
  status.last_compared = Address{from.getLastCompared()};
  for (const auto one : from.getFollowers())
    status.followers.push_back(read_follower(one));
  for (const auto one : from.getMembers())
    status.members.push_back(read_member(one));
  status.members_in_log = from.getMembersInLog();
  status.removed = from.getRemoved();
  status.cluster_version = from.getClusterVersion();
  status.next_version = from.getNextVersion();
  status.next_version_in_ms = from.getNextVersionInMs();
  status.cluster_identity = to_string(from.getClusterIdentity());
  for (const auto one : from.getAnchors())
    status.anchors.emplace_back(to_string(one.getName()), Address{one.getAddress()});
  if (from.hasActivity()) status.activity = read_activity(from.getActivity());
  if (from.hasLastFailure()) {
    const auto failure = from.getLastFailure();
    status.last_failure = {failure.getUnixTimeNs(), to_string(failure.getReason()),
                           to_string(failure.getMessage())};
  }
  return status;
}

}  // namespace tailrace::rpc
