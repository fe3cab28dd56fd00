#include "statemachine/anchors.h"

#include <gtest/gtest.h>

namespace tailrace::statemachine {
namespace {

// No anchor of anyone else makes log bytes dispensable before a checkpoint was published.
TEST(AnchorRegistry, WithoutACheckpointNothingMayGo) {
  AnchorRegistry anchors;
  anchors.set("follower:2", Address{5000});
  EXPECT_EQ(anchors.limit(), std::make_pair(Address{0}, std::string("none")));
}

TEST(AnchorRegistry, TheLeastAnchorIsTheLimitAndIsNamed) {
  AnchorRegistry anchors;
  anchors.set("checkpoint", Address{9000});
  anchors.set("follower:2", Address{5000});
  anchors.set("retention", Address{7000});
  EXPECT_EQ(anchors.limit(), std::make_pair(Address{5000}, std::string("follower:2")));
  anchors.set("follower:2", Address{8000});
  EXPECT_EQ(anchors.limit(), std::make_pair(Address{7000}, std::string("retention")));
  anchors.remove("retention");
  anchors.remove("follower:2");
  EXPECT_EQ(anchors.limit(), std::make_pair(Address{9000}, std::string("checkpoint")));
}

}  // namespace
}  // namespace tailrace::statemachine
