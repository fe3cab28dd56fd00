#include <CLI/CLI.hpp>

#include "app/cli/verbs.h"

namespace tailrace::app {

void add_log_verbs(CLI::App& app, int& exit_code) {
  CLI::App* log = app.add_subcommand("log", "Looks at a log's files without a server");
  log->require_subcommand(1);
  add_log_inspect_verb(*log, exit_code);
  add_log_check_verb(*log, exit_code);
  add_log_dump_verb(*log, exit_code);
  add_log_repair_verb(*log, exit_code);
}

}  // namespace tailrace::app
