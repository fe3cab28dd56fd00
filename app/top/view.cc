#include "app/top/view.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "app/top/followers.h"
#include "app/top/problems.h"

namespace tailrace::app::top {
namespace {

using Activity = Answer::Activity;

const Answer* find_node(const Snapshot* snapshot, NodeId node) {
  if (snapshot == nullptr || node == NodeId{}) return nullptr;
  for (const auto& [server, answer] : snapshot->servers)
    if (answer && answer->node == node) return &*answer;
  return nullptr;
}

/// Two readings of one process, and the time between them.
struct Between {
  const Answer* before = nullptr;  // null: nothing can be compared
  double seconds = 0;

  /// Null: it does not tell.
  const Activity* activity() const {
    return before != nullptr && before->activity ? &*before->activity : nullptr;
  }
};

double seconds_between(SteadyTime from, SteadyTime to) {
  return std::chrono::duration<double>(to - from).count();
}

/// Whether a server that says that it ran for so many seconds between two polls may be one process.
/// It counted somewhere within each poll. A server that was started anew can say more than before,
/// where the one before was young.
bool is_one_process(const Snapshot& before, const Snapshot& now, double seconds) {
  constexpr double kToleranceSeconds = 1, kDrift = 0.001;  // of the clocks of two hosts
  const double least = seconds_between(before.at, now.began);
  const double most = seconds_between(before.began, now.at);
  const double tolerance = kToleranceSeconds + kDrift * most;
  return seconds > 0 && seconds >= least - tolerance && seconds <= most + tolerance;
}

Between between(const Snapshot* before, const Snapshot& now, const Answer& answer) {
  const Answer* earlier = find_node(before, answer.node);
  if (before == nullptr || earlier == nullptr) return {};
  Between both{earlier, seconds_between(before->at, now.at)};
  // The servers' own time says when they counted.
  if (earlier->activity && answer.activity) {
    both.seconds = answer.activity->uptime_s - earlier->activity->uptime_s;
    if (!is_one_process(*before, now, both.seconds)) return {};
  }
  if (!(both.seconds > 0)) return {};
  return both;
}

Rates rates_of(const Activity& before, const Activity& now, double seconds) {
  Rates rates;
  rates.writes = rate(before.writes, now.writes, seconds);
  rates.reads = rate(before.reads, now.reads, seconds);
  rates.events = rate(before.events, now.events, seconds);
  rates.record_bytes = rate(before.record_bytes, now.record_bytes, seconds);
  const Figure refused = rate(before.refused, now.refused, seconds);
  const Figure failed = rate(before.failed, now.failed, seconds);
  if (refused && failed) rates.errors = *refused + *failed;
  return rates;
}

void fill_activity(const Between& both, const Activity& now, NodeRow& row) {
  row.in_flight = now.in_flight;
  row.connections = now.connections;
  row.tails = now.tails;
  row.resident_bytes = now.resident_bytes;
  row.uptime_s = now.uptime_s;
  if (now.disk_capacity_bytes > 0) {
    row.disk_free_bytes = now.disk_free_bytes;
    row.disk_capacity_bytes = now.disk_capacity_bytes;
  }
  const Activity* before = both.activity();
  if (before == nullptr) return;
  row.rates = rates_of(*before, now, both.seconds);
  const double used = now.cpu_s - before->cpu_s;
  if (used >= 0) row.cpu_share = used / both.seconds;
}

void fill_lag(const Answer* leader, NodeRow& row) {
  const Answer::Follower* follower = find_follower(leader, row.node);
  if (follower == nullptr || !is_position_known(*follower)) return;
  row.lag_bytes = follower->lag_bytes;
  row.lag_s = follower->lag_seconds;
}

NodeRow row_of(const Answer& answer, const std::string& server, const Between& both,
               const Answer* leader) {
  NodeRow row;
  row.node = answer.node;
  row.server = server;
  row.answered = true;
  row.role = answer.role;
  row.health = health_of(answer, leader);
  row.is_well = row.health == "ok";
  row.vote = name_of(answer.vote);
  fill_lag(leader, row);
  row.begin = answer.begin;
  row.checkpointed = answer.checkpointed;
  row.applied = answer.applied;
  row.committed = answer.committed;
  row.durable = answer.durable;
  row.tail = answer.tail;
  row.store_used_bytes = answer.store_used_bytes;
  row.store_capacity_bytes = answer.store_capacity_bytes;
  row.live_records = answer.live_records;
  if (both.before != nullptr)
    row.applied_bytes = rate(both.before->applied.value, answer.applied.value, both.seconds);
  if (answer.activity) fill_activity(both, *answer.activity, row);
  return row;
}

/// Of a server that does not answer, or of a member that was not asked.
NodeRow silent_row(NodeId node, const std::string& server, bool asked, const Answer* leader) {
  NodeRow row;
  row.node = node;
  row.server = server;
  row.asked = asked;
  row.health = asked ? "no answer" : "not asked";
  fill_lag(leader, row);
  return row;
}

/// Who knows the members: the leader, else the one whose log is longest.
const Answer* best_of(const Snapshot& snapshot) {
  if (const Answer* leader = find_leader(snapshot)) return leader;
  const Answer* best = nullptr;
  for (const auto& [server, answer] : snapshot.servers)
    if (answer && (best == nullptr || answer->durable > best->durable)) best = &*answer;
  return best;
}

std::vector<NodeRow> rows_of(const Snapshot* before, const Snapshot& now) {
  const Answer* leader = find_leader(now);
  const Answer* best = best_of(now);
  std::vector<NodeRow> rows;
  std::set<NodeId> shown;
  for (const auto& [server, answer] : now.servers)
    if (answer && (answer->node == NodeId{} || shown.insert(answer->node).second))
      rows.push_back(row_of(*answer, server, between(before, now, *answer), leader));
  std::set<std::string> silent;
  std::set<std::string> asked;
  for (const auto& [server, answer] : now.servers) {
    asked.insert(server);
    if (!answer) silent.insert(server);
  }
  if (best != nullptr)
    for (const Answer::Member& member : best->members) {
      // Under another name it has answered.
      silent.erase(shown.contains(member.node) ? member.client_address : std::string{});
      if (!shown.insert(member.node).second) continue;
      silent.erase(member.client_address);
      const std::string& server = member.client_address;
      rows.push_back(silent_row(member.node, server, asked.contains(server), leader));
    }
  for (const std::string& server : silent)
    rows.push_back(silent_row(NodeId{}, server, true, nullptr));
  std::ranges::stable_sort(
      rows, {}, [](const NodeRow& row) { return std::pair(row.node == NodeId{}, row.node.value); });
  return rows;
}

void add_to(Figure& sum, const Figure& one) {
  if (one) sum = sum.value_or(0) + *one;
}

/// Nothing of what the leader does not tell: the others' part alone would be wrong.
Rates sum_of(const std::vector<NodeRow>& rows, NodeId leader) {
  Rates sum;
  for (const NodeRow& row : rows) {
    if (row.node == leader && row.node != NodeId{} && !row.rates.writes) return {};
    add_to(sum.writes, row.rates.writes);
    add_to(sum.reads, row.rates.reads);
    add_to(sum.events, row.rates.events);
    add_to(sum.errors, row.rates.errors);
    add_to(sum.record_bytes, row.rates.record_bytes);
  }
  return sum;
}

Number sum_of(const std::vector<uint64_t>& before, const std::vector<uint64_t>& now) {
  if (before.size() != now.size()) return std::nullopt;
  uint64_t sum = 0;
  for (size_t i = 0; i < now.size(); ++i) {
    const Number more = increase(before[i], now[i]);
    if (!more) return std::nullopt;
    sum += *more;
  }
  return sum;
}

std::vector<StageRow> stages_of(const Between& both, const Activity& now) {
  std::vector<StageRow> rows;
  for (const Activity::Stage& stage : now.stages) {
    StageRow row{stage.name, {}, {}, {}};
    if (const Activity* before = both.activity()) {
      const auto same = std::ranges::find(before->stages, stage.name, &Activity::Stage::name);
      if (same != before->stages.end() && before->stage_bounds_s == now.stage_bounds_s) {
        if (const Number more = sum_of(same->counts, stage.counts))
          row.rate = static_cast<double>(*more) / both.seconds;
        row.p50 = quantile(now.stage_bounds_s, same->counts, stage.counts, 0.5);
        row.p99 = quantile(now.stage_bounds_s, same->counts, stage.counts, 0.99);
      }
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

uint64_t distance(Address from, Address to) {
  return to > from ? to - from : 0;
}

std::optional<Truncation> truncation_of(const Answer& answer) {
  auto anchors = answer.anchors;
  if (anchors.empty()) return std::nullopt;
  std::ranges::stable_sort(anchors, {}, [](const auto& anchor) { return anchor.second; });
  Truncation held;
  held.node = answer.node;
  held.address = anchors[0].second;
  held.below_applied_bytes = distance(held.address, answer.applied);
  for (const auto& [name, address] : anchors) {
    if (address == held.address) {
      held.anchors.push_back(name);
    } else {
      held.next = name;
      held.below_next_bytes = address - held.address;
      break;
    }
  }
  return held;
}

}  // namespace

View view_of(const Snapshot* before, const Snapshot& now) {
  View view;
  view.unix_time_ms = now.unix_time_ms;
  view.nodes = rows_of(before, now);
  bool first = true;
  for (const NodeRow& row : view.nodes) {
    if (!row.answered) continue;
    view.begin = first ? row.begin : std::min(view.begin, row.begin);
    view.tail = std::max({view.tail, row.tail, row.begin});
    first = false;
  }
  if (const Answer* leader = find_leader(now)) {
    view.leader = leader->node;
    if (leader->activity) view.stages = stages_of(between(before, now, *leader), *leader->activity);
  }
  if (const Answer* best = best_of(now)) {
    view.identity = best->cluster_identity;
    view.epoch = best->epoch;
    view.version = best->cluster_version;
    view.truncation = truncation_of(*best);
  }
  view.rates = sum_of(view.nodes, view.leader);
  view.problems = problems_of(now, view);
  return view;
}

}  // namespace tailrace::app::top
