#include "app/top/problems.h"

#include <algorithm>
#include <iterator>
#include <map>

#include <fmt/format.h>

#include "app/top/followers.h"
#include "app/top/text.h"

namespace tailrace::app::top {
namespace {

constexpr double kLagSeconds = 10;       // from then on a follower is behind
constexpr double kFullStore = 0.9;       // of its capacity
constexpr double kLeastFreeDisk = 0.05;  // of the file system

bool is_copying(const Answer& answer) {
  return !answer.copy.stage.empty() && answer.copy.stage != "idle";
}

std::string name_of(const NodeRow& row) {
  return row.node == NodeId{} ? row.server : fmt::format("node {}", row.node.value);
}

bool is_voter(const Answer& leader, NodeId node) {
  const auto found = std::ranges::find(leader.members, node, &Answer::Member::node);
  return found != leader.members.end() && found->voter;
}

/// Problems that nodes told, and which nodes did: what several tell in the same words is said once.
using Told = std::map<std::string, std::vector<NodeId>>;

Told told_problems(const Snapshot& now) {
  Told told;
  for (const auto& [server, answer] : now.servers) {
    if (!answer || answer->problem.empty()) continue;
    std::vector<NodeId>& nodes = told[answer->problem];
    if (std::ranges::find(nodes, answer->node) == nodes.end()) nodes.push_back(answer->node);
  }
  for (auto& [problem, nodes] : told)
    std::ranges::sort(nodes);
  return told;
}

void add_told(const Answer& answer, const Told& told, std::vector<std::string>& to) {
  const auto found = told.find(answer.problem);
  if (found == told.end() || found->second.front() != answer.node) return;
  std::string nodes = found->second.size() > 1 ? "nodes" : "node";
  for (const NodeId node : found->second)
    nodes += fmt::format("{} {}", node == answer.node ? "" : ",", node.value);
  to.push_back(nodes + ": " + answer.problem);
}

/// What the node says of itself.
void add_own(const Answer& answer, const Told& told, std::vector<std::string>& to) {
  const auto add = [&](const std::string& what) {
    to.push_back(fmt::format("node {}: {}", answer.node.value, what));
  };
  if (answer.removed) add("is not a member of the cluster any more");
  if (answer.diverged) add("its state differs from the cluster's");
  if (!answer.unhealthy.empty()) add("answers no reads: " + answer.unhealthy);
  add_told(answer, told, to);
  if (!answer.coordinator.empty()) add("the coordinator cannot be asked: " + answer.coordinator);
  if (answer.role == "leader" && !answer.serving) add("leads and does not serve yet");
  if (is_copying(answer))
    add(fmt::format("copies the state of node {}: {}, {} of {}{}{}", answer.copy.from.value,
                    answer.copy.stage, short_bytes(answer.copy.received),
                    short_bytes(answer.copy.bytes), answer.copy.problem.empty() ? "" : "; ",
                    answer.copy.problem));
}

/// What its leader says of it.
void add_of_follower(const Answer& leader, const NodeRow& row, std::vector<std::string>& to) {
  const Answer::Follower* follower = find_follower(&leader, row.node);
  if (follower == nullptr) return;
  const auto add = [&](const std::string& what) {
    to.push_back(fmt::format("node {}: {}", row.node.value, what));
  };
  if (follower->needs_checkpoint) add("the leader has no longer the log that it needs next");
  if (row.answered && !follower->connected) add("is not connected to the leader");
  if (follower->connected && follower->vote == Vote::kNone && is_voter(leader, row.node))
    add("has no vote yet");
  if (!follower->unhealthy.empty()) add("unhealthy, says the leader: " + follower->unhealthy);
  if (follower->connected && is_position_known(*follower) && follower->lag_seconds > kLagSeconds)
    add(fmt::format("is behind the leader by {} and {}", short_time(follower->lag_seconds),
                    short_bytes(follower->lag_bytes)));
}

/// What runs out.
void add_room(const NodeRow& row, std::vector<std::string>& to) {
  const double used = static_cast<double>(row.store_used_bytes.value_or(0));
  const double capacity = static_cast<double>(row.store_capacity_bytes.value_or(0));
  if (capacity > 0 && used >= kFullStore * capacity)
    to.push_back(
        fmt::format("node {}: its store is {:.0f}% full", row.node.value, 100 * used / capacity));
  const double free = static_cast<double>(row.disk_free_bytes.value_or(0));
  const double disk = static_cast<double>(row.disk_capacity_bytes.value_or(0));
  if (disk > 0 && free < kLeastFreeDisk * disk)
    to.push_back(fmt::format("node {}: its disk has {} left of {}", row.node.value,
                             short_bytes(*row.disk_free_bytes),
                             short_bytes(*row.disk_capacity_bytes)));
}

void add_of_cluster(const Snapshot& now, std::vector<std::string>& to) {
  std::map<std::string, std::string> identities;  // and a server that says so
  bool answered = false;
  const Answer* leader = find_leader(now);
  if (leader != nullptr && lacks_majority(*leader)) to.emplace_back(kNoMajority);
  for (const auto& [server, answer] : now.servers) {
    if (!answer) continue;
    answered = true;
    if (!answer->cluster_identity.empty()) identities.emplace(answer->cluster_identity, server);
  }
  if (!answered) to.emplace_back("no server answers");
  if (answered && leader == nullptr) to.emplace_back("no node serves as the leader");
  if (identities.size() > 1) {
    std::string all;
    for (const auto& [identity, server] : identities)
      all += fmt::format("{}{} at {}", all.empty() ? "" : ", ", identity.substr(0, 8), server);
    to.push_back("these servers are of different clusters: " + all);
  }
}

std::string no_answer(const Snapshot& now, const NodeRow& row) {
  if (!row.asked)
    return name_of(row) + ": not asked; if it is a member, give its address by --server";
  const auto found = std::ranges::find_if(
      now.servers, [&](const auto& one) { return one.first == row.server && !one.second; });
  if (found == now.servers.end()) return name_of(row) + ": no answer";
  const std::string& why = found->second.error().message;
  return fmt::format("{}: {}{}", name_of(row),
                     why.starts_with("no answer") ? "" : "no answer: ", why);
}

}  // namespace

const Answer* find_leader(const Snapshot& snapshot) {
  const Answer* best = nullptr;
  for (const auto& [server, answer] : snapshot.servers)
    if (answer && answer->serving && (best == nullptr || answer->epoch > best->epoch))
      best = &*answer;
  return best;
}

const Answer::Follower* find_follower(const Answer* leader, NodeId node) {
  if (leader == nullptr) return nullptr;
  const auto found = std::ranges::find(leader->followers, node, &Answer::Follower::node);
  return found == leader->followers.end() ? nullptr : &*found;
}

std::string health_of(const Answer& answer, const Answer* leader) {
  if (answer.removed) return "removed";
  if (answer.diverged) return "diverged";
  if (is_copying(answer)) return "copying";
  if (!answer.unhealthy.empty()) return "unhealthy";
  if (lacks_majority(answer)) return "no majority";
  if (!answer.problem.empty() || !answer.coordinator.empty()) return "problem";
  if (answer.role == "leader" && !answer.serving) return "not ready";
  const Answer::Follower* follower = find_follower(leader, answer.node);
  if (follower == nullptr) return "ok";
  if (!follower->connected) return "cut off";
  if (follower->needs_checkpoint) return "no log";
  return follower->unhealthy.empty() ? "ok" : "unhealthy";
}

std::vector<std::string> problems_of(const Snapshot& now, const View& view) {
  std::vector<std::string> problems;
  add_of_cluster(now, problems);
  for (const NodeRow& row : view.nodes)
    if (!row.answered) problems.push_back(no_answer(now, row));
  const Answer* leader = find_leader(now);
  const Told told = told_problems(now);
  for (const NodeRow& row : view.nodes) {
    const auto found = std::ranges::find_if(
        now.servers, [&](const auto& one) { return one.second && one.first == row.server; });
    if (found != now.servers.end()) add_own(*found->second, told, problems);
    if (leader != nullptr) add_of_follower(*leader, row, problems);
    add_room(row, problems);
  }
  std::ranges::copy(now.left_out, std::back_inserter(problems));
  return problems;
}

}  // namespace tailrace::app::top
