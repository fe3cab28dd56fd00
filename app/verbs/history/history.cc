// `tailrace history`: what nodes keep of the events that their logs no longer have.

#include <algorithm>
#include <memory>

#include <CLI/CLI.hpp>

#include "app/cli/client_options.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "app/verbs/history/history_report.h"
#include "app/verbs/history/history_verbs.h"

namespace tailrace::app {

namespace {

struct HistoryStatusOptions {
  ClientFlags client;
  bool json = false, only_named = false;
};

int history_status(const HistoryStatusOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const HistoryOfNodes all = ask_history(**client, options.only_named);
  print_history(all, options.json);
  if (const auto flushed = flush_output(); !flushed) return report(flushed.error());
  int code = kDone;
  for (const Error& error : all.silent)
    code = std::max(code, report_answer(error));
  return code;
}

}  // namespace

void add_history_verb(CLI::App& app, int& exit_code) {
  CLI::App* const history =
      app.add_subcommand("history", "What the nodes keep of events that their logs no longer have");
  history->require_subcommand(1);
  CLI::App* const verb = history->add_subcommand(
      "status",
      "One line for each member: which part of the log its event files cover, how many they are, "
      "what they take, what is missing, and why no more are written, if they are not");
  const auto options = std::make_shared<HistoryStatusOptions>();
  verb->add_flag("--json", options->json, "One object: nodes");
  verb->add_flag("--only-named", options->only_named, "Ask only the nodes that --server names");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = history_status(*options); });
  add_scavenge_verb(*history, exit_code);
  add_erased_verb(*history, exit_code);
}

}  // namespace tailrace::app
