// What there is only so much of, for all: who holds it without need, or for longest, makes room.
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "bare_client.h"
#include "rpc/server/scan_table.h"
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
    // Each waits before the next one comes: who asks nothing yet goes first. With the last one
    // there are too many.
    if (i == 255) break;
    ASSERT_TRUE(soon([&] {
      return value_of(registry, "tailrace_rpc_in_flight_requests") >= i + 1;
    })) << i;
  }
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
  for (int i = 0; i < 4; ++i)
    ASSERT_TRUE(client_of(node)->append("s", {{as_bytes(std::string(512u << 10, 'e'))}}));
  const Address begin = node.log.next(node.log.begin(), Address::max())->address;
  node.log.strict = true;
  constexpr uint64_t kTails = 300;
  BareClient client(node.port);
  for (uint64_t id = 1; id <= kTails; ++id)
    client.ask(id, [&](wire::Request::Builder request) {
      auto tail = request.initTail();
      tail.setFrom(begin.value + 8);
      tail.setFollow(true);
      tail.setCreditBytes(100'000'000);
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
  EXPECT_LE(node.log.most_read_ahead, 64u << 10) << "before a record was found";
}

// Nor is more read for a tail than it may be sent.
TEST(Sharing, ATailReadsAheadNoFurtherThanItsCredit) {
  FakeNode node;
  for (int i = 0; i < 4; ++i)
    ASSERT_TRUE(client_of(node)->append("s", {{as_bytes(std::string(512u << 10, 'e'))}}));
  BareClient client(node.port);
  client.ask(1, [](wire::Request::Builder request) {
    request.initTail().setFollow(true);
    request.getTail().setCreditBytes(1);
  });
  const auto records_come = [&](int records) {
    return client.read_until([&](wire::Response::Reader response) {
      if (response.isRecords()) records -= static_cast<int>(response.getRecords().size());
      return records <= 0;
    });
  };
  EXPECT_TRUE(records_come(1));
  client.ask(1, [](wire::Request::Builder request) { request.initCredit().setBytes(600'000); });
  EXPECT_TRUE(records_come(1));
  EXPECT_LE(node.log.most_read_ahead, 128u << 10);
  client.ask(1, [](wire::Request::Builder request) { request.initCredit().setBytes(2'000'000); });
  EXPECT_TRUE(records_come(2));
  EXPECT_GT(node.log.most_read_ahead, 256u << 10) << "it may have much: few reads";
}

// Nor is a record that has no room read again each time that there may be some: tails that nobody
// reads cost those who write next to nothing. (Ten thousand of them once left six puts a second.)
TEST(Sharing, ARecordThatHasNoRoomIsNotReadAgainAndAgain) {
  ServerOptions options;
  options.memory_bytes = 4u << 20;
  FakeNode node(options);
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  auto writer = client_of(node);
  for (int i = 0; i < 40; ++i)
    ASSERT_TRUE(writer->append("s", {{as_bytes(std::string(400u << 10, 'e'))}}));
  std::vector<std::unique_ptr<BareClient>> readers;
  for (int i = 0; i < 8; ++i) {
    readers.push_back(std::make_unique<BareClient>(node.port));
    readers.back()->ask(1, [](wire::Request::Builder request) {
      request.initTail().setFollow(true);
      request.getTail().setCreditBytes(100'000'000);
    });
  }
  int before = -1;
  ASSERT_TRUE(soon([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    return std::exchange(before, node.log.scans.load()) == node.log.scans &&
           value_of(registry, "tailrace_rpc_memory_bytes") > 2e6;
  })) << "nothing more is sent to them";
  for (int i = 0; i < 50; ++i)
    ASSERT_TRUE(writer->put(as_bytes("k"), as_bytes("v")));
  EXPECT_LT(node.log.scans - before, 20);
}

// A tail without credit gets nothing, and keeps no place for ever that another one wants.
TEST(Sharing, ATailWithoutCreditMakesRoom) {
  ServerOptions options;
  options.max_connections = 2;
  options.evict_after = std::chrono::milliseconds(5);
  FakeNode node(options);
  const auto follow = [](BareClient& client, uint64_t credit) {
    client.ask(1, [&](wire::Request::Builder request) {
      request.initTail().setFollow(true);
      request.getTail().setCreditBytes(credit);
    });
    client.read_until([](wire::Response::Reader response) { return response.isTailStart(); });
  };
  BareClient starved(node.port), fed(node.port);
  follow(starved, 0);
  follow(fed, 1000);
  EXPECT_TRUE(client_of(node)->put(as_bytes("k"), as_bytes("v")));
  EXPECT_FALSE(starved.read_until([](wire::Response::Reader) { return false; }));
  EXPECT_TRUE(fed.read_until([](wire::Response::Reader response) { return response.isRecords(); }));
}

// Nor do reads that wait for what does not come.
TEST(Sharing, AReadThatWaitsForLongMakesRoom) {
  ServerOptions options;
  options.max_connections = 1;
  options.evict_after = std::chrono::milliseconds(20);
  FakeNode node(options);
  BareClient waits(node.port);
  waits.ask(1, [](wire::Request::Builder request) {
    auto get = request.initGet();
    get.setKey(to_data(std::string_view("k")));
    get.setLevel(wire::ReadLevel::AT_LEAST);
    get.setAddress(kFarAddress);
    get.setTimeoutMs(29'000);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_TRUE(client_of(node)->put(as_bytes("k"), as_bytes("v")));
}

// Who has most of the scans gives one to who has none.
TEST(Sharing, AFewConnectionsDoNotHaveAllScans) {
  FakeNode node;
  auto client = client_of(node);
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(client->put(as_bytes("k" + std::to_string(i)), as_bytes("v")));
  std::vector<std::unique_ptr<BareClient>> hold;
  for (int i = 0; i < 4; ++i) {
    hold.push_back(std::make_unique<BareClient>(node.port));
    uint64_t opened = 0;
    for (uint64_t id = 1; id <= ScanTable::kMostScansOfOne; ++id)
      hold.back()->ask(id, [](wire::Request::Builder request) {
        request.initScan().setPairs(1);
        request.getScan().setLevel(wire::ReadLevel::ANY);
      });
    hold.back()->read_until([&](wire::Response::Reader response) {
      opened += response.isScan() && response.getScan().getScan() != 0 ? 1 : 0;
      return opened == ScanTable::kMostScansOfOne;
    });
    EXPECT_EQ(opened, ScanTable::kMostScansOfOne);
  }
  const auto scanned = client->scan({}, {}, [](ByteSpan, ByteSpan) { return true; });
  ASSERT_TRUE(scanned) << scanned.error().message;
  EXPECT_EQ(scanned->pairs, 3u);
}

// However many questions for digests wait, a new one is answered soon.
TEST(Sharing, AFewConnectionsDoNotAskForAllDigests) {
  FakeNode node;
  ASSERT_TRUE(client_of(node)->append("s", {{as_bytes(std::string(1000, 'e'))}}));
  const uint64_t address = node.marks.applied().value;
  const auto is_end = [](wire::Response::Reader response) {
    EXPECT_FALSE(response.isError()) << to_string(response.getError().getMessage());
    return response.isDigest() || response.isError();
  };
  node.machine.log_digests_wait = true;
  std::vector<std::unique_ptr<BareClient>> ask;
  constexpr uint64_t kConnections = 20, kQuestions = 4;
  for (uint64_t i = 0; i < kConnections; ++i) {
    ask.push_back(std::make_unique<BareClient>(node.port));
    for (uint64_t id = 1; id <= kQuestions; ++id)
      ask_for_digest(*ask.back(), id, address, 64 + i * kQuestions + id);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  BareClient other(node.port);
  ask_for_digest(other, 1, address, 64);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  node.machine.log_digest_takes_ms = 20;
  node.machine.log_digests_wait = false;
  EXPECT_TRUE(other.read_until(is_end));
  EXPECT_LT(node.machine.log_digests, 10) << "it did not wait for all of the others";
  node.machine.log_digest_takes_ms = 0;
  for (const auto& client : ask)
    for (uint64_t id = 1; id <= kQuestions; ++id)
      EXPECT_TRUE(client->read_until(is_end));
}

}  // namespace
}  // namespace tailrace::rpc
