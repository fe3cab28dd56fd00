#include <CLI/CLI.hpp>

#include "app/client_options.h"
#include "app/verbs.h"

namespace tailrace::app {

namespace {

struct GetOptions {
  ClientFlags client;
  std::string key;
  std::string read = "linearizable";
};

int get(const GetOptions& options) {
  const auto level = parse_read_level(options.read);
  if (!level) return report(level.error());
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto answer = (*client)->get(as_bytes(options.key), *level);
  if (!answer) return report_answer(answer.error());
  if (!answer->found) {
    std::fprintf(stderr, "tailrace: no key '%s' at address %llu of epoch %llu\n",
                 options.key.c_str(), static_cast<unsigned long long>(answer->applied.value),
                 static_cast<unsigned long long>(answer->epoch.value));
    return kNegative;
  }
  const auto printed = print_value(answer->value);
  return printed ? kDone : report(printed.error());
}

}  // namespace

void add_get_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb =
      app.add_subcommand("get", "Prints a key's value as it is; exit code 1 when it is absent");
  const auto options = std::make_shared<GetOptions>();
  verb->add_option("KEY", options->key)->required();
  verb->add_option("--read", options->read, kReadLevelHelp)->capture_default_str();
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = get(*options); });
}

}  // namespace tailrace::app
