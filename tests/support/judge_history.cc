// Judges a recorded history (history_json.h): is there an order in which every answer is right?
//
//   judge_history [--seconds S] [--configurations N] [FILE...]
//
// Ends with 0 when there is, 1 when there is none (and says where), 2 when a file or the command
// line is bad, 3 when it cannot be told within the limits.

#include <iostream>

#include <CLI/CLI.hpp>

#include "tests/support/judge_program.h"

int main(int argc, char** argv) {
  using namespace tailrace::testing;
  JudgeOptions options;
  std::vector<std::string> files;
  double seconds = std::chrono::duration<double>(options.most_time).count();
  CLI::App app("Judges whether a history of operations is linearizable", "judge_history");
  app.add_option("FILE", files, "All are one history; standard input without one");
  app.add_option("--seconds", seconds, "For each key; then it cannot be told")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  app.add_option("--configurations", options.most_configurations,
                 "States that a key may be in at once; of more it cannot be told")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadHistory;
  }
  options.most_time = std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
  return judge_files(files, options, std::cin, std::cout, std::cerr);
}
