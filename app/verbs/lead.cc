// `tailrace transfer` and `tailrace promote`: who leads is an operator's choice.
#include <chrono>
#include <string>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/client_options.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

constexpr std::chrono::milliseconds kLeadLook{20};

struct LeadOptions {
  ClientFlags client;
  NodeId node;
};

using Clock = std::chrono::steady_clock;

Clock::time_point deadline(const LeadOptions& options) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double>(options.client.timeout_s));
}

/// What keeps `node` from leading, as it says itself, and who does not answer.
std::string why_not(rpc::Client& client, NodeId node) {
  std::string why, silent;
  for (const auto& [server, answer] : client.cluster_status()) {
    if (!answer)
      silent += (silent.empty() ? "; no answer from " : ", ") + server;
    else if (answer->node == node && !answer->problem.empty())
      why = fmt::format("; node {} says: {}", node.value, answer->problem);
  }
  return why + silent;
}

/// Waits until `node` (0: anyone but `not_node`) serves as the leader, and says so.
int wait_until_served(rpc::Client& client, NodeId node, NodeId not_node, Clock::time_point until) {
  do {
    const auto leader = client.leader_status();
    if (leader && leader->node != not_node && (node == NodeId{} || leader->node == node)) {
      print_error("node {} at {} leads in epoch {}\n", leader->node.value,
                  printable(leader->leader_address), leader->epoch.value);
      return kDone;
    }
    std::this_thread::sleep_for(kLeadLook);
  } while (Clock::now() < until);
  const std::string who = node == NodeId{} ? "another node" : fmt::format("node {}", node.value);
  return report_answer(Error{ErrorCode::kTimedOut,
                             fmt::format("{} does not lead yet{}; it goes on trying, and `tailrace "
                                         "status` tells more",
                                         who, why_not(client, node))});
}

int transfer(const LeadOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto leader = (*client)->leader_status();
  if (!leader) return report_answer(leader.error());
  if (leader->node == options.node) {
    print_error("node {} leads already\n", leader->node.value);
    return kDone;
  }
  if (const auto handed = (*client)->transfer(options.node); !handed)
    return report_answer(handed.error());
  return wait_until_served(**client, options.node, leader->node, deadline(options));
}

int promote(const LeadOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  std::string at;
  for (const auto& [server, answer] : (*client)->cluster_status()) {
    if (!answer || answer->node != options.node) continue;
    if (answer->serving) {
      print_error("node {} leads already\n", options.node.value);
      return kDone;
    }
    if (at.empty()) at = server;
  }
  if (at.empty())
    return report_answer(
        Error{ErrorCode::kUnavailable,
              fmt::format("node {} does not answer, or is not known to those that do; name its "
                          "client address with --server",
                          options.node.value)});
  if (const auto promoted = (*client)->promote(at); !promoted)
    return report_answer(promoted.error());
  return wait_until_served(**client, options.node, NodeId{}, deadline(options));
}

}  // namespace

void add_transfer_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb =
      app.add_subcommand("transfer", "The leader hands over to another node, without a lost write");
  const auto options = std::make_shared<LeadOptions>();
  whole_number(
      verb->add_option(
          "--to", options->node.value,
          "The number of the node that is to lead; without it, the voter whose log is longest"),
      1, UINT32_MAX);
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = transfer(*options); });
}

void add_promote_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "promote", "With the static coordinator: makes a node the leader when the old one is gone");
  const auto options = std::make_shared<LeadOptions>();
  whole_number(verb->add_option("--node", options->node.value, "The node's number"), 1, UINT32_MAX)
      ->required();
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = promote(*options); });
}

}  // namespace tailrace::app
