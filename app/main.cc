#include <CLI/CLI.hpp>

#include "app/verb_common.h"

int main(int argc, char** argv) {
  CLI::App app("Tailrace: a replicated log with an embedded state machine", "tailrace");
  app.require_subcommand(1);
  int exit_code = tailrace::app::kDone;
  tailrace::app::add_log_verbs(app, exit_code);
  // The parser reports by exceptions; they end here.
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? tailrace::app::kDone : tailrace::app::kUsage;
  }
  return exit_code;
}
