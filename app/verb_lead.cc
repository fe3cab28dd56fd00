// `tailrace transfer` and `tailrace promote`: who leads is an operator's choice.
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/client_options.h"
#include "app/option_values.h"
#include "app/output.h"
#include "app/verbs.h"

namespace tailrace::app {

namespace {

constexpr std::chrono::milliseconds kLeadLook{20};

struct LeadOptions {
  ClientFlags client;
  uint32_t node = 0;
};

/// Waits until `node` (0: anyone but `not_node`) serves as the leader, and says so.
int wait_until_served(rpc::Client& client, uint32_t node, uint32_t not_node, double timeout_s) {
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() <
         timeout_s) {
    for (const auto& [server, answer] : client.status()) {
      if (!answer || !answer->serving || answer->node == not_node) continue;
      if (node != 0 && answer->node != node) continue;
      print_error("node {} at {} leads in epoch {}\n", answer->node, server, answer->epoch);
      return kDone;
    }
    std::this_thread::sleep_for(kLeadLook);
  }
  return report_answer(
      Error{ErrorCode::kTimedOut, "no node serves as the leader yet; tailrace status tells more"});
}

int transfer(const LeadOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  uint32_t from = 0;
  for (const auto& [server, answer] : (*client)->status()) {
    if (answer && answer->serving) from = answer->node;
  }
  if (from != 0 && from == options.node) {
    print_error("node {} leads already\n", from);
    return kDone;
  }
  if (const auto handed = (*client)->transfer(options.node); !handed)
    return report_answer(handed.error());
  return wait_until_served(**client, options.node, from, options.client.timeout_s);
}

int promote(const LeadOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  std::string at;
  for (const auto& [server, answer] : (*client)->status()) {
    if (!answer || answer->node != options.node) continue;
    if (answer->serving) {
      print_error("node {} leads already\n", options.node);
      return kDone;
    }
    at = server;
  }
  if (at.empty())
    return report_answer(
        Error{ErrorCode::kUnavailable,
              fmt::format("no --server is node {}, or it does not answer; name its "
                          "client address",
                          options.node)});
  if (const auto promoted = (*client)->promote(at); !promoted)
    return report_answer(promoted.error());
  return wait_until_served(**client, options.node, 0, options.client.timeout_s);
}

}  // namespace

void add_transfer_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb =
      app.add_subcommand("transfer", "The leader hands over to another node, without a lost write");
  const auto options = std::make_shared<LeadOptions>();
  whole_number(
      verb->add_option(
          "--to", options->node,
          "The number of the node that is to lead; without it, the voter whose log is longest"),
      1, UINT32_MAX);
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = transfer(*options); });
}

void add_promote_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "promote", "With the static coordinator: makes a node the leader when the old one is gone");
  const auto options = std::make_shared<LeadOptions>();
  whole_number(
      verb->add_option("--node", options->node, "The node's number; a --server must be its own"), 1,
      UINT32_MAX)
      ->required();
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = promote(*options); });
}

}  // namespace tailrace::app
