#include <algorithm>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

struct CheckpointOptions {
  ClientFlags client;
  bool json = false;
};

int checkpoint(const CheckpointOptions& flags) {
  auto options = flags.client.client_options();
  if (!options) return report(options.error());
  const std::vector<std::string> servers = options->servers;
  auto client = rpc::Client::create(std::move(*options));
  if (!client) return report(client.error());
  int code = kDone;
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  for (const std::string& server : servers) {
    const auto address = (*client)->checkpoint(server);
    if (address) {
      array.push_back({{"server", server}, {"address", address->value}});
      if (!flags.json) print_error("{}: checkpoint at address {}\n", server, address->value);
      continue;
    }
    array.push_back({{"server", server},
                     {"error", std::string(name_of(address.error().code))},
                     {"message", address.error().message}});
    code = std::max(code, report_answer(with_context(server, address.error())));
  }
  if (flags.json) print_out("{}\n", json_text(array, 2));
  return code;
}

}  // namespace

void add_checkpoint_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "checkpoint", "Takes a checkpoint on each --server now, and lets it truncate its log");
  const auto flags = std::make_shared<CheckpointOptions>();
  verb->add_flag("--json", flags->json,
                 "An array, one object a server: server, and address or error and message");
  flags->client.add_to(*verb);
  verb->callback([flags, &exit_code] { exit_code = checkpoint(*flags); });
}

}  // namespace tailrace::app
