#include <CLI/CLI.hpp>

#include "app/cli/client_options.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

struct DeleteOptions {
  ClientFlags client;
  std::string key;
};

int erase(const DeleteOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto answer = (*client)->erase(as_bytes(options.key));
  if (!answer) return report_answer(answer.error());
  return report_outcome(*answer, options.key);
}

}  // namespace

void add_delete_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("delete", "Removes a key; exit code 1 when it was absent");
  verb->alias("del");
  const auto options = std::make_shared<DeleteOptions>();
  verb->add_option("KEY", options->key, kKeyHelp)->required();
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = erase(*options); });
}

}  // namespace tailrace::app
