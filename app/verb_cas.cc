#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/client_options.h"
#include "app/output.h"
#include "app/verbs.h"

namespace tailrace::app {

namespace {

struct CasOptions {
  ClientFlags client;
  std::string key, expected, value;
};

int compare_and_swap(const CasOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto answer =
      (*client)->cas(as_bytes(options.key), as_bytes(options.expected), as_bytes(options.value));
  if (!answer) return report_answer(answer.error());
  const int code = report_outcome(*answer, options.key);
  if (code != kNegative || !answer->answer.has_value) return code;
  if (answer->answer.withheld_bytes != 0) {
    fmt::print(stderr, "tailrace: the present value has {} bytes; read it with get\n",
               answer->answer.withheld_bytes);
    return code;
  }
  // Whoever lost wants to know to what, in order to try again.
  const auto printed = print_value(answer->answer.value);
  return printed ? code : report(printed.error());
}

}  // namespace

void add_cas_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "cas",
      "Sets a key if its value equals EXPECTED; else exit code 1, and the present value "
      "printed, or its length beyond 64 KiB");
  const auto options = std::make_shared<CasOptions>();
  verb->add_option("KEY", options->key, kKeyHelp)->required();
  verb->add_option("EXPECTED", options->expected,
                   "The value that the key must have; an absent key never has it")
      ->required();
  verb->add_option("NEW", options->value, "The value that it gets then")->required();
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = compare_and_swap(*options); });
}

}  // namespace tailrace::app
