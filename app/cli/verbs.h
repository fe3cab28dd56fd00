#pragma once
// The verbs of the command line. Each has its own file and adds itself to the parser; parsing runs
// the verb and leaves its exit code.

#include <string>

#include "core/result.h"

namespace CLI {
class App;
}

namespace tailrace::app {

/// The program's exit codes.
enum ExitCode : int {
  kDone = 0,
  kNegative = 1,     // absent key, lost compare-and-swap, digests that differ, a damaged log
  kUsage = 2,        // the command line, or what it names, cannot work
  kUnreachable = 3,  // no server, or too late
  kRefused = 4,      // the server, or the file, refused
};

/// Prints "tailrace: MESSAGE" to standard error and returns the exit code that fits.
int report(const Error& error);
/// The same for an error that a call to a server came back with: what it does not take is refused,
/// not misused.
int report_answer(const Error& error);

void add_serve_verb(CLI::App& app, int& exit_code);
void add_put_verb(CLI::App& app, int& exit_code);
void add_get_verb(CLI::App& app, int& exit_code);
void add_delete_verb(CLI::App& app, int& exit_code);
void add_add_verb(CLI::App& app, int& exit_code);
void add_cas_verb(CLI::App& app, int& exit_code);
void add_expire_verb(CLI::App& app, int& exit_code);
void add_scan_verb(CLI::App& app, int& exit_code);
void add_append_verb(CLI::App& app, int& exit_code);
void add_tail_verb(CLI::App& app, int& exit_code);
void add_load_verb(CLI::App& app, int& exit_code);
void add_status_verb(CLI::App& app, int& exit_code);
void add_transfer_verb(CLI::App& app, int& exit_code);
void add_member_verb(CLI::App& app, int& exit_code);
void add_promote_verb(CLI::App& app, int& exit_code);
void add_checkpoint_verb(CLI::App& app, int& exit_code);
void add_verify_verb(CLI::App& app, int& exit_code);
void add_log_verbs(CLI::App& app, int& exit_code);
void add_bench_verbs(CLI::App& app, int& exit_code);
// Of `log`.
void add_log_inspect_verb(CLI::App& log, int& exit_code);
void add_log_check_verb(CLI::App& log, int& exit_code);
void add_log_dump_verb(CLI::App& log, int& exit_code);
void add_log_repair_verb(CLI::App& log, int& exit_code);
// Of `bench`.
void add_bench_service_verb(CLI::App& bench, int& exit_code);
void add_bench_log_verb(CLI::App& bench, int& exit_code);
void add_bench_apply_verb(CLI::App& bench, int& exit_code);
void add_bench_kv_verb(CLI::App& bench, int& exit_code);

}  // namespace tailrace::app
