// Back-pressure: what a commit waits for holds the clients, and what waits is bounded.
#include <future>
#include <thread>

#include <gtest/gtest.h>

#include "fake_node.h"
#include "observability/metrics.h"
#include "rpc/client/client.h"

namespace tailrace::rpc {
namespace {

using testing::FakeNode;

constexpr uint64_t kMostUnapplied = 20'000;
constexpr size_t kValueBytes = 1000;

std::unique_ptr<Client> client_of(const FakeNode& node, int timeout_ms = 60000) {
  ClientOptions options;
  options.servers = {node.address()};
  options.timeout = std::chrono::milliseconds(timeout_ms);
  return Client::create(options).value();
}

template <typename Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 3000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

class Backlog : public ::testing::Test {
 protected:
  Backlog() : node(options()) { node.server->register_metrics(registry); }
  static ServerOptions options() {
    ServerOptions result;
    result.max_unapplied_bytes = kMostUnapplied;
    result.max_connections = 4;
    return result;
  }
  uint64_t waiting() const { return node.log.tail().value - node.marks.applied().value; }
  bool shows(const std::string& line) { return registry.expose().find(line) != std::string::npos; }
  void put_many(Client& client, int count) {
    const std::string value(kValueBytes, 'v');
    for (int i = 0; i < count; ++i)
      client.async_put(as_bytes(std::to_string(i)), as_bytes(value),
                       [this](const Result<CommandAnswer>& answer) { ++(answer ? done : failed); });
  }

  observability::MetricRegistry registry;
  FakeNode node;
  std::atomic<int> done{0}, failed{0};
};

TEST_F(Backlog, NoMoreIsTakenThanMayWaitAndAllIsAnsweredOnceItIsApplied) {
  node.machine.hold(true);
  auto one = client_of(node), two = client_of(node);
  put_many(*one, 300);
  put_many(*two, 300);
  ASSERT_TRUE(soon([&] { return waiting() > kMostUnapplied; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  // The record that passes the limit is the last one; each connection may have one under way.
  EXPECT_LT(waiting(), kMostUnapplied + 2 * (kValueBytes + 200));
  EXPECT_EQ(done, 0);
  EXPECT_FALSE(shows("tailrace_rpc_stalls_total 0\n"));
  // Others are served.
  ReadOptions any;
  any.level = ReadOptions::Level::kAny;
  EXPECT_TRUE(client_of(node)->get(as_bytes("0"), any));
  node.machine.hold(false);
  EXPECT_TRUE(soon([&] { return done == 600; }));
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(node.log.count(), 600u);
}

/// The value of a series; 0: it is not told.
double value_of(const observability::MetricRegistry& registry, const std::string& series) {
  const std::string text = registry.expose();
  const size_t at = text.find("\n" + series + " ");
  return at == std::string::npos ? 0 : std::stod(text.substr(at + series.size() + 2));
}

/// A request that is held comes when it is offered first: the wait is in what it took, and is told
/// as the stage "held".
TEST_F(Backlog, WhatARequestTookBeginsBeforeItWasHeld) {
  node.machine.hold(true);
  auto client = client_of(node);
  put_many(*client, 40);
  ASSERT_TRUE(soon([&] { return waiting() > kMostUnapplied; }));
  constexpr double kHeld = 0.5;
  std::this_thread::sleep_for(std::chrono::duration<double>(kHeld));
  node.machine.hold(false);
  ASSERT_TRUE(soon([&] { return done == 40; }));
  const std::string name = "tailrace_rpc_request_stage_duration_seconds";
  EXPECT_GE(value_of(registry, name + "_sum{stage=\"held\"}"), 0.8 * kHeld);
  // Those behind the held one that were read with it came as early: some twenty were in the log,
  // and one was held.
  EXPECT_GE(value_of(registry, "tailrace_rpc_request_duration_seconds_sum{kind=\"put\"}"),
            24 * kHeld);
  // The same writes in each stage, and their parts are no more than the whole.
  const double writes = value_of(registry, name + "_count{stage=\"held\"}");
  double parts = 0;
  for (const char* stage : {"held", "enqueue", "flush", "commit", "apply", "answer"}) {
    const std::string label = std::string("{stage=\"") + stage + "\"}";
    EXPECT_EQ(value_of(registry, name + "_count" + label), writes) << stage;
    parts += value_of(registry, name + "_sum" + label);
  }
  EXPECT_GT(writes, 0);
  EXPECT_LE(
      parts,
      1.01 * value_of(registry, "tailrace_rpc_request_duration_seconds_sum{kind=\"put\"}") + 0.05);
}

/// Clients that give up and come again would otherwise use up the connections while nothing moves.
TEST_F(Backlog, AHeldConnectionEndsWhenItsClientHasGone) {
  node.machine.hold(true);
  for (int i = 0; i < 10; ++i) {
    auto client = client_of(node);
    put_many(*client, 100);
    ASSERT_TRUE(soon([&] { return shows("tailrace_rpc_connections 1\n"); })) << "client " << i;
    ASSERT_TRUE(soon([&] { return waiting() > kMostUnapplied; }));
    client.reset();
    ASSERT_TRUE(soon([&] { return shows("tailrace_rpc_connections 0\n"); })) << "client " << i;
  }
  EXPECT_LT(waiting(), kMostUnapplied + kValueBytes + 200);
}

/// A node that has lost the lead says so to whom it held.
TEST_F(Backlog, WhoIsHeldIsSentToTheNextLeader) {
  node.machine.hold(true);
  auto client = client_of(node, 2000);
  put_many(*client, 100);
  ASSERT_TRUE(soon([&] { return waiting() > kMostUnapplied; }));
  replication::NodeStatus status = *node.node.status();
  status.role = replication::Role::kFollower;
  status.serving = status.alone = false;
  status.epoch = Epoch{2};
  status.leader = NodeId{2};
  node.node.set(status);
  node.server->on_role(status);
  const std::string told =
      "tailrace_rpc_requests_total{kind=\"put\",result=\"not_leader\",code=\"not_leader\"} ";
  EXPECT_TRUE(soon([&] { return shows(told); })) << "it waits where nobody leads";
  EXPECT_TRUE(soon([&] { return failed == 100; }));
  EXPECT_EQ(done, 0);
}

}  // namespace
}  // namespace tailrace::rpc
