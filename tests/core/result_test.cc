#include "core/result.h"

#include <map>
#include <memory>

#include <gtest/gtest.h>

namespace tailrace {
namespace {

using Pairs = std::map<int, int>;

template <typename Key, typename Value>
Result<std::map<Key, Value>> pairs_of(Key key, Value value) {
  return std::map<Key, Value>{{key, value}};
}

Result<std::unique_ptr<int>> half_of(int number) {
  if (number % 2 != 0) return make_error(ErrorCode::kInvalidArgument, "odd");
  return std::make_unique<int>(number / 2);
}

Result<int> quarter_of(int number) {
  TAILRACE_ASSIGN_OR_RETURN(const auto half, half_of(number));
  TAILRACE_ASSIGN_OR_RETURN(const std::unique_ptr<int> quarter, half_of(*half));
  return *quarter;
}

TEST(Result, AssignOrReturnMovesTheValueOut) {
  EXPECT_EQ(quarter_of(12), 3);
}

TEST(Result, AssignOrReturnReturnsTheErrorOfTheFirstThatFails) {
  for (const int number : {3, 6}) {
    const auto quarter = quarter_of(number);
    ASSERT_FALSE(quarter);
    EXPECT_EQ(quarter.error(), (Error{ErrorCode::kInvalidArgument, "odd"}));
  }
}

TEST(Result, AssignOrReturnAssignsToWhatIsThereOnlyASuccess) {
  std::unique_ptr<int> kept;
  const auto keep = [&](int number) -> Result<> {
    TAILRACE_ASSIGN_OR_RETURN(kept, half_of(number));
    return {};
  };
  ASSERT_TRUE(keep(8));
  EXPECT_EQ(*kept, 4);
  ASSERT_FALSE(keep(7));
  EXPECT_EQ(*kept, 4);
}

TEST(Result, ExpressionsMayHoldCommas) {
  const auto value = []() -> Result<int> {
    TAILRACE_RETURN_IF_ERROR(pairs_of<int, int>(1, 2));
    TAILRACE_ASSIGN_OR_RETURN(const Pairs pairs, pairs_of<int, int>(3, 4));
    return pairs.at(3);
  };
  EXPECT_EQ(value(), 4);
}

TEST(Result, ReturnIfErrorReturnsTheError) {
  const auto check = [](int number) -> Result<> {
    TAILRACE_RETURN_IF_ERROR(half_of(number));
    return {};
  };
  EXPECT_TRUE(check(2));
  ASSERT_FALSE(check(1));
  EXPECT_EQ(check(1).error().message, "odd");
}

}  // namespace
}  // namespace tailrace
