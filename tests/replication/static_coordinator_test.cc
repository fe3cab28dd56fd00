#include "replication/static_coordinator.h"

#include <vector>

#include <gtest/gtest.h>

#include "driven_core.h"

namespace tailrace::replication {
namespace {

struct Grants {
  Coordinator::Listener listener() {
    return [this](Grant grant) { grants.push_back(grant); };
  }
  std::vector<Grant> grants;
};

TEST(StaticCoordinator, GrantsTheConfiguredLeaderAnEpochAboveWhatItKnows) {
  StaticCoordinator coordinator(kOne, kOne);
  Grants granted;
  coordinator.start(Epoch{6}, granted.listener());
  ASSERT_EQ(granted.grants.size(), 1u);
  EXPECT_EQ(granted.grants[0], (Grant{kOne, Epoch{7}}));
}

TEST(StaticCoordinator, TellsTheOthersWhoLeadsAndGrantsThemNothing) {
  StaticCoordinator coordinator(kTwo, kOne);
  Grants granted;
  coordinator.start(Epoch{6}, granted.listener());
  ASSERT_EQ(granted.grants.size(), 1u);
  EXPECT_EQ(granted.grants[0].leader, kOne);
}

TEST(StaticCoordinator, APromotionGrantsANewEpochEachTime) {
  StaticCoordinator coordinator(kTwo, kOne);
  Grants granted;
  coordinator.start(Epoch{6}, granted.listener());
  ASSERT_TRUE(coordinator.promote());
  ASSERT_TRUE(coordinator.promote());
  ASSERT_EQ(granted.grants.size(), 3u);
  EXPECT_EQ(granted.grants[1], (Grant{kTwo, Epoch{7}}));
  EXPECT_EQ(granted.grants[2], (Grant{kTwo, Epoch{8}}));
}

TEST(StaticCoordinator, WhatWasHeardOfIsNeverGranted) {
  StaticCoordinator coordinator(kTwo, kOne);
  Grants granted;
  coordinator.start(Epoch{6}, granted.listener());
  coordinator.raise(Epoch{20});
  coordinator.raise(Epoch{10});
  ASSERT_TRUE(coordinator.promote());
  EXPECT_EQ(granted.grants.back(), (Grant{kTwo, Epoch{21}}));
}

TEST(StaticCoordinator, WhoResignedLeadsAgainOnlyWhenPromoted) {
  StaticCoordinator coordinator(kOne, kOne);
  Grants granted;
  coordinator.start(Epoch{0}, granted.listener());
  coordinator.resign(Epoch{1}, kTwo);
  coordinator.raise(Epoch{2});
  coordinator.set_candidacy(Candidacy::kNow);
  EXPECT_EQ(granted.grants.size(), 1u);
  ASSERT_TRUE(coordinator.promote());
  EXPECT_EQ(granted.grants.back(), (Grant{kOne, Epoch{3}}));
}

/// Never from within: whoever gives a grant back at once would be asked again for ever.
TEST(StaticCoordinator, WhoResignedForNobodyIsAskedAgainLaterAndEverMoreRarely) {
  StaticCoordinator coordinator(kTwo, kTwo);
  Grants granted;
  coordinator.start(Epoch{0}, granted.listener());
  std::vector<int> pauses;
  for (int i = 0; i < 4; ++i) {
    const size_t before = granted.grants.size();
    coordinator.resign(granted.grants.back().epoch, kNobody);
    EXPECT_EQ(granted.grants.size(), before);
    coordinator.set_candidacy(Candidacy::kNever);
    EXPECT_EQ(granted.grants.size(), before) << "a node that may not lead";
    int calls = 0;
    for (; granted.grants.size() == before && calls < 1000; ++calls)
      coordinator.set_candidacy(Candidacy::kNow);
    pauses.push_back(calls);
  }
  EXPECT_EQ(granted.grants.back().epoch, Epoch{5});
  EXPECT_EQ(pauses[0], 1);
  for (size_t i = 1; i < pauses.size(); ++i)
    EXPECT_GT(pauses[i], pauses[i - 1]);
}

TEST(StaticCoordinator, PromotesNobodyWhileTheNodeDoesNotRun) {
  StaticCoordinator coordinator(kOne, kTwo);
  EXPECT_EQ(coordinator.promote().error().code, ErrorCode::kFailedPrecondition);
  Grants granted;
  coordinator.start(Epoch{0}, granted.listener());
  coordinator.stop();
  EXPECT_EQ(coordinator.promote().error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(granted.grants.size(), 1u);
}

}  // namespace
}  // namespace tailrace::replication
