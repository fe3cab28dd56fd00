#pragma once
// A made-up cluster, as its servers would describe it.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "app/top/snapshot.h"

namespace tailrace::app::top {

using Answer = rpc::NodeStatusAnswer;

inline std::string server_of(uint32_t node) {
  return "10.0.0." + std::to_string(node) + ":7100";
}

/// What stands in the log of every node at a moment.
struct Moment {
  double second = 0;    // since all began
  uint64_t begin = 64;  // of the logs
  uint64_t tail = 0;    // of the leader's; the others are a little behind
  uint64_t writes = 0;  // since the start of the leader
  uint64_t slow = 0;    // writes that took long
};

inline Answer::Activity activity_at(const Moment& at, bool leads) {
  Answer::Activity activity;
  activity.uptime_s = 3600 + at.second;
  activity.cpu_s = leads ? 100 + 0.4 * at.second : 50 + 0.1 * at.second;
  activity.resident_bytes = (leads ? 210u : 150u) << 20;
  activity.disk_free_bytes = uint64_t{52} << 30;
  activity.disk_capacity_bytes = uint64_t{100} << 30;
  activity.connections = leads ? 12 : 1;
  activity.tails = leads ? 2 : 0;
  activity.in_flight = leads ? 37 : 0;
  activity.reads = at.writes / 4;
  if (leads) {
    activity.writes = at.writes;
    activity.events = at.writes * 3;
    activity.record_bytes = at.tail;
  }
  activity.stage_bounds_s = {0.0001, 0.001, 0.01, 0.1};
  for (const char* name : {"held", "enqueue", "flush", "commit", "apply", "answer"})
    activity.stages.push_back({name, {0, 0, 0, 0, 0}, 0});
  if (leads) {
    activity.stages[1].counts = {at.writes, 0, 0, 0, 0};
    activity.stages[2].counts = {0, at.writes, at.slow, 0, 0};
    activity.stages[3].counts = {0, at.writes, 0, at.slow, 0};
    activity.stages[4].counts = {at.writes, at.slow, 0, 0, 0};
    activity.stages[5].counts = {at.writes, 0, 0, 0, at.slow};
  }
  return activity;
}

inline Answer node_at(uint32_t node, const Moment& at, uint32_t nodes = 3) {
  Answer answer;
  const bool leads = node == 1;
  const uint64_t used = at.tail - at.begin;
  answer.node = NodeId{node};
  answer.address = server_of(node);
  answer.role = leads ? "leader" : "follower";
  answer.serving = leads;
  answer.epoch = Epoch{3};
  answer.leader = NodeId{1};
  answer.leader_address = server_of(1);
  answer.vote = Vote::kFull;
  answer.begin = Address{at.begin};
  answer.checkpointed = Address{at.begin + used / 2};
  answer.tail = Address{leads ? at.tail : at.tail - used / 16};
  answer.durable = Address{at.tail - used / 16};
  answer.committed = Address{at.tail - used / 8};
  answer.applied = Address{at.tail - used / 16 * std::min(1 + node, 7u)};
  answer.store_used_bytes = uint64_t{120} << 20;
  answer.store_capacity_bytes = uint64_t{1} << 30;
  answer.live_records = 41'000;
  answer.cluster_version = 5;
  answer.cluster_identity = "0123456789abcdef0123456789abcdef";
  answer.activity = activity_at(at, leads);
  for (uint32_t i = 1; i <= nodes; ++i)
    answer.members.push_back({NodeId{i}, true, false, "", server_of(i)});
  answer.anchors = {{"checkpoint", answer.checkpointed}};
  if (!leads) return answer;
  for (uint32_t i = 2; i <= nodes; ++i) {
    answer.followers.push_back({});
    Answer::Follower& follower = answer.followers.back();
    follower.node = NodeId{i};
    follower.vote = Vote::kFull;
    follower.connected = true;
    follower.durable = answer.durable;
    follower.lag_bytes = 1000 * i;
    follower.lag_seconds = 0.004 * i;
    answer.anchors.emplace_back("follower:" + std::to_string(i),
                                Address{at.begin + used / 4 * (i - 1)});
  }
  return answer;
}

inline Snapshot cluster_at(const Moment& at, uint32_t nodes = 3) {
  Snapshot snapshot;
  snapshot.at = SteadyTime(std::chrono::milliseconds(static_cast<int64_t>(at.second * 1000)));
  snapshot.began = snapshot.at;
  snapshot.unix_time_ms = 1'700'000'000'000 + static_cast<int64_t>(at.second * 1000);
  for (uint32_t i = 1; i <= nodes; ++i)
    snapshot.servers.emplace_back(server_of(i), node_at(i, at, nodes));
  return snapshot;
}

inline void silence(Snapshot& snapshot, size_t index, const std::string& why) {
  snapshot.servers[index].second = make_error(ErrorCode::kUnavailable, why);
}

/// A second in which 1,200 writes were answered, and a hundredth of them took long.
inline constexpr Moment kBefore{10, 64, 12'000'000, 5000, 50};
inline constexpr Moment kNow{11, 64, 13'000'000, 6200, 62};

}  // namespace tailrace::app::top
