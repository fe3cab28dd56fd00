#include <CLI/CLI.hpp>

#include "app/cli/verbs.h"

namespace tailrace::app {

void add_bench_verb(CLI::App& app, int& exit_code) {
  CLI::App& parent =
      *app.add_subcommand("bench", "Puts load on a service, a log or a store, and measures");
  parent.require_subcommand(1);
  TAILRACE_BENCH_VERBS(TAILRACE_ADD_VERB)
}

}  // namespace tailrace::app
