#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"
#include "app/cli/utc_text.h"
#include "app/cli/verbs.h"
#include "app/top/followers.h"
#include "app/verbs/member_json.h"
#include "core/cluster_version.h"
#include "fasterlog/log.h"

namespace tailrace::app {

namespace {

struct StatusOptions {
  ClientFlags client;
  bool json = false, only_named = false;
};

/// 0 is no time, but that of a node that knows none yet.
nlohmann::json time_json(uint64_t unix_time_ns) {
  return unix_time_ns == 0 ? nlohmann::json() : nlohmann::json(unix_time_ns);
}

nlohmann::json to_json(const rpc::NodeStatusAnswer& node) {
  nlohmann::json out = {{"node", node.node.value},
                        {"server", node.address},
                        {"role", node.role},
                        {"epoch", node.epoch.value},
                        {"serving", node.serving},
                        {"vote", name_of(node.vote)},
                        {"coordinator_problem", node.coordinator},
                        {"leader", node.leader.value},
                        {"source", node.source.value},
                        {"leader_address", node.leader_address},
                        {"begin", node.begin.value},
                        {"checkpointed", node.checkpointed.value},
                        {"applied", node.applied.value},
                        {"committed", node.committed.value},
                        {"durable", node.durable.value},
                        {"tail", node.tail.value},
                        {"log_disk_bytes", node.log_disk_bytes},
                        {"store_used_bytes", node.store_used_bytes},
                        {"store_capacity_bytes", node.store_capacity_bytes},
                        {"live_records", node.live_records},
                        {"store_log",
                         {{"begin", node.store_log.begin},
                          {"head", node.store_log.head},
                          {"read_only", node.store_log.read_only},
                          {"tail", node.store_log.tail}}},
                        {"log_time_ns", time_json(node.log_time_ns)},
                        {"problem", node.problem},
                        {"healthy", node.unhealthy.empty()},
                        {"unhealthy", node.unhealthy},
                        {"diverged", node.diverged},
                        {"last_compared", node.last_compared.value}};
  if (!node.copy.stage.empty() && node.copy.stage != "idle") {
    out["state_copy"] = {{"stage", node.copy.stage},
                         {"from", node.copy.from.value},
                         {"received", node.copy.received},
                         {"bytes", node.copy.bytes},
                         {"problem", node.copy.problem}};
  }
  out["members"] = members_json(node);
  out["removed"] = node.removed;
  out["cluster_version"] = node.cluster_version;
  if (node.next_version != 0)
    out["next_cluster_version"] = {{"version", node.next_version},
                                   {"in_ms", node.next_version_in_ms}};
  out["cluster_identity"] = node.cluster_identity;
  out["last_failure"] = nullptr;
  if (node.last_failure)
    out["last_failure"] = {{"unix_time_ns", node.last_failure->unix_time_ns},
                           {"reason", node.last_failure->reason},
                           {"message", node.last_failure->message}};
  out["anchors"] = nlohmann::json::object();
  for (const auto& [name, address] : node.anchors)
    out["anchors"][name] = address.value;
  if (node.role != "leader" && node.followers.empty()) return out;
  out["followers"] = nlohmann::json::array();
  for (const auto& follower : node.followers) {
    const bool known = top::is_position_known(follower);
    out["followers"].push_back(
        {{"node", follower.node.value},
         {"voter", follower.voter},
         {"vote", name_of(follower.vote)},
         {"connected", follower.connected},
         {"relayed_by", follower.relayed_by.value},
         {"needs_checkpoint", follower.needs_checkpoint},
         {"durable", follower.durable.value},
         {"applied", follower.applied.value},
         {"lag_bytes", known ? nlohmann::json(follower.lag_bytes) : nullptr},
         {"lag_seconds", known ? nlohmann::json(follower.lag_seconds) : nullptr},
         {"healthy", follower.unhealthy.empty()},
         {"unhealthy", follower.unhealthy},
         {"last_compared", follower.last_compared.value}});
  }
  return out;
}

/// Nothing where it is the newest that this program knows.
std::string version_text(const rpc::NodeStatusAnswer& node) {
  if (node.cluster_version == 0 || node.cluster_version >= kClusterVersion) return {};
  std::string text = fmt::format(", cluster version {}", node.cluster_version);
  if (node.next_version != 0)
    text += fmt::format(" (all nodes know {}, to which it goes over in {} s)", node.next_version,
                        (node.next_version_in_ms + 999) / 1000);
  return text;
}

std::string position_text(const rpc::NodeStatusAnswer::Follower& follower) {
  if (!top::is_position_known(follower)) return "position not known yet";
  return fmt::format("durable {}, behind by {} and {:.3f} s", follower.durable.value,
                     bytes_text(follower.lag_bytes), follower.lag_seconds);
}

void print_followers(const rpc::NodeStatusAnswer& node) {
  for (const auto& follower : node.followers) {
    print_out("  {} {}: {}, {}\n",
              !follower.voter                                      ? "learner"
              : follower.connected && follower.vote == Vote::kNone ? "follower without a vote yet"
                                                                   : "follower",
              follower.node.value,
              follower.needs_checkpoint ? "needs a checkpoint"
              : follower.connected      ? "connected"
                                        : "not connected",
              position_text(follower));
    if (follower.relayed_by != NodeId{})
      print_out("    fed by node {}\n", follower.relayed_by.value);
    if (!follower.unhealthy.empty())
      print_out("    unhealthy: {}\n", printable(follower.unhealthy));
  }
}

void print_text(const rpc::NodeStatusAnswer& node) {
  print_out("node {} at {}: {}, epoch {}{}{}\n", node.node.value, printable(node.address),
            printable(node.role), node.epoch.value,
            node.role == "leader" && !node.serving ? ", not serving yet" : "", version_text(node));
  print_out("  begin {}  checkpointed {}  applied {}  committed {}  durable {}  tail {}\n",
            node.begin.value, node.checkpointed.value, node.applied.value, node.committed.value,
            node.durable.value, node.tail.value);
  if (node.begin > fasterlog::kFirstAddress)
    print_out(
        "  events before address {} were truncated, but those of streams are in event files unless "
        "history.keep is none; state_machine.retention_bytes keeps more of the log\n",
        node.begin.value);
  print_out("  log {} on disk, store {} of {}, {} pairs\n", bytes_text(node.log_disk_bytes),
            bytes_text(node.store_used_bytes), bytes_text(node.store_capacity_bytes),
            node.live_records);
  print_out("  store's log: begin {}  in memory from {}  updated in place from {}  tail {}\n",
            node.store_log.begin, node.store_log.head, node.store_log.read_only,
            node.store_log.tail);
  if (top::lacks_majority(node)) print_out("  problem: {}\n", top::kNoMajority);
  print_followers(node);
  if (node.source != NodeId{} && node.source != node.leader)
    print_out("  fed by node {}, its upstream\n", node.source.value);
  if (node.last_compared != Address{})
    print_out("  state compared at {}\n", node.last_compared.value);
  if (!node.unhealthy.empty()) print_out("  unhealthy: {}\n", printable(node.unhealthy));
  if (!node.coordinator.empty()) print_out("  coordinator: {}\n", printable(node.coordinator));
  if (!node.problem.empty()) print_out("  problem: {}\n", printable(node.problem));
  if (node.last_failure)
    print_out("  last failure at {} ({}): {}\n", utc_text(node.last_failure->unix_time_ns),
              printable(node.last_failure->reason), printable(node.last_failure->message));
  if (!node.copy.stage.empty() && node.copy.stage != "idle") {
    print_out("  copies the state of node {}: {}, {} of {}{}{}\n", node.copy.from.value,
              printable(node.copy.stage), bytes_text(node.copy.received),
              bytes_text(node.copy.bytes), node.copy.problem.empty() ? "" : "; ",
              printable(node.copy.problem));
  }
}

int status(const StatusOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto servers = options.only_named ? (*client)->status() : (*client)->cluster_status();
  size_t left_of_named = options.client.client_options()->servers.size();
  int code = kDone;
  nlohmann::json array = nlohmann::json::array();
  for (const auto& [server, answer] : servers) {
    const bool named = left_of_named > 0;
    if (named) --left_of_named;
    if (!answer) {
      const int failed = report_answer(with_context(server, answer.error()));
      if (named) code = std::max(code, failed);
      array.push_back({{"server", server},
                       {"error", std::string(name_of(answer.error().code))},
                       {"message", answer.error().message}});
    } else if (options.json) {
      array.push_back(to_json(*answer));
    } else {
      print_text(*answer);
    }
  }
  if (options.json) print_out("{}\n", json_text(array, 2));
  const auto flushed = flush_output();
  return flushed ? code : report(flushed.error());
}

}  // namespace

void add_status_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb =
      app.add_subcommand("status",
                         "Prints where each --server stands (role, watermarks, followers), and "
                         "each other member that these name; one of --server "
                         "that does not answer makes the exit code 3");
  const auto options = std::make_shared<StatusOptions>();
  verb->add_flag("--json", options->json, "An array, one object a server; all sizes in bytes");
  verb->add_flag("--only-named", options->only_named, "Ask only the nodes that --server names");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = status(*options); });
}

}  // namespace tailrace::app
