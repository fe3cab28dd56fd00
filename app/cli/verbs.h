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

/// Every verb, in the order of --help: each stands here once. Its file defines add_NAME_verb(),
/// which adds it to the parser.
// clang-format off
#define TAILRACE_VERBS(VERB) \
  VERB(serve) \
  VERB(put) VERB(get) VERB(mget) VERB(delete) VERB(add) VERB(cas) VERB(expire) VERB(scan) \
  VERB(append) VERB(read) VERB(streams) VERB(stream) VERB(txn) VERB(tail) VERB(load) \
  VERB(status) VERB(top) VERB(transfer) VERB(promote) VERB(member) VERB(checkpoint) VERB(verify) \
  VERB(history) \
  VERB(log) VERB(bench)
// clang-format on
/// Those of `log`, and of `bench`.
#define TAILRACE_LOG_VERBS(VERB) VERB(log_inspect) VERB(log_check) VERB(log_dump) VERB(log_repair)
#define TAILRACE_BENCH_VERBS(VERB) \
  VERB(bench_apply) VERB(bench_events) VERB(bench_kv) VERB(bench_log) VERB(bench_service)

#define TAILRACE_DECLARE_VERB(name) void add_##name##_verb(CLI::App& parent, int& exit_code);
TAILRACE_VERBS(TAILRACE_DECLARE_VERB)
TAILRACE_LOG_VERBS(TAILRACE_DECLARE_VERB)
TAILRACE_BENCH_VERBS(TAILRACE_DECLARE_VERB)
#undef TAILRACE_DECLARE_VERB

/// For the parent of some verbs: TAILRACE_LOG_VERBS(TAILRACE_ADD_VERB), with the names `parent` and
/// `exit_code` in scope.
#define TAILRACE_ADD_VERB(name) add_##name##_verb(parent, exit_code);

}  // namespace tailrace::app
