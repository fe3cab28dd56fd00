#include "rpc/server/status_answer.h"

#include "rpc/server/withheld.h"

namespace tailrace::rpc {
namespace {

/// The worst first: one is shown.
std::string problem_of(const ServerDependencies& to, const replication::NodeStatus& now) {
  if (!now.problem.empty()) return now.problem;
  if (const auto failure = to.log->failure()) return failure->message;
  if (const auto failure = to.state_machine->failure()) return failure->message;
  if (!now.disagreement.empty()) return now.disagreement;
  if (!now.store_full.empty()) return now.store_full;
  return now.no_leader;
}

void fill_stores(const ServerDependencies& to, NodeStatusAnswer& answer) {
  const statemachine::WatermarkSnapshot marks = to.watermarks->snapshot();
  answer.begin = marks.begin;
  answer.checkpointed = marks.checkpointed;
  answer.applied = marks.applied;
  answer.committed = marks.committed;
  answer.durable = marks.durable;
  answer.tail = marks.tail;
  answer.log_disk_bytes = to.log->disk_bytes();
  const statemachine::StoreStatus store = to.state_machine->store_status();
  answer.store_used_bytes = store.used_bytes;
  answer.store_capacity_bytes = store.capacity_bytes;
  answer.live_records = store.live_records;
  answer.store_log = {.begin = store.log.begin,
                      .head = store.log.head,
                      .read_only = store.log.read_only,
                      .tail = store.log.tail};
  answer.log_time_ns = to.state_machine->log_time_ns();
  answer.anchors = to.anchors->all();
}

NodeStatusAnswer::Follower follower_of(const replication::FollowerStatus& from,
                                       const std::string& data_directory) {
  return {.node = from.id,
          .voter = from.voter,
          .vote = from.vote,
          .connected = from.connected,
          .needs_checkpoint = from.needs_checkpoint,
          .relayed_by = from.relayed_by,
          .durable = from.durable,
          .applied = from.applied,
          .lag_bytes = from.lag_bytes,
          .lag_seconds = from.lag_seconds,
          .unhealthy = without_folders(from.unhealthy, data_directory),
          .last_compared = from.last_compared};
}

}  // namespace

NodeStatusAnswer status_answer(const ServerDependencies& to, const replication::NodeStatus& now,
                               const std::string& data_directory) {
  const auto shown = [&](const std::string& message) {
    return without_folders(message, data_directory);
  };
  NodeStatusAnswer answer;
  answer.node = now.self;
  answer.role = name_of(now.role);
  answer.problem = shown(problem_of(to, now));
  answer.copy = {.stage = std::string(name_of(now.copy.stage)),
                 .problem = shown(now.copy.problem),
                 .from = now.copy.from,
                 .received = now.copy.received,
                 .bytes = now.copy.bytes};
  answer.epoch = now.epoch;
  answer.leader = now.leader;
  answer.source = now.source;
  answer.leader_address = now.leader_client_address;
  answer.serving = now.serving;
  fill_stores(to, answer);
  answer.vote = now.vote;
  answer.coordinator = now.coordinator.problem;
  answer.unhealthy = shown(now.unhealthy);
  answer.diverged = now.diverged;
  answer.last_compared = now.last_compared;
  for (const replication::FollowerStatus& follower : now.followers)
    answer.followers.push_back(follower_of(follower, data_directory));
  for (const replication::Member& member : now.members)
    answer.members.push_back({.node = member.id,
                              .voter = member.voter,
                              .joining = member.joining,
                              .peer_address = member.peer_address,
                              .client_address = member.client_address});
  answer.members_in_log = now.members_in_log;
  answer.removed = now.removed;
  answer.cluster_version = now.cluster_version;
  answer.next_version = now.next_version;
  answer.next_version_in_ms = static_cast<uint64_t>(now.next_version_in.count());
  answer.cluster_identity = text_of(now.identity);
  if (to.last_failure) answer.last_failure = to.last_failure();
  if (answer.last_failure) answer.last_failure->message = shown(answer.last_failure->message);
  return answer;
}

}  // namespace tailrace::rpc
