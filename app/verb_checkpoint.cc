#include <CLI/CLI.hpp>

#include "app/client_options.h"
#include "app/output.h"
#include "app/verbs.h"

namespace tailrace::app {

namespace {

int checkpoint(const ClientFlags& flags) {
  auto options = flags.client_options();
  if (!options) return report(options.error());
  const std::vector<std::string> servers = options->servers;
  auto client = rpc::Client::create(std::move(*options));
  if (!client) return report(client.error());
  int code = kDone;
  for (const std::string& server : servers) {
    const auto address = (*client)->checkpoint(server);
    if (address) {
      print_error("{}: checkpoint at address {}\n", server, address->value);
      continue;
    }
    code = std::max(code, report_answer(with_context(server, address.error())));
  }
  return code;
}

}  // namespace

void add_checkpoint_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "checkpoint", "Takes a checkpoint on each --server now, and lets it truncate its log");
  const auto flags = std::make_shared<ClientFlags>();
  flags->add_to(*verb);
  verb->callback([flags, &exit_code] { exit_code = checkpoint(*flags); });
}

}  // namespace tailrace::app
