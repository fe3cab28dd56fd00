// What `tailrace top` makes of two answers of each node.
#include <algorithm>
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "app/top/bounds.h"
#include "app/top/followers.h"
#include "app/top/text.h"
#include "app/top/view.h"
#include "app/top/view_json.h"
#include "tests/app/top_cluster.h"

namespace tailrace::app::top {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

TEST(TopRates, ACounterThatWentDownSaysNothing) {
  EXPECT_EQ(rate(10, 30, 2), 10.0);
  EXPECT_EQ(rate(30, 10, 2), std::nullopt);
  EXPECT_EQ(rate(10, 30, 0), std::nullopt);
  EXPECT_EQ(rate(10, 30, -1), std::nullopt);
}

TEST(TopRates, QuantilesAreOfWhatCameBetween) {
  const std::vector<double> bounds{1, 2, 4};
  EXPECT_DOUBLE_EQ(quantile(bounds, {100, 0, 0, 0}, {100, 10, 0, 0}, 0.5)->seconds, 1.5);
  EXPECT_FALSE(quantile(bounds, {100, 0, 0, 0}, {100, 10, 0, 0}, 0.5)->or_less);
  const auto below = quantile(bounds, {0, 0, 0, 0}, {10, 0, 10, 0}, 0.25);
  EXPECT_TRUE(below->or_less);
  EXPECT_EQ(below->seconds, 1);
  const auto beyond = quantile(bounds, {0, 0, 0, 0}, {0, 0, 0, 1}, 0.5);
  EXPECT_TRUE(beyond->or_more);
  EXPECT_EQ(beyond->seconds, 4);
}

TEST(TopRates, BucketsThatDoNotFitSayNothing) {
  const std::vector<double> bounds{1, 2};
  EXPECT_FALSE(quantile(bounds, {0, 0, 0}, {0, 0, 0}, 0.5));  // nothing came
  EXPECT_FALSE(quantile(bounds, {0, 5, 0}, {9, 4, 0}, 0.5));  // one went down
  EXPECT_FALSE(quantile(bounds, {0, 0}, {1, 1}, 0.5));
  EXPECT_FALSE(quantile(bounds, {0, 0, 0}, {1, 1}, 0.5));
  EXPECT_FALSE(quantile({}, {0}, {1}, 0.5));
  EXPECT_FALSE(quantile({2, 1}, {0, 0, 0}, {1, 1, 1}, 0.5));
  EXPECT_FALSE(quantile({1, std::numeric_limits<double>::infinity()}, {0, 0, 0}, {1, 1, 1}, 0.5));
  EXPECT_FALSE(quantile({std::nan(""), 1}, {0, 0, 0}, {1, 1, 1}, 0.5));
}

TEST(TopText, IsShort) {
  for (const auto& [bytes, text] :
       std::vector<std::pair<uint64_t, std::string>>{{0, "0B"},
                                                     {999, "999B"},
                                                     {1000, "1.0K"},
                                                     {1536, "1.5K"},
                                                     {52u << 20, "52M"},
                                                     {1023u << 10, "1.0M"},
                                                     {UINT64_MAX, "16E"}})
    EXPECT_EQ(short_bytes(bytes), text);
  for (const auto& [count, text] : std::vector<std::pair<double, std::string>>{
           {0, "0"}, {-1, "0"}, {1.5, "1.5"}, {340, "340"}, {999.6, "1.0k"}, {12'300, "12k"}})
    EXPECT_EQ(short_count(count), text);
  for (const auto& [seconds, text] :
       std::vector<std::pair<double, std::string>>{{0, "0 s"},
                                                   {0.000085, "85 us"},
                                                   {0.0012, "1.2 ms"},
                                                   {0.45, "450 ms"},
                                                   {12.34, "12.3 s"}})
    EXPECT_EQ(short_time(seconds), text);
  EXPECT_EQ(short_age(59.9), "59s");
  EXPECT_EQ(short_age(86'400 * 3.5), "3d");
  EXPECT_EQ(and_more(1, "node"), "and 1 more node");
  EXPECT_EQ(and_more(2, "node"), "and 2 more nodes");
  EXPECT_EQ(plain("a\tb\x1b[gr\xc3\xbc\x7f"), "a?b?[gr??");
}

TEST(TopView, RatesAreByTheServersOwnTime) {
  Snapshot before = cluster_at(kBefore), now = cluster_at(kNow);
  // Half of the second went by on the way.
  now.servers[0].second->activity->uptime_s = before.servers[0].second->activity->uptime_s + 0.5;
  const View view = view_of(&before, now);
  EXPECT_DOUBLE_EQ(*view.nodes[0].rates.writes, 2400);
  EXPECT_DOUBLE_EQ(*view.rates.writes, 2400);
  EXPECT_DOUBLE_EQ(*view.rates.events, 7200);
  EXPECT_DOUBLE_EQ(*view.rates.reads, 600 + 300 + 300);
}

TEST(TopView, AfterARestartOfTheLeaderNoRateOfTheClusterIsKnown) {
  const Snapshot before = cluster_at(kBefore);
  Snapshot now = cluster_at(kNow);
  now.servers[0].second->activity->uptime_s = 1;
  const View view = view_of(&before, now);
  EXPECT_FALSE(view.rates.writes);
  EXPECT_FALSE(view.nodes[0].cpu_share);
  EXPECT_FALSE(view.nodes[0].applied_bytes);
  EXPECT_TRUE(view.nodes[1].rates.reads);
  ASSERT_EQ(view.stages.size(), 6u);
  EXPECT_FALSE(view.stages[2].p50);
}

// Promise: a server that was started anew between two polls has no rates, also where it has run for
// longer than the one before it had.
TEST(TopView, ARestartShowsInTheTimeBetweenThePolls) {
  Snapshot before = cluster_at(kBefore), now = cluster_at(kNow);
  now.began = now.at = before.at + std::chrono::seconds(10);
  Answer::Activity& young = *before.servers[0].second->activity;
  Answer::Activity& later = *now.servers[0].second->activity;
  young.uptime_s = 0.5;
  later.uptime_s = 8;
  EXPECT_FALSE(view_of(&before, now).nodes[0].rates.writes);
  later.uptime_s = 10;
  EXPECT_TRUE(view_of(&before, now).nodes[0].rates.writes);
  later.uptime_s = 13;
  EXPECT_FALSE(view_of(&before, now).nodes[0].rates.writes) << "of another process, too";
}

// A poll lasts until the slowest server has answered or was given up.
TEST(TopView, ASlowPollIsNotARestart) {
  Snapshot before = cluster_at(kBefore), now = cluster_at(kNow);
  before.began = before.at - std::chrono::seconds(2);
  now.servers[0].second->activity->uptime_s = before.servers[0].second->activity->uptime_s + 3;
  EXPECT_TRUE(view_of(&before, now).nodes[0].rates.writes);
  before.began = before.at;
  EXPECT_FALSE(view_of(&before, now).nodes[0].rates.writes);
}

TEST(TopView, OfTwoThatSayTheyLeadTheNewerOneDoes) {
  Snapshot now = cluster_at(kNow);
  Answer& other = *now.servers[1].second;
  other.role = "leader";
  other.serving = true;
  other.epoch = Epoch{4};
  EXPECT_EQ(view_of(nullptr, now).leader, NodeId{2});
}

TEST(TopView, AMemberUnderAnotherNameIsShownOnce) {
  Snapshot now = cluster_at(kNow);
  now.servers[0].first = "localhost:7100";
  now.servers.emplace_back(server_of(1), make_error(ErrorCode::kTimedOut, "no answer in time"));
  EXPECT_EQ(view_of(nullptr, now).nodes.size(), 3u);
  now.servers[3].second = now.servers[0].second;
  EXPECT_EQ(view_of(nullptr, now).nodes.size(), 3u);
  EXPECT_THAT(view_of(nullptr, now).problems, IsEmpty());
}

TEST(TopView, ASilentServerHasTheNumberOfTheMemberThatIsThere) {
  Snapshot now = cluster_at(kNow);
  silence(now, 1, "connect: Connection refused");
  now.servers.emplace_back("elsewhere:1", make_error(ErrorCode::kUnavailable, "no such host"));
  const View view = view_of(nullptr, now);
  ASSERT_EQ(view.nodes.size(), 4u);
  EXPECT_EQ(view.nodes[1].node, NodeId{2});
  EXPECT_EQ(view.nodes[1].health, "no answer");
  EXPECT_EQ(view.nodes[3].server, "elsewhere:1");
  EXPECT_THAT(view.problems, Contains("node 2: no answer: connect: Connection refused"));
  EXPECT_THAT(view.problems, Contains("elsewhere:1: no answer: no such host"));
}

// Promise: an answer of any size becomes a screen of a bounded size, and the screen says so.
TEST(TopBounds, WhatAServerTellsBeyondThemIsCountedOnly) {
  Snapshot now = cluster_at(kNow);
  Answer& leader = *now.servers[0].second;
  for (uint32_t i = 4; i <= 100'000; ++i) {
    leader.members.push_back({NodeId{i}, true, false, "", server_of(i)});
    leader.followers.emplace_back().node = NodeId{i};
    leader.anchors.emplace_back("follower:" + std::to_string(i), Address{i});
    leader.activity->stages.push_back({"stage", {}, 0});
  }
  leader.problem.assign(1'000'000, 'x');
  silence(now, 2, std::string(1'000'000, 'y'));
  bound(now);
  EXPECT_EQ(leader.members.size(), kMostListed);
  EXPECT_EQ(leader.followers.size(), kMostListed);
  EXPECT_EQ(leader.anchors.size(), kMostListed);
  EXPECT_EQ(leader.activity->stages.size(), kMostListed);
  EXPECT_EQ(leader.problem.size(), kMostTextBytes + 3);
  const View view = view_of(nullptr, now);
  EXPECT_EQ(view.nodes.size(), kMostListed);
  for (const std::string& problem : view.problems)
    EXPECT_LT(problem.size(), 2 * kMostTextBytes);
  EXPECT_THAT(view.problems, Contains("node 1: tells of 128 members, and 99872 more members"));
  EXPECT_THAT(view.problems, Contains(HasSubstr("128 stages, and 99875 more stages")));
}

TEST(TopBounds, BucketsAreTakenAllOrNotAtAll) {
  Snapshot now = cluster_at(kNow);
  Answer::Activity& activity = *now.servers[0].second->activity;
  activity.stage_bounds_s.resize(kMostListed + 1);
  bound(now);
  EXPECT_THAT(activity.stage_bounds_s, IsEmpty());
  EXPECT_THAT(activity.stages[1].counts, IsEmpty());
  EXPECT_FALSE(now.servers[1].second->activity->stage_bounds_s.empty());
  EXPECT_THAT(now.left_out, IsEmpty());
}

// Promise: a node is said to be silent only after it was asked. A removed node names members of
// long ago, which are not asked.
TEST(TopView, AMemberThatWasNotAskedIsNotSilent) {
  Snapshot now = cluster_at(kNow);
  now.servers.erase(now.servers.begin(), now.servers.begin() + 2);
  now.servers[0].second->removed = true;
  const View view = view_of(nullptr, now);
  ASSERT_EQ(view.nodes.size(), 3u);
  EXPECT_EQ(view.nodes[0].health, "not asked");
  EXPECT_EQ(view.nodes[2].health, "removed");
  EXPECT_THAT(view.problems, Not(Contains(HasSubstr("no answer"))));
  EXPECT_THAT(view.problems, Contains(HasSubstr("node 1: not asked")));
  EXPECT_EQ(to_json(view)["nodes"][0]["health"], "not asked");
}

TEST(TopFollowers, AMajorityIsOfTheVotersAndTheLeaderIsOneOnlyIfItVotes) {
  Answer leader = node_at(1, kNow, 3);
  EXPECT_TRUE(has_majority(leader));
  leader.followers[0].connected = false;
  EXPECT_TRUE(has_majority(leader));
  leader.followers[1].connected = false;
  EXPECT_FALSE(has_majority(leader));
  EXPECT_TRUE(lacks_majority(leader));
  leader.serving = false;  // another thing is wrong then
  EXPECT_FALSE(lacks_majority(leader));
  // A learner does not count, whether it is connected or not.
  Answer four = node_at(1, kNow, 4);
  four.members[3].voter = false;
  four.followers[0].connected = four.followers[1].connected = false;
  EXPECT_FALSE(has_majority(four));
  // Two of four are no majority.
  four.members[3].voter = true;
  EXPECT_FALSE(has_majority(four));
  Answer outside = node_at(1, kNow, 3);
  outside.members[0].voter = false;
  EXPECT_TRUE(has_majority(outside));
  outside.followers[0].connected = false;
  EXPECT_FALSE(has_majority(outside));
  EXPECT_TRUE(has_majority(node_at(1, kNow, 1)));
  // A connected voter that has lost its disk does not count until it has a vote again.
  Answer lost = node_at(1, kNow, 3);
  lost.followers[0].connected = false;
  lost.followers[1].vote = Vote::kNone;
  EXPECT_FALSE(has_majority(lost));
  lost.followers[1].vote = Vote::kProvisional;
  EXPECT_TRUE(has_majority(lost));
  outside.members.clear();
  EXPECT_TRUE(has_majority(outside)) << "an older server names none";
}

TEST(TopView, ALeaderWithoutAMajorityIsTheFirstProblem) {
  Snapshot now = cluster_at(kNow);
  silence(now, 1, "connect: Connection refused");
  silence(now, 2, "connect: Connection refused");
  Answer& leader = *now.servers[0].second;
  leader.followers[0].connected = leader.followers[1].connected = false;
  leader.problem = "another one";
  const View view = view_of(nullptr, now);
  ASSERT_FALSE(view.problems.empty());
  EXPECT_EQ(view.problems[0], kNoMajority);
  EXPECT_EQ(view.nodes[0].health, "no majority");
  EXPECT_FALSE(view.nodes[0].is_well);
  leader.followers[1].connected = true;
  EXPECT_THAT(view_of(nullptr, now).problems, Not(Contains(kNoMajority)));
}

// Promise: what nobody knows is not shown as a lag, neither as none nor as the whole log.
TEST(TopView, AFollowerWhosePositionIsNotKnownHasNoLag) {
  Snapshot now = cluster_at(kNow);
  silence(now, 2, "connect: Connection refused");
  for (Answer::Follower& follower : now.servers[0].second->followers) {
    follower.durable = Address{};
    follower.lag_bytes = 13'000'000;  // as servers of before say it
    follower.lag_seconds = 100;
  }
  const View view = view_of(nullptr, now);
  for (const size_t i : {1u, 2u}) {
    EXPECT_FALSE(view.nodes[i].lag_bytes) << i;
    EXPECT_FALSE(view.nodes[i].lag_s) << i;
  }
  EXPECT_THAT(view.problems, Not(Contains(HasSubstr("behind the leader"))));
  EXPECT_TRUE(to_json(view)["nodes"][1]["lag_bytes"].is_null());
}

TEST(TopView, WhatSeveralNodesTellInTheSameWordsIsSaidOnce) {
  Snapshot now = cluster_at(kNow);
  now.servers[0].second->serving = false;
  for (const size_t i : {1u, 2u})
    now.servers[i].second->problem = "there is no connection to the leader";
  const auto problems = view_of(nullptr, now).problems;
  EXPECT_THAT(problems, Contains("nodes 2, 3: there is no connection to the leader"));
  EXPECT_EQ(std::ranges::count_if(problems,
                                  [](const auto& one) { return one.find("no conn") != one.npos; }),
            1);
}

TEST(TopView, NoAnswerIsSaidOnce) {
  Snapshot now = cluster_at(kNow);
  silence(now, 1, "no answer from 10.0.0.2:7100");
  EXPECT_THAT(view_of(nullptr, now).problems, Contains("node 2: no answer from 10.0.0.2:7100"));
}

TEST(TopView, TheLeastAnchorHoldsTruncationBack) {
  const View view = view_of(nullptr, cluster_at(kNow));
  ASSERT_TRUE(view.truncation);
  EXPECT_EQ(view.truncation->anchors, std::vector<std::string>{"follower:2"});
  EXPECT_EQ(view.truncation->address, Address{64 + 12'999'936 / 4});
  EXPECT_EQ(view.truncation->below_next_bytes, 12'999'936u / 4);
}

TEST(TopView, ProblemsAreSaidInWords) {
  Snapshot now = cluster_at(kNow);
  Answer& leader = *now.servers[0].second;
  leader.followers[0].connected = false;
  leader.followers[1].needs_checkpoint = true;
  leader.followers[1].lag_seconds = 12;
  now.servers[1].second->cluster_identity = "another";
  now.servers[2].second->store_used_bytes = now.servers[2].second->store_capacity_bytes;
  now.servers[2].second->activity->disk_free_bytes = 1;
  const auto problems = view_of(nullptr, now).problems;
  for (const char* word :
       {"different clusters", "node 2: is not connected to the leader",
        "node 3: the leader has no longer the log", "behind the leader by 12.0 s",
        "its store is 100% full", "its disk has 1B left"})
    EXPECT_THAT(problems, Contains(HasSubstr(word)));
  now.servers[0].second->serving = false;
  EXPECT_THAT(view_of(nullptr, now).problems, Contains("no node serves as the leader"));
}

TEST(TopJson, WhatIsNotKnownIsNull) {
  Snapshot now = cluster_at(kNow);
  silence(now, 2, "no answer in time");
  const auto json = to_json(view_of(nullptr, now));
  EXPECT_EQ(json["leader"], 1);
  EXPECT_TRUE(json["per_second"]["writes"].is_null());
  EXPECT_TRUE(json["nodes"][2]["watermarks"].is_null());
  EXPECT_FALSE(json["nodes"][2]["answered"]);
  EXPECT_EQ(json["nodes"][0]["watermarks"]["tail"], 13'000'000);
  const Snapshot before = cluster_at(kBefore);
  const auto later = to_json(view_of(&before, now));
  EXPECT_DOUBLE_EQ(later["per_second"]["writes"], 1200);
  EXPECT_EQ(later["stages"][2]["stage"], "flush");
  EXPECT_GT(later["stages"][2]["p99_seconds"], later["stages"][2]["p50_seconds"]);
}

}  // namespace
}  // namespace tailrace::app::top
