// What there is only so much of, for all: who holds it without need, or for longest, makes room.
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "bare_client.h"
#include "served_node.h"

namespace tailrace::rpc {
namespace {

using testing::BareClient;
using testing::client_of;
using testing::FakeNode;
using testing::soon;
using testing::value_of;

constexpr uint64_t kFarAddress = uint64_t{1} << 60;

void ask_for_digest(BareClient& client, uint64_t id, uint64_t address, uint64_t log_from = 0) {
  client.ask(id, [&](wire::Request::Builder request) {
    auto digest = request.initDigest();
    digest.setAddress(address);
    digest.setLogFrom(log_from);
    digest.setTimeoutMs(29'000);
  });
}

// Who asks only what operators ask, and is not answered, has no place for ever.
TEST(Sharing, OperatorsComeInHoweverManyWait) {
  FakeNode node;
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  std::vector<std::unique_ptr<BareClient>> wait;
  for (int i = 0; i < 256; ++i) {
    wait.push_back(std::make_unique<BareClient>(node.port));
    ask_for_digest(*wait.back(), 1, kFarAddress);
  }
  ASSERT_TRUE(soon([&] { return value_of(registry, "tailrace_rpc_in_flight_requests") >= 250; }));
  auto client = client_of(node, std::chrono::seconds(5));
  EXPECT_TRUE(client->status().front().second);
  EXPECT_TRUE(client->put(as_bytes("k"), as_bytes("v")));
  EXPECT_LT(value_of(registry, "tailrace_rpc_evicted_connections_total"), 50);
  // The first is the one that had to go.
  EXPECT_FALSE(wait.front()->read_until(
      [](wire::Response::Reader response) { return response.isDigest(); }));
}

// Requests for checkpoints share them.
TEST(Sharing, CheckpointsAreTakenOneAfterTheOtherAndNotWithoutEnd) {
  FakeNode node;
  const std::string server = node.address();
  auto client = client_of(node);
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_TRUE(client->checkpoint(server));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(900))
      << "nobody else asks";
  constexpr uint64_t kRequests = 200;
  BareClient one(node.port), other(node.port);
  for (uint64_t id = 1; id <= kRequests; ++id)
    for (BareClient* asks : {&one, &other})
      asks->ask(id, [](wire::Request::Builder request) { request.setCheckpoint(); });
  for (BareClient* asks : {&one, &other}) {
    uint64_t answers = 0;
    asks->read_until([&](wire::Response::Reader response) {
      answers += response.isCheckpoint() ? 1 : 0;
      return answers == kRequests;
    });
    EXPECT_EQ(answers, kRequests);
  }
  EXPECT_LE(node.machine.checkpoints, 3);
}

// A batch may be long: which records begin near an address is looked up only so often.
TEST(Sharing, TailsFromWithinARecordCostLittle) {
  FakeNode node;
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE(client_of(node)->append("s", {{as_bytes("event")}}));
  const Address begin = node.log.next(node.log.begin(), Address::max())->address;
  node.log.strict = true;
  constexpr uint64_t kTails = 300;
  BareClient client(node.port);
  for (uint64_t id = 1; id <= kTails; ++id)
    client.ask(id, [&](wire::Request::Builder request) {
      auto tail = request.initTail();
      tail.setFrom(begin.value + 8);
      tail.setFollow(true);
      tail.setCreditBytes(1000);
    });
  uint64_t answers = 0, with_neighbours = 0;
  client.read_until([&](wire::Response::Reader response) {
    if (!response.isError()) return false;
    const std::string message = to_string(response.getError().getMessage());
    EXPECT_NE(message.find(std::to_string(begin.value + 8)), std::string::npos) << message;
    EXPECT_EQ(to_string(response.getError().getCode()), "invalid_argument") << message;
    with_neighbours += message.find("nearest") != std::string::npos ? 1 : 0;
    return ++answers == kTails;
  });
  EXPECT_EQ(answers, kTails);
  EXPECT_GE(with_neighbours, 1u);
  EXPECT_LT(node.log.looks, 100);
}

}  // namespace
}  // namespace tailrace::rpc
