#include <algorithm>
#include <new>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <malloc.h>

#include "app/cli/arguments.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "app/cli/version.h"

namespace tailrace::app {
namespace {

/// Started with a standard descriptor closed, the program would get its number for a file or socket
/// of its own, and write its output or its log lines there. Reading only: writing stays an error.
void keep_standard_descriptors() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) < 0) (void)::open("/dev/null", O_RDONLY);
  }
}

/// Batches and messages of a mebibyte come and go. Left to itself the allocator gives their pages
/// back to the system each time and is given new ones, zeroed: a tenth of the records in batches.
void keep_pages_of_batches() {
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

/// Help and the version go to standard output, all else is misuse.
int report_parse(const CLI::App& app, const CLI::ParseError& error, bool dashed_word) {
  std::ostringstream out, problem;
  const int code = app.exit(error, out, problem);
  write_out(out.str());
  write_error(problem.str());
  if (code == 0) return kDone;
  if (dashed_word)
    print_error("An argument that begins with '-' and is not an option goes after --\n");
  return kUsage;
}

/// A verb whose output could not be written has failed, whatever else it did.
int with_output(int exit_code) {
  const auto flushed = flush_output();
  return flushed || exit_code > kNegative ? exit_code : report(flushed.error());
}

}  // namespace
}  // namespace tailrace::app

int main(int argc, char** argv) {
  using namespace tailrace::app;
  keep_standard_descriptors();
  keep_pages_of_batches();
  CLI::App app("Tailrace: a replicated log with an embedded state machine", "tailrace");
  app.set_version_flag("--version", "tailrace " + std::string(kVersion));
  const std::string dashed = "An argument that begins with '-' and is not an option goes after --";
  app.footer(dashed);  // of each verb
  app.require_subcommand(1);
  int exit_code = kDone;
  CLI::App& parent = app;
  TAILRACE_VERBS(TAILRACE_ADD_VERB)
  app.footer(
      "help [VERB] shows the help of a verb, version the program's version. --server and\n"
      "--timeout may stand before the verb.\n" +
      dashed);
  const std::vector<std::string> given(argv + std::min(argc, 1), argv + argc);
  Arguments arguments = arrange(app, given);
  if (const std::string problem = problem_of(arguments); !problem.empty()) {
    print_error("tailrace: {}\n", problem);
    return kUsage;
  }
  std::reverse(arguments.words.begin(), arguments.words.end());  // as the parser wants them
  // The parser reports by exceptions; they end here.
  try {
    app.parse(std::move(arguments.words));
  } catch (const CLI::ParseError& error) {
    exit_code = report_parse(app, error, has_dashed_word(given));
  } catch (const std::bad_alloc&) {
    exit_code = report(tailrace::Error{tailrace::ErrorCode::kResourceExhausted,
                                       "there is not enough memory for this"});
  } catch (const std::exception& error) {
    exit_code = report(tailrace::Error{tailrace::ErrorCode::kIo, error.what()});
  }
  return with_output(exit_code);
}
