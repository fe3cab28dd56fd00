#include "tests/support/history_json.h"

#include <sstream>

#include <gtest/gtest.h>

namespace tailrace::testing {
namespace {

// Promise: what the lines say is what is judged.
TEST(HistoryJson, EveryOperationIsRead) {
  std::istringstream text(
      R"({"client":1,"op":"put","key":"k","value":"a","invoke_ns":1,"return_ns":2,"outcome":"ok"}

{"client":2,"op":"get","key":"k","result":"a","invoke_ns":3,"return_ns":4,"outcome":"ok","node":7}
{"client":2,"op":"get","key":"k","result":null,"invoke_ns":3,"return_ns":4,"outcome":"fail"}
{"client":1,"op":"cas","key":"k","expected":"b","value":"c","result":false,"present":"a","invoke_ns":5,"return_ns":6,"outcome":"ok"}
{"client":1,"op":"insert","key":"k","value":"c","result":false,"invoke_ns":5,"return_ns":6,"outcome":"ok"}
{"client":1,"op":"delete","key":"k","result":true,"invoke_ns":7,"return_ns":8,"outcome":"ok"}
{"client":3,"op":"add","key":"n","value":-2,"result":"40","invoke_ns":9,"return_ns":10,"outcome":"ok"}
{"client":3,"op":"add","key":"n","value":"1","invoke_ns":9,"outcome":"unknown"})");
  const auto history = read_history(text);
  ASSERT_TRUE(history.has_value()) << history.error().message;
  std::string told;
  for (const HistoryOperation& operation : *history)
    told += operation.key + ": " + describe(operation) + "\n";
  EXPECT_EQ(told, R"(k: client 1 write "a" [1, 2]
k: client 2 read, saw "a" [3, 4]
k: client 1 compare-and-swap "b" -> "c", not done, saw "a" [5, 6]
k: client 1 insert "c", not done [5, 6]
k: client 1 erase, done [7, 8]
n: client 3 add -2, saw "40" [9, 10]
n: client 3 add 1, outcome unknown [9, ...)
)");
}

TEST(HistoryJson, WhatIsWrongIsNamedWithItsLine) {
  const auto refused = [](const std::string& line) {
    std::istringstream text("\n" + line + "\n");
    const auto history = read_history(text);
    EXPECT_FALSE(history.has_value()) << line;
    return history ? "" : history.error().message;
  };
  EXPECT_EQ(refused("put"), "line 2: not a JSON object");
  EXPECT_EQ(refused(R"({"client":1})"), "line 2: outcome is missing");
  EXPECT_NE(refused(R"({"outcome":"maybe"})").find("ok, fail or unknown"), std::string::npos);
  EXPECT_NE(refused(R"({"outcome":"ok","op":"scan"})").find("op is \"scan\""), std::string::npos);
  EXPECT_EQ(refused(R"({"outcome":"ok","op":"get","key":"k","client":1,"invoke_ns":2})"),
            "line 2: return_ns is not a number");
  EXPECT_EQ(
      refused(R"({"outcome":"ok","op":"get","key":"k","client":1,"invoke_ns":2,"return_ns":1})"),
      "line 2: it returned before it was invoked");
}

}  // namespace
}  // namespace tailrace::testing
