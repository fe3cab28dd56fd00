// What clients can make a server hold: bounded in all, in time and in places, and others are
// served.
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "bare_client.h"
#include "fake_node.h"
#include "rpc/server/memory_budget.h"
#include "served_node.h"

namespace tailrace::rpc {
namespace {

using testing::BareClient;
using testing::client_of;
using testing::FakeNode;
using testing::soon;
using testing::value_of;

TEST(MemoryBudget, GivesEachItsShareAndTheRestToWhoComesFirst) {
  MemoryBudget budget(4'000'000);
  MemoryShare one(budget), other(budget);
  EXPECT_EQ(budget.fair_share(), 500'000u);
  one.holds(2'900'000);
  EXPECT_TRUE(one.has_room(100'000));
  EXPECT_FALSE(one.has_room(200'000)) << "three quarters are taken";
  EXPECT_TRUE(other.has_room(400'000)) << "its share is kept for it";
  EXPECT_FALSE(other.has_room(600'000));
  one.holds(0);
  EXPECT_TRUE(other.has_room(600'000));
  EXPECT_EQ(budget.used(), 0u);
}

// Answers are made when there is room to send them, not when they could be given.
TEST(Limits, AnswersThatAreNotReadAreNotMade) {
  constexpr uint64_t kGets = 300, kValueBytes = 1u << 20;
  ServerOptions options;
  options.memory_bytes = 64u << 20;
  options.max_value_bytes = kValueBytes;
  FakeNode node(options);
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  ASSERT_TRUE(client_of(node)->put(as_bytes("k"), as_bytes(std::string(kValueBytes, 'v'))));
  for (const bool cold : {false, true}) {
    node.machine.cold = cold;
    BareClient client(node.port);
    const uint64_t beyond = node.marks.applied().value + 8;
    for (uint64_t id = 1; id <= kGets; ++id)
      client.ask(id, [&](wire::Request::Builder request) {
        auto get = request.initGet();
        get.setKey(to_data(std::string_view("k")));
        get.setLevel(wire::ReadLevel::AT_LEAST);
        get.setAddress(beyond);
      });
    ASSERT_TRUE(soon([&] {
      return value_of(registry, "tailrace_rpc_in_flight_requests") >= static_cast<double>(kGets);
    }));
    ASSERT_TRUE(client_of(node)->put(as_bytes("other"), as_bytes("v")))
        << "all may be answered now";
    double most = 0;
    for (int i = 0; i < 30; ++i) {
      most = std::max(most, value_of(registry, "tailrace_rpc_memory_bytes"));
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_LT(most, 64e6);
    uint64_t answers = 0;
    client.read_until([&](wire::Response::Reader response) {
      if (!response.isGet()) return false;
      EXPECT_EQ(response.getGet().getValue().size(), kValueBytes);
      return ++answers == kGets;
    });
    EXPECT_EQ(answers, kGets);
  }
}

// The rest of a frame has to come, and what is sent has to be read, in time; nobody else suffers.
TEST(Limits, WhoStopsInAFrameOrReadsNothingIsClosed) {
  ServerOptions options;
  options.frame_timeout = options.unread_timeout = std::chrono::milliseconds(200);
  FakeNode node(options);
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  auto client = client_of(node);
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes(std::string(1u << 20, 'v'))));
  BareClient stops(node.port), reads_nothing(node.port);
  stops.send_raw(std::string("\0\0\0\0\xff\0\0\0", 8));
  for (uint64_t id = 1; id <= 64; ++id)
    reads_nothing.ask(id, [&](wire::Request::Builder request) {
      auto get = request.initGet();
      get.setKey(to_data(std::string_view("k")));
      get.setLevel(wire::ReadLevel::ANY);
    });
  EXPECT_TRUE(
      soon([&] { return value_of(registry, "tailrace_rpc_timed_out_connections_total") == 2; }));
  EXPECT_TRUE(soon([&] { return value_of(registry, "tailrace_rpc_connections") == 1; }));
  EXPECT_TRUE(client->get(as_bytes("k"), {}));
}

// Promise: a request has taken the time until the system had its answer; one that the system never
// had is counted, and has no time.
TEST(Limits, AnAnswerThatTheSystemNeverHadTakesNoTime) {
  FakeNode node;
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  ASSERT_TRUE(client_of(node)->put(as_bytes("k"), as_bytes(std::string(1u << 20, 'v'))));
  const auto counted = [&] {
    return value_of(registry,
                    "tailrace_rpc_requests_total{kind=\"get\",result=\"ok\",code=\"ok\"}");
  };
  const auto timed = [&] {
    return value_of(registry, "tailrace_rpc_request_duration_seconds_count{kind=\"get\"}");
  };
  const auto ask = [](BareClient& client, uint64_t gets) {
    for (uint64_t id = 1; id <= gets; ++id)
      client.ask(id, [](wire::Request::Builder request) {
        auto get = request.initGet();
        get.setKey(to_data(std::string_view("k")));
        get.setLevel(wire::ReadLevel::ANY);
      });
  };
  {
    BareClient reads(node.port);
    ask(reads, 4);
    uint64_t answers = 0;
    reads.read_until(
        [&](wire::Response::Reader response) { return response.isGet() && ++answers == 4; });
    EXPECT_TRUE(soon([&] { return counted() == 4 && timed() == 4; }));
  }
  {
    BareClient reads_nothing(node.port);
    ask(reads_nothing, 64);  // more than the system takes
    // It takes no more when answers wait and no other has come for a while.
    double before = 4;
    ASSERT_TRUE(soon([&] {
      const double had = std::exchange(before, counted());
      if (had == 4 || had != before) std::this_thread::sleep_for(std::chrono::milliseconds(200));
      return had > 4 && had == before && value_of(registry, "tailrace_rpc_memory_bytes") > 1e6;
    }));
  }
  ASSERT_TRUE(soon([&] { return value_of(registry, "tailrace_rpc_connections") == 0; }));
  EXPECT_GT(counted(), timed());
}

// Who reads is not closed, whatever is on its way at the moment when it is looked at.
TEST(Limits, WhoReadsStays) {
  ServerOptions options;
  options.unread_timeout = std::chrono::milliseconds(5000);
  FakeNode node(options);
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  auto client = client_of(node);
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes(std::string(1u << 20, 'v'))));
  BareClient reads(node.port);
  for (uint64_t id = 1; id <= 16; ++id)
    reads.ask(id, [](wire::Request::Builder request) {
      auto get = request.initGet();
      get.setKey(to_data(std::string_view("k")));
      get.setLevel(wire::ReadLevel::ANY);
    });
  // The first write does not end before the server has looked.
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  EXPECT_EQ(value_of(registry, "tailrace_rpc_timed_out_connections_total"), 0);
  uint64_t answers = 0;
  reads.read_until([&](wire::Response::Reader response) {
    answers += response.isGet() ? 1 : 0;
    return answers == 16;
  });
  EXPECT_EQ(answers, 16u);
}

// Idle connections do not keep others out, and operators come in however many are busy.
TEST(Limits, AnIdleConnectionGivesUpItsPlaceAndOperatorsHaveTheirs) {
  ServerOptions options;
  options.max_connections = 2;
  options.evict_after = std::chrono::milliseconds(100);
  FakeNode node(options);
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  const auto follow = [](BareClient& client) {
    client.ask(1, [](wire::Request::Builder request) {
      request.initTail().setFollow(true);
      request.getTail().setCreditBytes(1000);
    });
    client.read_until([](wire::Response::Reader response) { return response.isTailStart(); });
  };
  auto busy = std::make_unique<BareClient>(node.port);
  follow(*busy);
  BareClient idle(node.port);
  idle.append(1);
  EXPECT_TRUE(
      idle.read_until([](wire::Response::Reader response) { return response.isCommand(); }));
  // Who asks nothing takes no place, however many they are.
  std::vector<std::unique_ptr<BareClient>> silent;
  for (int i = 0; i < 10; ++i)
    silent.push_back(std::make_unique<BareClient>(node.port));
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  BareClient next(node.port);
  follow(next);
  EXPECT_EQ(value_of(registry, "tailrace_rpc_evicted_connections_total"), 1);
  auto operators = client_of(node);
  EXPECT_TRUE(operators->status().front().second);
  const auto refused = operators->put(as_bytes("k"), as_bytes("v"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted) << refused.error().message;
  busy.reset();
  EXPECT_TRUE(soon([&] { return operators->put(as_bytes("k"), as_bytes("v")).has_value(); }));
}

// Beyond a number of them, those that ask nothing make room for others that come.
TEST(Limits, SilentConnectionsKeepNobodyOut) {
  FakeNode node;
  std::vector<int> silent;
  for (int i = 0; i < 600; ++i)
    silent.push_back(testing::connect_to(node.port));
  EXPECT_TRUE(client_of(node)->put(as_bytes("k"), as_bytes("v")));
  EXPECT_TRUE(client_of(node)->status().front().second);
  for (const int fd : silent)
    ::close(fd);
}

// A tail that waits, for news or for credit, holds no memory to read into.
TEST(Limits, ATailReadsOnlyWhileItHasCredit) {
  FakeNode node;
  auto client = client_of(node);
  ASSERT_TRUE(client->append("s", {{as_bytes("one"), as_bytes("two")}}));
  BareClient tailer(node.port);
  tailer.ask(1, [](wire::Request::Builder request) {
    request.initTail().setFollow(true);
    request.getTail().setCreditBytes(1);
  });
  const auto records_until = [&](uint64_t count) {
    uint64_t records = 0;
    tailer.read_until([&](wire::Response::Reader response) {
      if (response.isRecords()) records += response.getRecords().size();
      return records >= count;
    });
    return records;
  };
  EXPECT_EQ(records_until(1), 1u);
  ASSERT_TRUE(client->append("s", {{as_bytes("three")}}));
  EXPECT_EQ(node.log.scanners, 0) << "no credit, no scanner";
  tailer.ask(1, [](wire::Request::Builder request) { request.initCredit().setBytes(1'000'000); });
  EXPECT_EQ(records_until(2), 2u) << "it goes on where it was";
  EXPECT_TRUE(soon([&] { return node.log.scanners == 0; })) << "at the end it waits without";
  ASSERT_TRUE(client->append("s", {{as_bytes("four")}}));
  EXPECT_EQ(records_until(1), 1u);
}

// Events that do not fit into one batch are refused before any of them is copied: each repeats the
// stream's name, so that a short request asks for very much.
TEST(Limits, AnAppendThatDoesNotFitOrWhoseStreamIsTooLongIsRefused) {
  FakeNode node;
  BareClient client(node.port);
  const auto answer_to = [&](size_t name_bytes, unsigned events) {
    client.ask(1, [&](wire::Request::Builder request) {
      auto append = request.initAppend();
      append.setStream(std::string(name_bytes, 's').c_str());
      append.initEvents(events);
    });
    std::string answer;
    client.read_until([&](wire::Response::Reader response) {
      if (response.isError()) answer = to_string(response.getError().getMessage());
      return response.getId() == 1;
    });
    return answer;
  };
  EXPECT_EQ(answer_to(1024, 100), "");
  const size_t before = node.log.count();
  const std::string too_many = answer_to(1024, 80'000);
  // 48 bytes of command and 24 of record beside the name, in 4 MiB.
  EXPECT_NE(too_many.find("event 3826 "), std::string::npos) << too_many;
  EXPECT_NE(too_many.find("4194328"), std::string::npos) << too_many;
  const std::string too_long = answer_to(1025, 1);
  EXPECT_NE(too_long.find("1024"), std::string::npos) << too_long;
  EXPECT_EQ(node.log.count(), before);
}

// A client takes 64 KiB before the hello: what members' addresses come to does not keep it out.
TEST(Limits, AHelloTellsNoMoreServersThanAClientTakes) {
  FakeNode node;
  replication::NodeStatus status = *node.node.status();
  for (uint32_t id = 1; id <= 1000; ++id) {
    replication::Member member;
    member.id = NodeId{id};
    member.voter = id == 700;
    member.client_address =
        (id == 700 ? "voter" : std::string(200, 'h')) + ":" + std::to_string(id);
    // Older logs may hold what is not taken any more.
    if (id == 3) member.client_address = std::string(65'000, 'h') + ":1";
    status.members.push_back(member);
  }
  status.leader_client_address = status.members[2].client_address;
  node.node.set(status);
  const auto put = client_of(node, std::chrono::seconds(3))->put(as_bytes("k"), as_bytes("v"));
  ASSERT_TRUE(put) << put.error().message;
  BareClient client(node.port);
  std::vector<std::string> told;
  client.read_until([&](wire::Response::Reader response) {
    if (!response.isHello()) return false;
    for (const auto server : response.getHello().getServers())
      told.push_back(to_string(server));
    return true;
  });
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.front(), "voter:700") << "those that may lead come first";
  EXPECT_GT(told.size(), 50u);
}

// A read that waits holds its key: that counts as well.
TEST(Limits, KeysOfReadsThatWaitCount) {
  constexpr uint64_t kGets = 100;
  ServerOptions options;
  options.max_frame_bytes = 1u << 20;
  options.memory_bytes = 4u << 20;
  FakeNode node(options);
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  ASSERT_TRUE(client_of(node)->put(as_bytes("k"), as_bytes("v")));
  const uint64_t beyond = node.marks.applied().value + 8;
  BareClient client(node.port);
  std::thread asks([&] {
    for (uint64_t id = 1; id <= kGets; ++id)
      client.ask(id, [&](wire::Request::Builder request) {
        const std::string key(statemachine::kMaxKeyBytes, 'k');
        if (id % 2 == 0) {
          auto get = request.initGet();
          get.setKey(to_data(key));
          get.setLevel(wire::ReadLevel::AT_LEAST);
          get.setAddress(beyond);
          return;
        }
        auto scan = request.initScan();
        scan.setPrefix(to_data(key));
        scan.setPairs(1);
        scan.setLevel(wire::ReadLevel::AT_LEAST);
        scan.setAddress(beyond);
      });
  });
  const auto waiting = [&] { return value_of(registry, "tailrace_rpc_in_flight_requests"); };
  EXPECT_TRUE(soon([&] { return waiting() >= 20; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(waiting(), 70) << "3 MiB of keys of 64 KiB";
  EXPECT_TRUE(client_of(node)->put(as_bytes("k"), as_bytes("w"))) << "others have their share";
  uint64_t answers = 0;
  client.read_until([&](wire::Response::Reader response) {
    answers += response.isGet() || response.isScan() ? 1 : 0;
    return answers == kGets;
  });
  EXPECT_EQ(answers, kGets);
  asks.join();
}

// Promise: what an answer may come to counts in the server's memory from the moment when another
// thread begins to read for it.
TEST(Limits, AnswersThatOtherThreadsReadCountBeforeTheyCome) {
  constexpr uint64_t kValueBytes = 8u << 20, kReads = 2;
  ServerOptions options;
  options.max_value_bytes = kValueBytes;
  FakeNode node(options);
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  node.machine.together_waits = true;
  BareClient client(node.port);
  for (uint64_t id = 1; id <= kReads; ++id)
    client.ask(id, [](wire::Request::Builder request) {
      auto mget = request.initMget();
      mget.setLevel(wire::ReadLevel::ANY);
      mget.initKeys(1).set(0, to_data(std::string_view("k")));
    });
  const auto held = [&] { return value_of(registry, "tailrace_rpc_memory_bytes"); };
  EXPECT_TRUE(soon([&] { return held() >= static_cast<double>(kReads * kValueBytes); })) << held();
  node.machine.together_waits = false;
  uint64_t answers = 0;
  client.read_until(
      [&](wire::Response::Reader response) { return response.isMget() && ++answers == kReads; });
  EXPECT_TRUE(soon([&] { return held() < static_cast<double>(kValueBytes); })) << held();
}

TEST(Limits, APrefixIsNoLongerThanAKey) {
  FakeNode node;
  auto client = client_of(node);
  const auto visit = [](ByteSpan, ByteSpan) { return true; };
  const std::string longest(statemachine::kMaxKeyBytes, 'k');
  EXPECT_TRUE(client->scan(as_bytes(longest), {}, visit));
  const auto refused = client->scan(as_bytes(longest + "k"), {}, visit);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument) << refused.error().message;
}

}  // namespace
}  // namespace tailrace::rpc
