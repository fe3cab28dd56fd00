#include <limits>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

struct GetOptions {
  ClientFlags client;
  std::string key;
  std::string read = "linearizable";
  bool json = false;
};

/// With what the answer says of itself: where its state stands, and how old it may be.
Result<> print_json(const std::string& key, const rpc::ReadAnswer& answer) {
  nlohmann::ordered_json out;
  set_text(out, "key", key);
  out["found"] = answer.found;
  if (answer.found) set_text(out, "value", answer.value);
  out["epoch"] = answer.epoch.value;
  out["applied"] = answer.applied.value;
  const bool known = answer.staleness_bound_ms != std::numeric_limits<uint64_t>::max();
  out["staleness_bound_ms"] = known ? nlohmann::ordered_json(answer.staleness_bound_ms) : nullptr;
  return print_value(json_text(out) + "\n");
}

int get(const GetOptions& options) {
  const auto level = parse_read_level(options.read);
  if (!level) return report(level.error());
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto answer = (*client)->get(as_bytes(options.key), *level);
  if (!answer) return report_answer(answer.error());
  if (options.json) {
    const auto printed = print_json(options.key, *answer);
    if (!printed) return report(printed.error());
    return answer->found ? kDone : kNegative;
  }
  if (!answer->found) {
    print_error("tailrace: no key '{}' at address {} of epoch {}\n", options.key,
                answer->applied.value, answer->epoch.value);
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
  verb->add_option("KEY", options->key, kKeyHelp)->required();
  verb->add_option("--read", options->read, kReadLevelHelp)->capture_default_str();
  verb->add_flag(
      "--json", options->json,
      "One object: key, found, value, and of the state that was read its epoch, its applied "
      "address and staleness_bound_ms: what was acknowledged longer ago is in it (null: not "
      "known)");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = get(*options); });
}

}  // namespace tailrace::app
