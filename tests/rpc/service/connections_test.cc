// Server and client together, over loopback: what an operator asks, connections
// without a hello, and ports in use.

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"
#include "rpc/server/server.h"
#include "tests/rpc/fake_node.h"
#include "tests/rpc/loopback.h"
#include "tests/rpc/service/clients.h"

namespace tailrace::rpc {
namespace {

using testing::client_of;
using testing::connect_to;
using testing::FakeNode;

TEST(Service, StatusCheckpointAndDigestAreAnswered) {
  FakeNode node;
  auto client = client_of({node.address(), "127.0.0.1:1"});
  const auto status = client->status();
  ASSERT_EQ(status.size(), 2u);
  ASSERT_TRUE(status[0].second) << status[0].second.error().message;
  EXPECT_EQ(status[0].second->role, "leader");
  EXPECT_EQ(status[0].second->live_records, 7u);
  ASSERT_FALSE(status[1].second);
  EXPECT_EQ(status[1].second.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(client->checkpoint(node.address()), Address{4096});
  const auto at = client->request_digest();
  ASSERT_TRUE(at) << at.error().message;
  const auto digest = client->digest(node.address(), *at, Address{64});
  ASSERT_TRUE(digest) << digest.error().message;
  EXPECT_EQ(digest->pairs, 3u);
}

// Requests are counted as what they came to, and events one by one.
TEST(Service, StatusSaysWhatWasDone) {
  FakeNode node;
  auto client = client_of({node.address()});
  const auto activity = [&] { return client->status()[0].second.value().activity.value(); };
  const NodeStatusAnswer::Activity before = activity();
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes("v")));
  ASSERT_TRUE(client->append("s", {as_bytes("a"), as_bytes("b"), as_bytes("c")}));
  ASSERT_TRUE(client->get(as_bytes("k"), {}));
  ASSERT_FALSE(client->put({}, as_bytes("v")));
  // Those who ask within a moment get the same.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const NodeStatusAnswer::Activity after = activity();
  EXPECT_EQ(after.writes - before.writes, 2u);
  EXPECT_EQ(after.reads - before.reads, 1u);
  EXPECT_EQ(after.events - before.events, 3u);
  EXPECT_EQ(after.refused - before.refused, 1u);
  EXPECT_EQ(after.failed, before.failed);
  EXPECT_GT(after.record_bytes, before.record_bytes);
  EXPECT_GT(after.uptime_s, before.uptime_s);
  EXPECT_GT(after.resident_bytes, 0u);
  EXPECT_GE(after.connections, 1u);
  EXPECT_EQ(after.in_flight, 0u);
  EXPECT_EQ(after.stages.size(), 6u);
  for (const auto& stage : after.stages)
    EXPECT_EQ(stage.counts.size(), after.stage_bounds_s.size() + 1) << stage.name;
}

// Whoever says nothing, or begins with a frame as large as no hello is, is closed; the last place
// is free again then, and who has said hello keeps his.
TEST(Service, WhoeverSaysNoHelloGivesUpItsPlace) {
  ServerOptions options;
  options.hello_timeout = std::chrono::milliseconds(300);
  options.max_connections = 2;
  FakeNode node(options);
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes("v")));
  const auto ended = [](int fd) {
    std::byte byte{};
    const bool over = ::recv(fd, &byte, 1, 0) <= 0;  // waits
    ::close(fd);
    return over;
  };
  EXPECT_TRUE(ended(connect_to(node.port)));
  const int announces = connect_to(node.port);
  const uint32_t table[2] = {0, (1u << 20) / 8};  // one segment of 1 MiB, below max_frame_bytes
  ASSERT_EQ(::send(announces, table, sizeof table, MSG_NOSIGNAL), 8);
  EXPECT_TRUE(ended(announces));
  const std::string value(512u << 10, 'v');
  EXPECT_TRUE(client_of({node.address()})->put(as_bytes("l"), as_bytes(value)));
  EXPECT_EQ(client->get(as_bytes("l"), {})->value, value);
}

TEST(Service, RandomBytesCloseOnlyTheirOwnConnection) {
  FakeNode node;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes("v")));
  const uint64_t seed = random_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  for (int i = 0; i < 20; ++i) {
    const int fd = connect_to(node.port);
    ASSERT_GE(fd, 0);
    std::vector<std::byte> bytes(4096);
    random.fill(bytes);
    store(bytes.data(), static_cast<uint32_t>(random.between(16, 0xffffffff)));
    (void)!::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    while (::recv(fd, bytes.data(), bytes.size(), 0) > 0) {
    }
    ::close(fd);  // recv came to an end: the server closed
  }
  EXPECT_EQ(client->get(as_bytes("k"), {})->value, "v");
}

TEST(Service, APortInUseIsNamed) {
  FakeNode node;
  ServerOptions options;
  options.listen = node.address();
  const auto second =
      Server::create(options, {&node.log, &node.machine, &node.marks, &node.anchors, &node.node});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kInUse);
  EXPECT_NE(second.error().message.find(node.address()), std::string::npos);
}

}  // namespace
}  // namespace tailrace::rpc
