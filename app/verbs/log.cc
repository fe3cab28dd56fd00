#include <CLI/CLI.hpp>

#include "app/cli/verbs.h"

namespace tailrace::app {

void add_log_verb(CLI::App& app, int& exit_code) {
  CLI::App& parent = *app.add_subcommand("log", "Looks at a log's files without a server");
  parent.require_subcommand(1);
  TAILRACE_LOG_VERBS(TAILRACE_ADD_VERB)
}

}  // namespace tailrace::app
