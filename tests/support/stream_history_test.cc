#include "stream_history.h"

#include <gtest/gtest.h>

namespace tailrace::testing::stream_history {
namespace {

using Kind = StreamOperation::Kind;
using Outcome = StreamOperation::Outcome;
using Expected = StreamOperation::Expected;

/// What is asked of the stream "s" from `invoked` to `returned`.
StreamOperation append(uint64_t number, uint64_t invoked, uint64_t returned, uint64_t version,
                       uint64_t events = 1) {
  StreamOperation operation;
  operation.stream = "s";
  operation.number = number;
  operation.events = events;
  operation.first_version = version;
  operation.invoked = invoked;
  operation.returned = returned;
  return operation;
}
StreamOperation exactly(StreamOperation operation, uint64_t version) {
  operation.expected = Expected::kExact;
  operation.expected_version = version;
  return operation;
}
StreamOperation refused(StreamOperation operation, uint64_t seen) {
  operation.outcome = Outcome::kRefused;
  operation.seen = seen;
  return operation;
}
StreamOperation unknown(uint64_t number, uint64_t invoked) {
  StreamOperation operation = append(number, invoked, 0, 0);
  operation.outcome = Outcome::kUnknown;
  return operation;
}
StreamOperation read(uint64_t invoked, uint64_t returned, uint64_t seen, Kind kind = Kind::kRead) {
  StreamOperation operation = append(0, invoked, returned, 0);
  operation.kind = kind;
  operation.seen = seen;
  return operation;
}

/// "" or the sentence. `events`: which appends wrote the stream's events, one each.
std::string judged(const std::vector<StreamOperation>& operations,
                   const std::vector<StreamEvent>& events) {
  return judge_streams(operations, {{"s", events}}).value_or("");
}
bool says(const std::string& sentence, const std::string& part) {
  return sentence.find(part) != std::string::npos;
}

// Promise: what a stream can have done is explained, with answers that were lost.
TEST(StreamHistory, ExplainsWhatCanHaveHappened) {
  EXPECT_EQ(judged({append(1, 0, 10, 0), exactly(append(2, 5, 20, 1), 0), read(12, 15, 1),
                    refused(exactly(append(3, 15, 30, 0), 0), 2), read(21, 22, 2)},
                   {{1, 0}, {2, 0}}),
            "");
  EXPECT_EQ(judged({append(1, 0, 10, 0, 2), unknown(2, 5), unknown(3, 5), append(4, 20, 30, 3)},
                   {{1, 0}, {1, 1}, {3, 0}, {4, 0}}),
            "")
      << "of two answers that were lost one was a yes";
  EXPECT_EQ(judged({append(1, 0, 10, 0), append(2, 0, 10, 1), read(11, 12, 1, Kind::kStaleRead)},
                   {{1, 0}, {2, 0}}),
            "")
      << "a stale read may miss what is there";
}

// Promise: accepted appends form one chain. No version is given twice, and none is left out.
TEST(StreamHistory, NoticesABrokenChain) {
  EXPECT_TRUE(says(judged({append(1, 0, 10, 0), append(2, 0, 10, 0)}, {{1, 0}, {2, 0}}),
                   "append 2 to the stream 's' was answered with another place"));
  EXPECT_TRUE(says(judged({append(1, 0, 10, 0)}, {{1, 0}, {1, 0}}), "an event stands twice"));
  EXPECT_TRUE(says(judged({append(1, 0, 10, 0)}, {{7, 0}, {1, 0}}), "another place"));
  EXPECT_TRUE(says(judged({unknown(1, 0)}, {{7, 0}, {1, 0}}), "an event that nobody appended"));
  EXPECT_TRUE(says(judged({append(1, 0, 10, 0), append(2, 0, 10, 1)}, {{1, 0}}), "stand there"))
      << "an acknowledged append is lost";
  EXPECT_TRUE(says(judged({append(1, 0, 10, 0, 2), append(2, 0, 10, 1)}, {{1, 0}, {2, 0}, {1, 1}}),
                   "does not stand there whole"));
}

// Promise: an append stands behind what it expected, and one that was refused nowhere.
TEST(StreamHistory, NoticesAVersionThatWasNotExpected) {
  EXPECT_TRUE(
      says(judged({append(1, 0, 10, 0), append(2, 0, 10, 1), exactly(append(3, 0, 10, 2), 0)},
                  {{1, 0}, {2, 0}, {3, 0}}),
           "behind another version than it expected"));
  StreamOperation lost = exactly(unknown(2, 0), 5);
  EXPECT_TRUE(says(judged({append(1, 0, 10, 0), lost}, {{1, 0}, {2, 0}}), "than it expected"))
      << "also where the answer was lost";
  StreamOperation none = append(2, 0, 10, 1);
  none.expected = Expected::kNone;
  EXPECT_TRUE(says(judged({append(1, 0, 10, 0), none}, {{1, 0}, {2, 0}}), "than it expected"));
  StreamOperation exists = append(1, 0, 10, 0);
  exists.expected = Expected::kExists;
  EXPECT_TRUE(says(judged({exists}, {{1, 0}}), "than it expected"));
  EXPECT_TRUE(says(
      judged({append(1, 0, 10, 0), refused(exactly(append(2, 0, 10, 0), 5), 1)}, {{1, 0}, {2, 0}}),
      "was refused, and stands there"));
  EXPECT_TRUE(
      says(judged({append(1, 0, 10, 0), refused(exactly(append(2, 0, 10, 0), 0), 1)}, {{1, 0}}),
           "refused although it found what it expected"));
}

// Promise: the order of the versions is one in which it can have happened.
TEST(StreamHistory, NoticesAnOrderThatTimeContradicts) {
  const std::vector<StreamEvent> two{{1, 0}, {2, 0}};
  EXPECT_TRUE(says(judged({append(1, 20, 30, 0), append(2, 0, 10, 1)}, two), "no order explains"));
  EXPECT_TRUE(says(judged({append(1, 0, 10, 0), append(2, 0, 10, 1), read(11, 12, 1)}, two),
                   "no order explains"))
      << "a read misses what was acknowledged";
  EXPECT_TRUE(says(judged({append(1, 0, 10, 0), append(2, 20, 30, 1), read(11, 12, 2)}, two),
                   "no order explains"))
      << "a read sees what was not sent yet";
  EXPECT_TRUE(says(
      judged({append(1, 0, 99, 0), append(2, 0, 99, 1), read(10, 20, 2), read(30, 40, 1)}, two),
      "no order explains"))
      << "a read goes back behind another";
  EXPECT_TRUE(says(judged({append(1, 0, 10, 0), append(2, 0, 10, 1),
                           refused(exactly(append(3, 20, 30, 0), 7), 1)},
                          two),
                   "no order explains"))
      << "a refusal goes by what was there before";
  EXPECT_TRUE(says(
      judged({append(1, 0, 10, 0), append(2, 20, 30, 1), read(11, 12, 2, Kind::kStaleRead)}, two),
      "no order explains"));
  EXPECT_TRUE(says(judged({append(1, 0, 10, 0), read(11, 12, 2)}, {{1, 0}}), "more events"));
}

TEST(StreamHistory, NoticesPlacesThatTimeContradicts) {
  EXPECT_FALSE(judge_order({{100, 0, 10}, {200, 5, 20}, {300, 5, 8}}));
  const auto broken = judge_order({{200, 0, 10}, {100, 20, 30}});
  ASSERT_TRUE(broken);
  EXPECT_TRUE(says(*broken, "the command at 200"));
}

}  // namespace
}  // namespace tailrace::testing::stream_history
