#include <CLI/CLI.hpp>

#include "app/client_options.h"
#include "app/verbs.h"

namespace tailrace::app {

namespace {

struct PutOptions {
  ClientFlags client;
  std::string key, value;
};

int put(const PutOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto answer = (*client)->put(as_bytes(options.key), as_bytes(options.value));
  if (!answer) return report_answer(answer.error());
  return report_outcome(*answer, options.key);
}

}  // namespace

void add_put_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("put", "Sets a key");
  const auto options = std::make_shared<PutOptions>();
  verb->add_option("KEY", options->key)->required();
  verb->add_option("VALUE", options->value)->required();
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = put(*options); });
}

}  // namespace tailrace::app
