// The judge from the lines of a file to its exit code, by histories made by hand.

#include "tests/support/judge_program.h"

#include <sstream>

#include <gtest/gtest.h>

namespace tailrace::testing {
namespace {

struct Told {
  int exit = -1;
  std::string out, errors;
};

Told judge_text(const std::string& text, const JudgeOptions& options = {}) {
  std::istringstream input(text);
  std::ostringstream out, errors;
  Told told;
  told.exit = judge_files({}, options, input, out, errors);
  told.out = out.str();
  told.errors = errors.str();
  return told;
}

/// One line. `rest`: further members.
std::string line(int client, const std::string& op, int from, int to, const std::string& rest,
                 const std::string& outcome = "ok", const std::string& key = "k") {
  std::ostringstream text;
  text << R"({"client":)" << client << R"(,"op":")" << op << R"(","key":")" << key << R"(",)"
       << (rest.empty() ? "" : rest + ",") << R"("invoke_ns":)" << from << R"(,"return_ns":)" << to
       << R"(,"outcome":")" << outcome << "\"}\n";
  return text.str();
}
std::string put(int client, int from, int to, const std::string& value,
                const std::string& outcome = "ok") {
  return line(client, "put", from, to, R"("value":")" + value + "\"", outcome);
}
std::string saw(int client, int from, int to, const std::string& value) {
  return line(client, "get", from, to, R"("result":")" + value + "\"");
}
std::string saw_nothing(int client, int from, int to) {
  return line(client, "get", from, to, R"("result":null)");
}
std::string cas(int client, int from, int to, const std::string& expected, const std::string& value,
                const std::string& result, const std::string& outcome = "ok") {
  return line(client, "cas", from, to,
              R"("value":")" + value + R"(","expected":")" + expected + "\"" +
                  (result.empty() ? "" : R"(,"result":)" + result),
              outcome);
}
std::string erase(int client, int from, int to, const std::string& result) {
  return line(client, "delete", from, to, R"("result":)" + result);
}
std::string add(int client, int from, int to, const std::string& sum) {
  return line(client, "add", from, to, R"("value":"1")" + (sum.empty() ? "" : ",\"result\":" + sum),
              sum.empty() ? "unknown" : "ok");
}

void expect_order(const std::string& text) {
  const Told told = judge_text(text);
  EXPECT_EQ(told.exit, kHasAnOrder) << told.out << told.errors;
}
/// The report names the key and the operation.
void expect_none(const std::string& text, const std::string& culprit) {
  const Told told = judge_text(text);
  EXPECT_EQ(told.exit, kHasNone) << told.out << told.errors;
  EXPECT_NE(told.out.find("key \"k\": no order explains\n    " + culprit), std::string::npos)
      << told.out;
}

// Promise: what can have happened passes, with a summary in one line.
TEST(JudgeProgram, GoodHistories) {
  const std::string good =
      put(1, 1, 10, "1:1") + saw(2, 2, 8, "1:1") + cas(2, 11, 12, "1:1", "2:1", "true") +
      cas(1, 13, 14, "1:1", "1:2", "false") + saw(1, 15, 16, "2:1") + erase(1, 17, 18, "true") +
      saw_nothing(2, 19, 20) + erase(2, 21, 22, "false") + put(2, 23, 24, "2:2", "unknown") +
      line(1, "put", 25, 26, R"("value":"1:3")", "fail") +
      line(1, "get", 25, 26, R"("error":"no answer in time")", "fail") +
      line(3, "get", 1, 2, R"("result":null)", "ok", "other");
  const Told told = judge_text(good);
  EXPECT_EQ(told.exit, kHasAnOrder);
  EXPECT_EQ(told.out.find("10 operations on 2 keys, 1 of unknown outcome, at most "), 0u)
      << told.out;
  EXPECT_EQ(told.out.find("linearizable\n"), told.out.size() - 13) << told.out;
  expect_order("");
}

TEST(JudgeProgram, ALostUpdateIsCaught) {
  expect_none(put(1, 1, 2, "1:1") + put(2, 3, 4, "2:1") + saw(1, 5, 6, "1:1"),
              "client 1 read, saw \"1:1\" [5, 6]");
  expect_none(put(1, 1, 2, "1:1") + saw_nothing(2, 3, 4), "client 2 read, saw nothing");
  expect_none(add(1, 1, 2, "1") + add(2, 3, 4, "1"), "client 2 add 1, saw \"1\"");
}

TEST(JudgeProgram, AStaleReadIsCaught) {
  // Another reader has seen the new value before, though its write has not returned yet.
  expect_none(
      put(1, 1, 2, "1:1") + put(2, 3, 100, "2:1") + saw(3, 4, 5, "2:1") + saw(4, 6, 7, "1:1"),
      "client 4 read, saw \"1:1\" [6, 7]");
  expect_none(put(1, 1, 2, "1:1") + erase(1, 3, 4, "true") + saw(2, 5, 6, "1:1"),
              "client 2 read, saw \"1:1\" [5, 6]");
}

TEST(JudgeProgram, AValueNeverWrittenIsCaught) {
  expect_none(put(1, 1, 2, "1:1") + saw(2, 3, 4, "9:9"), "client 2 read, saw \"9:9\"");
  // What is said not to have happened has not been written.
  expect_none(put(1, 1, 2, "1:1", "fail") + saw(2, 3, 4, "1:1"), "client 2 read, saw \"1:1\"");
}

