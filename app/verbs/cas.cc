#include <chrono>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/client_options.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

struct CasOptions {
  ClientFlags client;
  std::string key;
  std::optional<std::string> expected, value;  // as they stand on the command line
  bool absent = false;
  uint64_t time_to_live_ms = 0;
};

/// With --absent the one value is NEW.
void arrange(CasOptions& options) {
  if (options.absent && options.value)
    throw CLI::ValidationError("--absent", "stands for EXPECTED: give KEY and NEW alone");
  if (!options.absent && options.time_to_live_ms != 0)
    throw CLI::ValidationError(
        "--ttl", "goes with --absent: a key that is there keeps its time to live (see `expire`)");
  if (options.absent) options.value.swap(options.expected);
  if (!options.absent && !options.expected) throw CLI::RequiredError("EXPECTED");
  if (!options.value) throw CLI::RequiredError("NEW");
}

int compare_and_swap(const CasOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  std::optional<ByteSpan> expected;
  if (options.expected) expected = as_bytes(*options.expected);
  const auto answer = (*client)->cas(as_bytes(options.key), expected, as_bytes(*options.value),
                                     std::chrono::milliseconds(options.time_to_live_ms));
  if (!answer) return report_answer(answer.error());
  const bool in_the_way =
      options.absent && answer->answer.outcome == statemachine::Outcome::kCasMismatch;
  if (in_the_way) print_error("tailrace: there is a key '{}' already\n", options.key);
  const int code = in_the_way ? kNegative : report_outcome(*answer, options.key);
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
      "Sets a key if its value equals EXPECTED (`cas KEY EXPECTED NEW`), or if there is no such "
      "key (`cas KEY --absent NEW`); else exit code 1, and the present value printed, or its "
      "length beyond 64 KiB");
  const auto options = std::make_shared<CasOptions>();
  verb->add_option("KEY", options->key, kKeyHelp)->required();
  verb->add_option(
      "EXPECTED", options->expected,
      "The value that the key must have; an absent key never has it. Not with --absent");
  verb->add_option("NEW", options->value, "The value that it gets then");
  verb->add_flag("--absent", options->absent,
                 "The key must be absent, or have expired. It needs cluster version 4: tailrace "
                 "status says when");
  add_time_to_live(*verb, options->time_to_live_ms);
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] {
    arrange(*options);
    exit_code = compare_and_swap(*options);
  });
}

}  // namespace tailrace::app
