#pragma once
// The command line as hands type it, put into the order that the parser takes:
//
//   tailrace --server A put k v     put --server A k v        (--server, -s, --timeout before any
//   verb) tailrace help log dump          log dump --help tailrace version                --version

#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace tailrace::app {

struct Arguments {
  std::vector<std::string> words;  // what the parser is to take
  std::string unknown_verb;        // where a verb is due and another word stands; else empty
  std::string unknown_option;      // the same for an option that only verbs could have
  bool verb_missing = false;       // there is no word where a verb is due
  std::vector<std::string> verbs;  // that could stand there
  std::string parent;              // of those: "log" or "bench"; empty for the program itself
};

/// `words`: without the program's name.
Arguments arrange(const CLI::App& app, const std::vector<std::string>& words);

/// Why the words are no command line as far as their verb goes, in one line without its end; empty
/// when they are one.
std::string problem_of(const Arguments& arguments);

/// Whether one of the words may have been meant as a key or value and was taken for options.
bool has_dashed_word(const std::vector<std::string>& words);

}  // namespace tailrace::app
