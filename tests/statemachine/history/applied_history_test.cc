// Nodes of one cluster version come to the same state and the same answers from one log, whichever
// program they run. Each part of a fixed history is applied, and compared with its page.
//
//   TAILRACE_REWRITE=1 build/release/tests/statemachine_history_test    writes the pages anew

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/cluster_version.h"
#include "statemachine/command/command_table.h"
#include "tests/statemachine/history/history.h"

namespace tailrace::statemachine::history {
namespace {

struct Part {
  const char* name;
  void (*apply)(History& history);
};
std::ostream& operator<<(std::ostream& out, const Part& part) {
  return out << part.name;
}

constexpr Part kParts[] = {
    {"keys", &keys},
    {"numbers", &numbers_in_values},
    {"comparing", &comparing},
    {"without_effect", &without_effect},
    {"expiry", &expiry},
    {"sessions", &sessions},
    {"answers", &answers},
    {"beginnings", &beginnings},
    {"ends", &ends},
    {"limits", &limits},
    {"transactions", &transactions},
    {"broken", &broken},
};

std::string first_line(uint32_t version) {
  return fmt::format("Nodes of cluster version {} apply these records so.", version);
}

constexpr const char* kRemedy =
    "Nodes of that cluster version apply them otherwise, and so diverge from this one. If the "
    "change is meant, it needs a new cluster version "
    "with a row in the Feature table (core/cluster_version.h), and a record in the log from which "
    "on it holds: CONTRIBUTING.md, \"A change of what a command does\". If only the history has "
    "changed, run this test with TAILRACE_REWRITE=1 and read what is different.";

/// What has changed, by the first line that is different and the step in which it stands.
std::string difference(const std::string& before, const std::string& after) {
  std::istringstream left(before), right(after);
  std::string was, is, step = "(before the first)";
  for (int line = 2;; ++line) {
    const bool more_left = static_cast<bool>(std::getline(left, was));
    const bool more_right = static_cast<bool>(std::getline(right, is));
    if (!more_left && !more_right) return {};
    if (more_left && more_right && was == is) {
      if (was.starts_with("#")) step = was;
      continue;
    }
    return fmt::format("line {}, in the step\n  {}\nwas\n  {}\nand is now\n  {}\n", line, step,
                       more_left ? was : "(the end)", more_right ? is : "(the end)");
  }
}

class AppliedHistory : public ::testing::TestWithParam<Part> {};

TEST_P(AppliedHistory, IsWhatThePageSays) {
  const std::string path = std::string(TAILRACE_HISTORY) + "/" + GetParam().name + ".txt";
  History history;
  GetParam().apply(history);
  ASSERT_FALSE(HasFatalFailure());
  if (std::getenv("TAILRACE_REWRITE") != nullptr) {
    std::ofstream(path) << first_line(kClusterVersion) << '\n' << history.page();
    return;
  }
  std::ifstream file(path);
  std::string promise;
  std::getline(file, promise);
  std::stringstream before;
  before << file.rdbuf();
  if (before.str() != history.page())
    FAIL() << path << " says: " << promise
           << " This program does not: " << difference(before.str(), history.page()) << kRemedy;
  EXPECT_EQ(promise, first_line(kClusterVersion))
      << path << ": all else is the same; run this test with TAILRACE_REWRITE=1";
}

INSTANTIATE_TEST_SUITE_P(Parts, AppliedHistory, ::testing::ValuesIn(kParts),
                         [](const auto& part) { return std::string(part.param.name); });

TEST(AppliedHistories, HaveEveryCommandAndEveryOutcome) {
  std::set<uint8_t> operations;
  std::set<Outcome> outcomes;
  for (const Part& part : kParts) {
    History history;
    part.apply(history);
    operations.insert(history.operations().begin(), history.operations().end());
    outcomes.insert(history.outcomes().begin(), history.outcomes().end());
  }
  for (const CommandInfo& info : kCommands)
    EXPECT_TRUE(operations.contains(static_cast<uint8_t>(info.operation)))
        << "no part of the history has " << info.title;
  for (int outcome = 0; outcome <= static_cast<int>(Outcome::kLast); ++outcome)
    EXPECT_TRUE(outcomes.contains(static_cast<Outcome>(outcome))) << "outcome " << outcome;
}

}  // namespace
}  // namespace tailrace::statemachine::history
