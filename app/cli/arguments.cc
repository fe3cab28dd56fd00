#include "app/cli/arguments.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace tailrace::app {

namespace {

bool is_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-';
}

/// How many words at `at` are an option that every verb which speaks to a server has; 0: none.
size_t common_option(const std::vector<std::string>& words, size_t at) {
  const std::string& word = words[at];
  if (word == "-s" || word == "--server" || word == "--timeout")
    return std::min<size_t>(2, words.size() - at);
  const bool whole = word.starts_with("--server=") || word.starts_with("--timeout=") ||
                     (word.starts_with("-s") && word.size() > 2);
  return whole ? 1 : 0;
}

/// What others call a verb of this program; empty: nothing that is known.
std::string_view meant_verb(std::string_view word) {
  using Name = std::pair<std::string_view, std::string_view>;
  constexpr Name kNames[] = {
      {"set", "put"},
      {"write", "put"},
      {"incr", "add"},
      {"inc", "add"},
      {"increment", "add"},
      {"decr", "add"},
      {"keys", "scan --keys-only"},
      {"ls", "scan"},
      {"list", "scan"},
      {"rm", "delete"},
      {"remove", "delete"},
      {"ttl", "expire"},
      {"publish", "append"},
      {"watch", "tail -f"},
      {"subscribe", "tail -f"},
      {"start", "serve"},
      {"members", "member list"},
      {"dump", "log dump"},
      {"repair", "log repair"},
      {"monitor", "top"},
  };
  for (const auto& [other, name] : kNames)
    if (word == other) return name;
  return {};
}

/// Groups of options are nameless ones.
std::vector<const CLI::App*> verbs_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* one) { return !one->get_name().empty(); });
}

const CLI::App* find_verb(const CLI::App& app, const std::string& word) {
  const auto verbs = verbs_of(app);
  const auto found = std::find_if(verbs.begin(), verbs.end(),
                                  [&](const CLI::App* verb) { return verb->check_name(word); });
  return found == verbs.end() ? nullptr : *found;
}

}  // namespace

Arguments arrange(const CLI::App& app, const std::vector<std::string>& given) {
  std::vector<std::string> words = given;
  if (!words.empty() && words[0] == "version") words[0] = "--version";
  if (!words.empty() && words[0] == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  Arguments result;
  std::vector<std::string> common;
  const CLI::App* verb = &app;
  size_t at = 0;
  // As long as verbs are due: `log` and the like have verbs of their own.
  while (at < words.size() && !verbs_of(*verb).empty()) {
    if (const size_t count = common_option(words, at); count > 0) {
      common.insert(common.end(), words.begin() + static_cast<ptrdiff_t>(at),
                    words.begin() + static_cast<ptrdiff_t>(at + count));
      at += count;
      continue;
    }
    if (is_option(words[at])) {
      if (verb->get_option_no_throw(words[at]) == nullptr) result.unknown_option = words[at];
      break;
    }
    const CLI::App* next = find_verb(*verb, words[at]);
    if (next == nullptr) {
      result.unknown_verb = words[at];
      break;
    }
    result.words.push_back(words[at++]);
    verb = next;
  }
  result.parent = verb == &app ? "" : verb->get_name();
  for (const CLI::App* one : verbs_of(*verb))
    result.verbs.push_back(one->get_name());
  result.verb_missing = at == words.size() && !result.verbs.empty();
  result.words.insert(result.words.end(), common.begin(), common.end());
  result.words.insert(result.words.end(), words.begin() + static_cast<ptrdiff_t>(at), words.end());
  return result;
}

std::string problem_of(const Arguments& arguments) {
  const std::string parent = arguments.parent.empty() ? "" : " " + arguments.parent;
  const std::string list = fmt::format("tailrace{} --help lists them", parent);
  if (!arguments.unknown_verb.empty()) {
    const std::string_view meant = parent.empty() ? meant_verb(arguments.unknown_verb) : "";
    return fmt::format("'{}' is not a verb{}{}; {}", arguments.unknown_verb,
                       parent.empty() ? "" : " of" + parent,
                       meant.empty() ? "" : fmt::format(" (that is `tailrace {}`)", meant), list);
  }
  if (!arguments.unknown_option.empty())
    return fmt::format(
        "unknown option '{}'; the options of a verb stand behind it, {}, and "
        "`tailrace version` shows the version",
        arguments.unknown_option, list);
  if (!arguments.verb_missing) return {};
  return fmt::format("tailrace{} needs a verb: {}", parent, fmt::join(arguments.verbs, ", "));
}

bool has_dashed_word(const std::vector<std::string>& words) {
  const auto dashed = [](const std::string& word) {
    return is_option(word) && word[1] != '-' && word != "-h" && word != "-s" && word != "-f" &&
           word != "-n";
  };
  return std::any_of(words.begin(), words.end(), dashed) &&
         std::find(words.begin(), words.end(), "--") == words.end();
}

}  // namespace tailrace::app
