// Connections from other clusters, from unknown nodes, and from a second node of a number.

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "observability/metrics.h"
#include "tests/rpc/loopback.h"
#include "tests/rpc/peer/transport_side.h"

namespace tailrace::rpc {
namespace {

using namespace std::chrono_literals;
using testing::Side;

/// Once it has tried, and was refused.
bool fails_to_connect(Side& side) {
  observability::MetricRegistry metrics;
  side.transport->register_metrics(metrics);
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (std::chrono::steady_clock::now() < deadline) {
    if (metrics.expose().find("tailrace_peer_failures_total 0") == std::string::npos) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

TEST(PeerTransport, AnotherClusterIsRefusedByName) {
  ::testing::internal::CaptureStderr();  // the log is where an operator sees it
  Side leader(1, "east", 0, "127.0.0.1:1");
  Side follower(2, "west", 0, leader.address());
  EXPECT_TRUE(fails_to_connect(follower));
  follower.transport->stop();
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("cluster 'west'"), std::string::npos) << said;
  EXPECT_EQ(said.find("cluster 'east'"), std::string::npos) << "a stranger is told: " << said;
  EXPECT_EQ(follower.recorder.seen().connected, 0);
  EXPECT_EQ(leader.recorder.seen().connected, 0);
}

/// Who does not know it yet is let in, and learns it.
TEST(PeerTransport, AnotherClusterOfTheSameNameIsRefused) {
  Side first(1, "c", 0, "127.0.0.1:1", 1500ms, 5, {1, 1});
  {
    Side stranger(2, "c", 0, first.address(), 1500ms, 6, {1, 2});
    EXPECT_TRUE(fails_to_connect(stranger));
    stranger.transport->stop();
    EXPECT_EQ(stranger.recorder.seen().connected, 0);
  }
  EXPECT_EQ(first.recorder.seen().connected, 0);
  Side fresh(2, "c", 0, first.address(), 1500ms, 7, {});
  EXPECT_TRUE(fresh.recorder.wait([&] { return fresh.recorder.connected == 1; }));
}

// Whoever comes as a node that is there cuts off nobody: it is told why, and gets in once that one
// has gone.
TEST(PeerTransport, AnotherProcessOfTheSameNumberWaitsUntilTheFirstHasGone) {
  Side one(1, "c", 0, "127.0.0.1:1", 1500ms, 11);
  auto first = std::make_unique<Side>(2, "c", 0, one.address(), 1500ms, 21);
  ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.connected == 1; }));
  Side second(2, "c", 0, one.address(), 1500ms, 22);
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(second.recorder.seen().connected, 0);
  EXPECT_EQ(one.recorder.seen().disconnected, 0) << one.recorder.seen().reason;
  first.reset();
  EXPECT_TRUE(second.recorder.wait([&] { return second.recorder.connected == 1; }));
}

// A number alone keeps nobody out and is told nothing by which another could pass for this node.
TEST(PeerTransport, ADiskThatIsNotKnownIsToldLittleAndGivesWayToTheOneThatIs) {
  Side one(1, "c", 0, "127.0.0.1:1", 1500ms, 11, {}, 31, 32);
  Side other(2, "c", 0, one.address(), 1500ms, 21, {}, 33);
  ASSERT_TRUE(other.recorder.wait([&] { return other.recorder.connected == 1; }));
  EXPECT_EQ(other.recorder.told.life, replication::Life{});
  EXPECT_NE(other.recorder.told.version, 0u);
  Side voter(2, "c", 0, one.address(), 1500ms, 22, {}, 32);
  ASSERT_TRUE(voter.recorder.wait([&] { return voter.recorder.connected == 1; }));
  EXPECT_EQ(voter.recorder.told.life.run, 11u);
  EXPECT_TRUE(other.recorder.wait([&] { return other.recorder.disconnected == 1; }));
}

/// They come and go, also in each other's place, and nothing of them is kept.
TEST(PeerTransport, NumbersOfStrangersAreForgotten) {
  Side one(1, "c", 0, "127.0.0.1:1");
  for (int round = 0; round < 10; ++round) {
    std::vector<std::unique_ptr<Side>> strangers;
    for (int i = 0; i < 3; ++i) {
      strangers.push_back(Side::stranger(one.address()));
      ASSERT_TRUE(strangers.back()->recorder.wait(
          [&] { return strangers.back()->recorder.connected == 1; }));
    }
    one.reset(9);
  }
  Side two(2, "c", 0, one.address());
  EXPECT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 1; }));
}

// Strangers that say nothing take no place from a member, and write no log.
TEST(PeerTransport, SilentStrangersKeepNobodyOut) {
  ::testing::internal::CaptureStderr();
  Side one(1, "c", 0, "127.0.0.1:1");
  const int port = one.transport->port();
  std::vector<int> silent;
  for (int i = 0; i < 200; ++i)
    silent.push_back(testing::connect_to(port));
  Side two(2, "c", 0, one.address());
  EXPECT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 1; }));
  for (const int fd : silent)
    ::close(fd);
  two.transport->stop();
  one.transport->stop();
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_LT(std::count(said.begin(), said.end(), '\n'), 20) << said;
}

}  // namespace
}  // namespace tailrace::rpc
