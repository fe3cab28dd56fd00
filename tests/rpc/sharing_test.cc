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

}  // namespace
}  // namespace tailrace::rpc
