// Server and client together, over loopback: reads of all levels, and tails.

#include <chrono>
#include <future>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/rpc/fake_node.h"
#include "tests/rpc/served_node.h"
#include "tests/rpc/service/clients.h"

namespace tailrace::rpc {
namespace {

using testing::client_of;
using testing::FakeNode;

// A value that is on disk is brought by another thread, and the answer is the same.
TEST(Service, AColdReadIsAnsweredAsAnyOther) {
  FakeNode node;
  auto client = client_of({node.address()});
  const auto put = client->put(as_bytes("k"), as_bytes("v"));
  ASSERT_TRUE(put) << put.error().message;
  node.machine.cold = true;
  const auto got = client->get(as_bytes("k"), {});
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(got->found);
  EXPECT_EQ(got->value, "v");
  EXPECT_GE(got->applied, put->range.end);
  EXPECT_FALSE(client->get(as_bytes("none"), {})->found);
}

TEST(Service, AClientOfAFollowerFindsTheLeader) {
  FakeNode leader, follower;
  replication::NodeStatus status;
  status.self = NodeId{2};
  status.role = replication::Role::kFollower;
  status.epoch = Epoch{1};
  status.leader = NodeId{1};
  status.leader_client_address = leader.address();
  follower.node.set(status);
  auto client = client_of({follower.address()});
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes("v")));
  EXPECT_EQ(leader.log.count(), 1u);
  EXPECT_EQ(follower.log.count(), 0u);
  // Local reads stay where they were sent.
  ReadOptions any;
  any.level = ReadOptions::Level::kAny;
  EXPECT_FALSE(client->get(as_bytes("k"), any)->found);
}

TEST(Service, AReadAtLeastWaitsForItsAddressAndTimesOut) {
  FakeNode node;
  auto client = client_of({node.address()}, true, 300);
  ReadOptions at_least;
  at_least.level = ReadOptions::Level::kAtLeast;
  at_least.address = Address{1 << 20};
  const auto late = client->get(as_bytes("k"), at_least);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kTimedOut);
}

// Promise: a leader knows what its epoch has acknowledged: who names more is told at once. What a
// newer epoch may have acknowledged is waited for.
TEST(Service, AReadAtLeastBeyondTheLeadersEndIsRefusedAtOnce) {
  FakeNode node;
  ASSERT_TRUE(client_of({node.address()})->put(as_bytes("k"), as_bytes("v")));
  ReadOptions at_least;
  at_least.level = ReadOptions::Level::kAtLeast;
  at_least.epoch = Epoch{1};
  at_least.address = node.log.tail();
  EXPECT_TRUE(client_of({node.address()})->get(as_bytes("k"), at_least));
  at_least.address = node.log.tail() + 1;
  const auto refused = client_of({node.address()})->get(as_bytes("k"), at_least);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kOutOfRange) << refused.error().message;
  at_least.epoch = Epoch{2};
  const auto late = client_of({node.address()}, true, 300)->get(as_bytes("k"), at_least);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kTimedOut) << late.error().message;
}

// Promise: a client that asks a follower for what it has not applied cannot make the cluster look
// broken or slow.
TEST(Service, AReadAtLeastThatComesTooEarlyIsNoFailureOfTheCluster) {
  FakeNode node;
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  replication::NodeStatus status = *node.node.status();
  status.role = replication::Role::kFollower;
  status.serving = status.alone = false;
  node.node.set(status);
  ReadOptions at_least;
  at_least.level = ReadOptions::Level::kAtLeast;
  at_least.epoch = Epoch{1};
  at_least.address = Address{1 << 20};
  EXPECT_FALSE(client_of({node.address()}, true, 200)->get(as_bytes("k"), at_least));
  const auto shows = [&](const std::string& line) {
    return registry.expose().find(line + "\n") != std::string::npos;
  };
  EXPECT_TRUE(testing::soon([&] {
    return shows(
        "tailrace_rpc_requests_total{kind=\"get\",result=\"elsewhere\",code=\"unavailable\"} 1");
  }));
  EXPECT_TRUE(
      shows("tailrace_rpc_requests_total{kind=\"get\",result=\"failed\",code=\"timed_out\"} 0"));
  EXPECT_TRUE(shows("tailrace_rpc_request_duration_seconds_count{kind=\"get\"} 0"));
}

