#include <CLI/CLI.hpp>

#include "app/client_options.h"
#include "app/verbs.h"

namespace tailrace::app {

namespace {

struct AddOptions {
  ClientFlags client;
  std::string key;
  int64_t delta = 0;
};

int add(const AddOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto answer = (*client)->add(as_bytes(options.key), options.delta);
  if (!answer) return report_answer(answer.error());
  if (const int code = report_outcome(*answer, options.key); code != kDone) return code;
  const auto printed = print_value(answer->answer.value);
  return printed ? kDone : report(printed.error());
}

}  // namespace

void add_add_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb =
      app.add_subcommand("add", "Adds to a key's integer (absent: 0) and prints the sum");
  const auto options = std::make_shared<AddOptions>();
  verb->add_option("KEY", options->key)->required();
  verb->add_option("DELTA", options->delta, "A signed 64-bit integer")->required();
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = add(*options); });
}

}  // namespace tailrace::app
