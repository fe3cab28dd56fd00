#pragma once
// What the verbs of the command line share. Each verb has its own file and adds itself to the
// parser.

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
  kUsage = 2,        // the command line, or what it names, can not work
  kUnreachable = 3,  // no server, or too late
  kRefused = 4,      // the server, or the file, refused
};

/// Prints "tailrace: MESSAGE" to standard error and returns the exit code that fits.
int report(const Error& error);

/// `tailrace log inspect DIR [--json]`. Parsing runs the verb and leaves its exit code.
void add_log_verbs(CLI::App& app, int& exit_code);

}  // namespace tailrace::app