TEST(JudgeProgram, ASwapThatShouldHaveFailedIsCaught) {
  expect_none(put(1, 1, 2, "1:1") + put(1, 3, 4, "1:2") + cas(2, 5, 6, "1:1", "2:1", "true"),
              "client 2 compare-and-swap \"1:1\" -> \"2:1\", done");
  expect_none(cas(2, 5, 6, "1:1", "2:1", "true"), "client 2 compare-and-swap");
  // And one that should not have.
  expect_none(put(1, 1, 2, "1:1") + cas(2, 5, 6, "1:1", "2:1", "false"),
              "client 2 compare-and-swap \"1:1\" -> \"2:1\", not done");
}

TEST(JudgeProgram, AnUnknownWriteMayShowUpLateOrNever) {
  const std::string begin =
      put(1, 1, 2, "1:1") + put(2, 3, 4, "2:1", "unknown") + saw(1, 5, 6, "1:1");
  expect_order(begin);
  expect_order(begin + put(1, 7, 8, "1:2") + saw(1, 9, 10, "1:2") + saw(1, 11, 12, "2:1"));
  expect_order(put(1, 1, 2, "1:1") + cas(2, 3, 4, "1:1", "2:1", "", "unknown") +
               saw(1, 5, 6, "1:1") + saw(1, 7, 8, "2:1"));
  expect_none(put(1, 1, 2, "1:1") + cas(2, 3, 4, "0:0", "2:1", "", "unknown") + saw(1, 5, 6, "2:1"),
              "client 1 read, saw \"2:1\"");
}

// Promise: what is applied twice is seen to be when others have changed the key in between.
TEST(JudgeProgram, AppliedTwiceIsCaught) {
  for (const char* outcome : {"ok", "unknown"}) {
    expect_none(put(1, 1, 2, "1:1", outcome) + saw(2, 3, 4, "1:1") + put(2, 5, 6, "2:1") +
                    saw(2, 7, 8, "2:1") + saw(2, 9, 10, "1:1"),
                "client 2 read, saw \"1:1\" [9, 10]");
    expect_none(put(1, 1, 2, "1:1", outcome) + saw(2, 3, 4, "1:1") + erase(2, 5, 6, "true") +
                    saw_nothing(2, 7, 8) + saw(2, 9, 10, "1:1"),
                "client 2 read, saw \"1:1\" [9, 10]");
  }
  expect_order(add(1, 1, 2, "1") + add(1, 3, 4, "") + add(2, 5, 6, "3"));
  expect_none(add(1, 1, 2, "1") + add(1, 3, 4, "") + add(2, 5, 6, "4"),
              "client 2 add 1, saw \"4\"");
}

TEST(JudgeProgram, ABadFileIsNamedWithItsLine) {
  const std::string whole = put(1, 1, 2, "1:1") + saw(2, 3, 4, "1:1");
  for (size_t bytes = put(1, 1, 2, "1:1").size() + 1; bytes + 1 < whole.size(); ++bytes) {
    const Told told = judge_text(whole.substr(0, bytes));
    EXPECT_EQ(told.exit, kBadHistory) << bytes;
    EXPECT_EQ(told.errors,
              "judge_history: standard input: line 2, the last, has no end: not a JSON object\n");
    EXPECT_EQ(told.out, "");
  }
  // All of the line but its newline is all of the operation.
  expect_order(whole.substr(0, whole.size() - 1));
  EXPECT_NE(judge_text(whole + "{}\n" + whole).errors.find("line 3: outcome is missing"),
            std::string::npos);
  std::istringstream none;
  std::ostringstream out, errors;
  EXPECT_EQ(judge_files({"/nowhere/at/all"}, {}, none, out, errors), kBadHistory);
  EXPECT_EQ(errors.str(), "judge_history: /nowhere/at/all cannot be opened\n");
}

// Promise: a key that is too hard is said to be, within the limits, and does not hide another one
// that is refused.
TEST(JudgeProgram, TooHardIsSaidNotHung) {
  std::string hard;
  // Any subset of the sums may be what the reader has met: 2^40 of them.
  for (int i = 0; i < 40; ++i) {
    hard += line(i, "add", 1, 2,
                 R"("value":")" + std::to_string(1'000'003 * (i + 1) + i * i) + "\"", "unknown");
  }
  hard += saw(99, 5, 6, "1");
  JudgeOptions options;
  options.most_configurations = 2000;
  Told told = judge_text(hard, options);
  EXPECT_EQ(told.exit, kNotTold) << told.out;
  EXPECT_NE(told.out.find("key \"k\": too many orders are possible"), std::string::npos)
      << told.out;
  EXPECT_NE(told.out.find("40 of unknown outcome so far"), std::string::npos) << told.out;

  options = {};
  options.most_configurations = uint64_t{1} << 60;
  options.most_time = std::chrono::milliseconds(50);
  told = judge_text(hard, options);
  EXPECT_EQ(told.exit, kNotTold) << told.out;
  EXPECT_NE(told.out.find("key \"k\": no more time"), std::string::npos) << told.out;

  told = judge_text(hard + line(1, "get", 1, 2, R"("result":"x")", "ok", "z"), options);
  EXPECT_EQ(told.exit, kHasNone) << told.out;
  EXPECT_NE(told.out.find("key \"z\""), std::string::npos) << told.out;
}

}  // namespace
}  // namespace tailrace::testing
