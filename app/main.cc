#include <CLI/CLI.hpp>
#include <fcntl.h>

#include "app/verbs.h"

#ifndef TAILRACE_VERSION
#error "the build gives TAILRACE_VERSION"
#endif

namespace {

/// Started with a standard descriptor closed, the program would get its number for a file or socket
/// of its own, and write its output or its log lines there. Reading only: writing stays an error.
void keep_standard_descriptors() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) < 0) (void)::open("/dev/null", O_RDONLY);
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace tailrace::app;
  keep_standard_descriptors();
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
