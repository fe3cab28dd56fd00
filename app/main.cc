#include <algorithm>
#include <sstream>
#include <string>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <malloc.h>

#include "app/output.h"
#include "app/verbs.h"

#ifndef TAILRACE_VERSION
#error "the build gives TAILRACE_VERSION"
#endif

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

/// The parser only says that a verb is required.
bool names_unknown_verb(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return false;
  const auto named = [&](const CLI::App* verb) { return verb->check_name(argv[1]); };
  const auto verbs = app.get_subcommands(nullptr);
  return std::none_of(verbs.begin(), verbs.end(), named);
}

/// Whether one of the arguments may have been meant as a key or value and was taken for options.
bool has_dashed_word(int argc, char** argv) {
  const auto dashed = [](const std::string& word) {
    return word.size() > 1 && word[0] == '-' && word[1] != '-' && word != "-h";
  };
  const auto is_end = [](const std::string& word) { return word == "--"; };
  return std::any_of(argv + 1, argv + argc, dashed) && std::none_of(argv + 1, argv + argc, is_end);
}

/// Help and the version go to standard output, all else is misuse.
int report_parse(const CLI::App& app, const CLI::ParseError& error, bool dashed_word) {
  std::ostringstream out, problem;
  const int code = app.exit(error, out, problem);
  write_out(out.str());
  write_error(problem.str());
  if (code == 0) return kDone;
  if (dashed_word)
    print_error("An argument that begins with '-' and is no option stands behind --\n");
  return kUsage;
}

/// What could not be written was not told: a verb that is done otherwise is not.
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
  app.set_version_flag("--version", "tailrace " TAILRACE_VERSION);
  app.footer("An argument that begins with '-' and is no option stands behind --");
  app.require_subcommand(1);
  int exit_code = kDone;
  add_serve_verb(app, exit_code);
  add_put_verb(app, exit_code);
  add_get_verb(app, exit_code);
  add_delete_verb(app, exit_code);
  add_add_verb(app, exit_code);
  add_cas_verb(app, exit_code);
  add_expire_verb(app, exit_code);
  add_scan_verb(app, exit_code);
  add_append_verb(app, exit_code);
  add_tail_verb(app, exit_code);
  add_status_verb(app, exit_code);
  add_transfer_verb(app, exit_code);
  add_promote_verb(app, exit_code);
  add_member_verb(app, exit_code);
  add_checkpoint_verb(app, exit_code);
  add_verify_verb(app, exit_code);
  add_log_verbs(app, exit_code);
  add_bench_verbs(app, exit_code);
  if (names_unknown_verb(app, argc, argv)) {
    print_error("tailrace: '{}' is no verb; tailrace --help lists them\n", argv[1]);
    return kUsage;
  }
  // The parser reports by exceptions; they end here.
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_code = report_parse(app, error, has_dashed_word(argc, argv));
  } catch (const std::exception& error) {
    exit_code = report(tailrace::Error{tailrace::ErrorCode::kIo, error.what()});
  }
  return with_output(exit_code);
}
