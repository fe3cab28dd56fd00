#include <CLI/CLI.hpp>

#include "app/cli/client_options.h"
#include "app/cli/option_values.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

struct ExpireOptions {
  ClientFlags client;
  std::string key;
  uint64_t time_to_live_ms = 0;
  bool never = false;
};

int expire(const ExpireOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto answer =
      (*client)->expire(as_bytes(options.key), std::chrono::milliseconds(options.time_to_live_ms));
  if (!answer) return report_answer(answer.error());
  return report_outcome(*answer, options.key);
}

}  // namespace

void add_expire_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb =
      app.add_subcommand("expire", "Sets how long a key lives; exit code 1 when it is absent");
  const auto options = std::make_shared<ExpireOptions>();
  verb->add_option("KEY", options->key, kKeyHelp)->required();
  auto* how = verb->add_option_group("how");
  add_time_to_live(*how, options->time_to_live_ms);
  how->add_flag("--never", options->never, "The key lives until it is deleted");
  how->require_option(1);
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = expire(*options); });
}

}  // namespace tailrace::app
