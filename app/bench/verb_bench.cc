#include <CLI/CLI.hpp>

#include "app/cli/verbs.h"

namespace tailrace::app {

void add_bench_verbs(CLI::App& app, int& exit_code) {
  CLI::App* bench =
      app.add_subcommand("bench", "Puts load on a service, a log or a store, and measures");
  bench->require_subcommand(1);
  add_bench_apply_verb(*bench, exit_code);
  add_bench_kv_verb(*bench, exit_code);
  add_bench_log_verb(*bench, exit_code);
  add_bench_service_verb(*bench, exit_code);
}

}  // namespace tailrace::app
