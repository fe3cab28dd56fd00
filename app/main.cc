#include <CLI/CLI.hpp>

#include "app/verbs.h"

#ifndef TAILRACE_VERSION
#error "the build gives TAILRACE_VERSION"
#endif

int main(int argc, char** argv) {
  using namespace tailrace::app;
  CLI::App app("Tailrace: a replicated log with an embedded state machine", "tailrace");
  app.set_version_flag("--version", "tailrace " TAILRACE_VERSION);
  app.require_subcommand(1);
  int exit_code = kDone;
  add_serve_verb(app, exit_code);
  add_put_verb(app, exit_code);
  add_get_verb(app, exit_code);
  add_delete_verb(app, exit_code);
  add_add_verb(app, exit_code);
  add_cas_verb(app, exit_code);
  add_append_verb(app, exit_code);
  add_tail_verb(app, exit_code);
  add_status_verb(app, exit_code);
  add_checkpoint_verb(app, exit_code);
  add_verify_verb(app, exit_code);
  add_log_verbs(app, exit_code);
  add_bench_verbs(app, exit_code);
  // The parser reports by exceptions; they end here.
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  }
  return exit_code;
}
