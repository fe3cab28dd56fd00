#include <CLI/CLI.hpp>
#include <unistd.h>

#include "app/cli/client_options.h"
#include "app/cli/line_reader.h"
#include "app/cli/option_values.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

struct PutOptions {
  ClientFlags client;
  std::string key, value;
  uint64_t time_to_live_ms = 0;
};

int put(PutOptions& options) {
  if (options.value == "-") {
    auto value = read_whole(STDIN_FILENO, "standard input", kMostValueBytes);
    if (!value) return report(value.error());
    options.value = std::move(*value);
  }
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto answer = (*client)->put(as_bytes(options.key), as_bytes(options.value),
                                     std::chrono::milliseconds(options.time_to_live_ms));
  if (!answer) return report_answer(answer.error());
  return report_outcome(*answer, options.key);
}

}  // namespace

void add_put_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("put", "Sets a key to a value");
  const auto options = std::make_shared<PutOptions>();
  verb->add_option("KEY", options->key, kKeyHelp)->required();
  verb->add_option("VALUE", options->value,
                   "The value; - reads it from standard input, all bytes exactly")
      ->required();
  add_time_to_live(*verb, options->time_to_live_ms);
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = put(*options); });
}

}  // namespace tailrace::app