// One that knows of nothing newer than it has promised to be is asked, and then the next.
TEST(Service, ABoundedReadGoesOnToAServerWhoseStateIsFreshEnough) {
  FakeNode stale, fresh;
  replication::NodeStatus status;
  status.self = NodeId{2};
  status.role = replication::Role::kFollower;
  status.epoch = Epoch{1};
  stale.node.set(status);
  ASSERT_TRUE(client_of({fresh.address()})->put(as_bytes("k"), as_bytes("v")));
  ReadOptions bounded;
  bounded.level = ReadOptions::Level::kBounded;
  bounded.staleness_ms = 1000;
  const auto got = client_of({stale.address(), fresh.address()})->get(as_bytes("k"), bounded);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->value, "v");
  // With nobody who could, it is told why.
  const auto refused = client_of({stale.address()})->get(as_bytes("k"), bounded);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("of any age"), std::string::npos);
  const auto late =
      client_of({stale.address(), stale.address()}, true, 200)->get(as_bytes("k"), bounded);
  ASSERT_FALSE(late);
  EXPECT_NE(late.error().message.find("of any age"), std::string::npos) << late.error().message;
}

TEST(Service, AnAppendIsOneRangeAndIsTailedInOrder) {
  FakeNode node;
  auto client = client_of({node.address()});
  std::vector<std::string> sent;
  for (int batch = 0; batch < 30; ++batch) {
    std::vector<ByteSpan> events;
    const size_t first = sent.size();
    for (int i = 0; i < 100; ++i)
      sent.push_back(std::string(400, 'x') + std::to_string(sent.size()));
    for (size_t i = first; i < sent.size(); ++i)
      events.push_back(as_bytes(sent[i]));
    const auto answer = client->append("s", events);
    ASSERT_TRUE(answer) << answer.error().message;
  }
  std::vector<std::string> seen;
  Client::TailOptions options;
  const auto end = client->tail(options, [&](const TailRecord& record) {
    seen.emplace_back(as_text(statemachine::decode(as_bytes(record.payload))->value));
    return true;
  });
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(seen, sent);
  EXPECT_EQ(*end, node.log.tail());
}

TEST(Service, AFollowingTailSeesWhatIsAppendedLaterAndEndsOnRequest) {
  FakeNode node;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->append("s", {as_bytes("old")}));
  std::promise<void> started;
  std::vector<std::string> seen;
  Client::TailOptions options;
  options.follow = true;
  std::thread writer([&] {
    started.get_future().wait();
    for (int i = 0; i < 10; ++i)
      ASSERT_TRUE(client->append("s", {as_bytes(std::to_string(i))}));
  });
  const auto end = client->tail(options, [&](const TailRecord& record) {
    if (seen.empty()) started.set_value();
    seen.emplace_back(as_text(statemachine::decode(as_bytes(record.payload))->value));
    return seen.size() < 11;
  });
  writer.join();
  ASSERT_TRUE(end);
  EXPECT_EQ(seen.front(), "old");
  EXPECT_EQ(seen.back(), "9");
}

// What is gathered of many records can be written before the tail waits: it is told each time, also
// with a single record, and ends where it is told to.
TEST(Service, ATailTellsWhenAllThatHasComeWasVisited) {
  FakeNode node;
  auto client = client_of({node.address()});
  auto writer = client_of({node.address()});
  ASSERT_TRUE(writer->append("s", {as_bytes("0")}));
  std::promise<void> over;
  Client::TailOptions options;
  options.follow = true;
  std::stop_source stop;
  options.stop = stop.get_token();
  std::thread patience([&] {
    if (over.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::timeout)
      stop.request_stop();
  });
  size_t seen = 0;
  std::vector<size_t> told;
  options.caught_up = [&] {
    told.push_back(seen);
    if (seen == 4) return false;
    EXPECT_TRUE(writer->append("s", {as_bytes(std::to_string(seen))}));
    return true;
  };
  const auto end = client->tail(options, [&](const TailRecord&) { return ++seen < 10; });
  over.set_value();
  patience.join();
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(told, (std::vector<size_t>{1, 2, 3, 4}));
  EXPECT_EQ(*end, node.log.tail());
}

}  // namespace
}  // namespace tailrace::rpc
