#include <charconv>

#include <CLI/CLI.hpp>

#include "app/cli/client_options.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

struct AddOptions {
  ClientFlags client;
  std::string key, delta;
};

/// The parser's own conversion would take 010 as 8, and what does not fit as the nearest that does.
Result<int64_t> parse_delta(const std::string& text) {
  int64_t delta = 0;
  const char* const end = text.data() + text.size();
  const char* const digits = text.data() + (text.starts_with('+') ? 1 : 0);
  const auto [stopped, error] = std::from_chars(digits, end, delta);
  if (error == std::errc{} && stopped == end && !text.starts_with("+-")) return delta;
  return make_error(ErrorCode::kInvalidArgument,
                    "DELTA is '" + text +
                        "'; it must be a whole number from -9223372036854775808 (-2^63) to "
                        "9223372036854775807 (2^63-1)");
}

int add(const AddOptions& options) {
  const auto delta = parse_delta(options.delta);
  if (!delta) return report(delta.error());
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto answer = (*client)->add(as_bytes(options.key), *delta);
  if (!answer) return report_answer(answer.error());
  if (const int code = report_outcome(*answer, options.key); code != kDone) return code;
  // A number is a line, also to a pipe; a value of somebody's is only its own bytes.
  print_out("{}\n", answer->answer.value);
  const auto printed = flush_output();
  return printed ? kDone : report(printed.error());
}

}  // namespace

void add_add_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb =
      app.add_subcommand("add", "Adds to a key's integer (absent: 0) and prints the sum");
  const auto options = std::make_shared<AddOptions>();
  verb->add_option("KEY", options->key, kKeyHelp)->required();
  verb->add_option("DELTA", options->delta, "What to add: a whole number from -2^63 to 2^63-1")
      ->required();
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = add(*options); });
}

}  // namespace tailrace::app
