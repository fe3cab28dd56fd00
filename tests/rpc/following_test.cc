// What a client makes of servers that are gone, silent, behind, or not those that were given.
#include <future>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake_node.h"
#include "rpc/client/client.h"
#include "tests/rpc/relay.h"

namespace tailrace::rpc {
namespace {

using testing::FakeNode;
using testing::Relay;

std::unique_ptr<Client> client_for(std::vector<std::string> servers, int timeout_ms = 10000) {
  ClientOptions options;
  options.servers = std::move(servers);
  options.timeout = std::chrono::milliseconds(timeout_ms);
  return Client::create(options).value();
}

std::string at(int port) {
  return "127.0.0.1:" + std::to_string(port);
}

/// A socket to which the system connects everybody, and which nobody reads.
class SilentServer {
 public:
  SilentServer() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof to;
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&to), size) != 0 || ::listen(fd_, 64) != 0 ||
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&to), &size) != 0)
      throw std::runtime_error("no port is free");
    port_ = ntohs(to.sin_port);
  }
  ~SilentServer() { ::close(fd_); }
  SilentServer(const SilentServer&) = delete;
  SilentServer& operator=(const SilentServer&) = delete;
  std::string address() const { return at(port_); }

 private:
  const int fd_;
  int port_ = 0;
};

/// Events from `first` to before `end`, of `bytes` each: the same on every node.
void append_events(FakeNode& node, int first, int end, size_t bytes = 16) {
  auto client = client_for({node.address()});
  for (int i = first; i < end; ++i) {
    std::string event = std::to_string(i) + ' ';
    event.resize(bytes, 'x');
    const auto answer = client->append("s", {as_bytes(event)});
    ASSERT_TRUE(answer) << answer.error().message;
  }
}

int number_of(const TailRecord& record) {
  return std::stoi(std::string(as_text(statemachine::decode(as_bytes(record.payload))->value)));
}

// A server that is frozen takes connections and says nothing: it costs a moment of every call.
TEST(Search, AFirstServerThatIsSilentCostsAMoment) {
  SilentServer silent;
  FakeNode node;
  const auto client = client_for({silent.address(), node.address()}, 1000);
  const auto put = client->put(as_bytes("k"), as_bytes("v"));
  ASSERT_TRUE(put) << put.error().message;
  ReadOptions options;
  options.level = ReadOptions::Level::kAny;
  const auto any = client->get(as_bytes("k"), options);
  ASSERT_TRUE(any) << any.error().message;
  EXPECT_EQ(any->value, "v");
  const auto reached = client->tail({}, [](const TailRecord&) { return true; });
  ASSERT_TRUE(reached) << reached.error().message;
  EXPECT_EQ(*reached, node.log.tail());
}

TEST(Search, ServersOfWhichNoneAnswersAreNamed) {
  SilentServer silent;
  const auto client = client_for({silent.address()}, 150);
  const auto put = client->put(as_bytes("k"), as_bytes("v"));
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(put.error().message.find(silent.address()), std::string::npos) << put.error().message;
  const auto tail = client->tail({}, [](const TailRecord&) { return true; });
  ASSERT_FALSE(tail);
  EXPECT_NE(tail.error().message.find(silent.address()), std::string::npos) << tail.error().message;
}

// The leader that is named is frozen, and another one comes to lead: it is asked again and again.
TEST(Search, ANewLeaderIsFoundWhileTheOldOneIsSilent) {
  SilentServer old;
  FakeNode node;
  const replication::NodeStatus leads = *node.node.status();
  replication::NodeStatus follows = leads;
  follows.role = replication::Role::kFollower;
  follows.serving = follows.alone = false;
  follows.leader_client_address = old.address();
  node.node.set(follows);
  const auto client = client_for({old.address(), node.address()}, 1900);
  auto put =
      std::async(std::launch::async, [&] { return client->put(as_bytes("k"), as_bytes("v")); });
  EXPECT_EQ(put.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  node.node.set(leads);
  const auto done = put.get();
  ASSERT_TRUE(done) << done.error().message;
}

// Nobody tells it any more what is committed: its state is of the past, however it looks.
TEST(Search, ANodeThatWasRemovedAnswersNoReads) {
  FakeNode removed, member;
  replication::NodeStatus status = *removed.node.status();
  status.role = replication::Role::kLearner;
  status.serving = status.alone = false;
  status.removed = true;
  removed.node.set(status);
  ASSERT_TRUE(client_for({member.address()})->put(as_bytes("k"), as_bytes("v")));
  ReadOptions any;
  any.level = ReadOptions::Level::kAny;
  const auto refused = client_for({removed.address()})->get(as_bytes("k"), any);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(refused.error().message.find("not a member"), std::string::npos);
  const auto got = client_for({removed.address(), member.address()})->get(as_bytes("k"), any);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->value, "v");
}

// More than the credit, so that the server's end comes before the tail's.
struct HalfWay {
  static constexpr int kEvents = 110;
  static constexpr size_t kBytes = 100'000;
};

// The end that the first server has named is what the caller was promised: one that does not have
// it yet is waited for.
TEST(Tail, TheEndThatWasPromisedStandsWhenTheServerChanges) {
  FakeNode first, behind;
  append_events(first, 0, HalfWay::kEvents, HalfWay::kBytes);
  append_events(behind, 0, 20, HalfWay::kBytes);
  Relay relay(first.port);
  const auto client = client_for({at(relay.port()), behind.address()});
  std::vector<int> seen;
  std::thread writer;
  const auto reached = client->tail({}, [&](const TailRecord& record) {
    if (seen.empty()) {
      relay.cut();
      writer = std::thread([&] { append_events(behind, 20, HalfWay::kEvents, HalfWay::kBytes); });
    }
    seen.push_back(number_of(record));
    return true;
  });
  writer.join();
  ASSERT_TRUE(reached) << reached.error().message;
  ASSERT_EQ(seen.size(), static_cast<size_t>(HalfWay::kEvents));
  for (int i = 0; i < HalfWay::kEvents; ++i)
    EXPECT_EQ(seen[static_cast<size_t>(i)], i);
  EXPECT_EQ(*reached, first.log.tail());
}

TEST(Tail, AnEndThatNobodyHasAnyMoreIsAnErrorAndNoSuccess) {
  FakeNode first, behind;
  append_events(first, 0, HalfWay::kEvents, HalfWay::kBytes);
  append_events(behind, 0, 20, HalfWay::kBytes);
  Relay relay(first.port);
  const auto client = client_for({at(relay.port()), behind.address()}, 700);
  bool any = false;
  const auto reached = client->tail({}, [&](const TailRecord&) {
    if (!std::exchange(any, true)) relay.cut();
    return true;
  });
  ASSERT_FALSE(reached);
  EXPECT_EQ(reached.error().code, ErrorCode::kTimedOut) << reached.error().message;
  EXPECT_NE(reached.error().message.find(std::to_string(first.log.tail().value)), std::string::npos)
      << reached.error().message;
}

// A server that lags has a part of what was asked for, and does not call it all.
TEST(Tail, AnEndThatIsGivenIsWaitedFor) {
  FakeNode node, whole;
  append_events(node, 0, 3);
  append_events(whole, 0, 6);
  Client::TailOptions options;
  options.to = whole.log.tail();
  int seen = 0;
  const auto visit = [&](const TailRecord&) { return ++seen > 0; };
  const auto late = client_for({node.address()}, 200)->tail(options, visit);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kTimedOut) << late.error().message;
  EXPECT_EQ(std::exchange(seen, 0), 3);
  std::thread writer([&] { append_events(node, 3, 6); });
  EXPECT_EQ(client_for({node.address()})->tail(options, visit), whole.log.tail());
  writer.join();
  EXPECT_EQ(seen, 6);
}

TEST(Tail, AnAddressBeyondTheEndIsAnErrorThatNamesTheEnd) {
  FakeNode node, longer;
  append_events(node, 0, 3);
  append_events(longer, 0, 6);
  Client::TailOptions options;
  options.from = node.log.tail() + 64;
  const auto visit = [](const TailRecord&) { return true; };
  const auto refused = client_for({node.address()})->tail(options, visit);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kOutOfRange) << refused.error().message;
  EXPECT_NE(refused.error().message.find(std::to_string(node.log.tail().value)), std::string::npos)
      << refused.error().message;
  // Given twice it is no other one.
  const auto twice = client_for({node.address(), node.address()})->tail(options, visit);
  EXPECT_EQ(twice.error().code, ErrorCode::kOutOfRange) << twice.error().message;
  // Another server may have it.
  const auto reached = client_for({node.address(), longer.address()})->tail(options, visit);
  ASSERT_TRUE(reached) << reached.error().message;
  // The end itself is where the next tail begins.
  options.from = node.log.tail();
  EXPECT_EQ(client_for({node.address()})->tail(options, visit), node.log.tail());
}

// From an address that is the end, longer than the timeout, over a restart: news is waited for.
TEST(Tail, AFollowerWaitsForAsLongAsItTakes) {
  FakeNode node;
  append_events(node, 0, 1);
  const auto client = client_for({node.address()}, 200);
  Client::TailOptions options;
  options.from = node.log.tail();
  options.follow = true;
  std::promise<Address> started;
  options.started = [&](Address from) { started.set_value(from); };
  std::promise<int> seen;
  auto tail = std::async(std::launch::async, [&] {
    return client->tail(options, [&](const TailRecord& record) {
      seen.set_value(number_of(record));
      return false;
    });
  });
  EXPECT_EQ(started.get_future().get(), *options.from);
  EXPECT_EQ(tail.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  node.machine.set_applied_listener({});
  node.server->drain_and_stop(std::chrono::milliseconds(0));
  node.server.reset();
  EXPECT_EQ(tail.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  node.serve({});
  append_events(node, 1, 2);
  EXPECT_EQ(seen.get_future().get(), 1);
  ASSERT_TRUE(tail.get());
}

// Frozen, a server keeps its connections: a quiet one is asked for a sign of life, and left.
TEST(Tail, AFollowerLeavesAServerThatFallsSilent) {
  FakeNode frozen, other;
  append_events(frozen, 0, 1);
  append_events(other, 0, 1);
  Relay relay(frozen.port);
  const auto client = client_for({at(relay.port()), other.address()}, 200);
  Client::TailOptions options;
  options.follow = true;
  std::vector<int> seen;
  const auto reached = client->tail(options, [&](const TailRecord& record) {
    if (seen.empty()) {
      relay.freeze();
      append_events(other, 1, 2);
    }
    seen.push_back(number_of(record));
    return seen.size() < 2;
  });
  ASSERT_TRUE(reached) << reached.error().message;
  EXPECT_EQ(seen, (std::vector<int>{0, 1}));
}

// It would hear of nothing any more.
TEST(Tail, AFollowerLeavesANodeThatIsRemoved) {
  FakeNode removed, member;
  append_events(removed, 0, 1);
  append_events(member, 0, 2);
  Client::TailOptions options;
  options.follow = true;
  std::vector<int> seen;
  const auto client = client_for({removed.address(), member.address()});
  const auto reached = client->tail(options, [&](const TailRecord& record) {
    if (seen.empty()) {
      replication::NodeStatus status = *removed.node.status();
      status.removed = true;
      status.members = {{NodeId{2}, true, "", member.address()}};
      removed.node.set(status);
      removed.server->on_role(status);
    }
    seen.push_back(number_of(record));
    return seen.size() < 2;
  });
  ASSERT_TRUE(reached) << reached.error().message;
  EXPECT_EQ(seen, (std::vector<int>{0, 1}));
}

// Promise: who finds no place is told so, and what helps. It asks again until its time is over, and
// the last attempt is still waiting then.
TEST(Tail, WhoFindsNoPlaceIsToldWhatTakesThem) {
  ServerOptions two;
  two.max_connections = 2;
  FakeNode node(two);
  append_events(node, 0, 1);
  std::stop_source stop;
  Client::TailOptions options;
  options.follow = true;
  options.stop = stop.get_token();
  std::vector<std::unique_ptr<Client>> followers;
  std::vector<std::future<Result<Address>>> tails;
  for (uint32_t i = 0; i < two.max_connections; ++i) {
    auto started = std::make_shared<std::promise<void>>();
    options.started = [started](Address) { started->set_value(); };
    followers.push_back(client_for({node.address()}));
    tails.push_back(std::async(std::launch::async, [&client = *followers.back(), options] {
      return client.tail(options, [](const TailRecord&) { return true; });
    }));
    started->get_future().wait();
  }
  const auto late =
      client_for({node.address()}, 2500)->tail({}, [](const TailRecord&) { return true; });
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kResourceExhausted);
  for (const char* part :
       {"2 connections are in use", "2 tails are open", "end a tail", "server.max_connections"})
    EXPECT_NE(late.error().message.find(part), std::string::npos) << late.error().message;
  stop.request_stop();
  for (auto& tail : tails)
    EXPECT_EQ(tail.get().error().code, ErrorCode::kCancelled);
  const auto next = client_for({node.address()})->tail({}, [](const TailRecord&) { return true; });
  EXPECT_TRUE(next) << next.error().message;
}

TEST(Tail, EndsAtOnceWhenItIsToldToAndWhenTheClientEnds) {
  FakeNode node;
  auto client = client_for({node.address()});
  Client::TailOptions options;
  options.follow = true;
  const auto begin = [&] {
    auto started = std::make_shared<std::promise<void>>();
    options.started = [started](Address) { started->set_value(); };
    auto tail = std::async(std::launch::async, [&client = *client, options] {
      return client.tail(options, [](const TailRecord&) { return true; });
    });
    started->get_future().wait();
    return tail;
  };
  std::stop_source stop;
  options.stop = stop.get_token();
  auto stopped = begin();
  stop.request_stop();
  EXPECT_EQ(stopped.get().error().code, ErrorCode::kCancelled);
  options.stop = {};
  auto closed = begin();
  client.reset();
  EXPECT_EQ(closed.get().error().code, ErrorCode::kClosed);
}

TEST(ClusterStatus, AsksTheMembersThatAreNotGiven) {
  FakeNode given, told;
  replication::NodeStatus second = *told.node.status();
  second.self = NodeId{2};
  told.node.set(second);
  replication::NodeStatus first = *given.node.status();
  // By the first node's own name, which is another address of the one that has answered.
  first.members = {{NodeId{1}, true, "", "localhost:1"},
                   {NodeId{2}, true, "", told.address()},
                   {NodeId{3}, true, "", "127.0.0.1:1"}};
  given.node.set(first);
  const auto client = client_for({given.address()});
  EXPECT_EQ(client->status().size(), 1u);
  const auto all = client->cluster_status();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].first, given.address());
  ASSERT_TRUE(all[1].second) << all[1].second.error().message;
  EXPECT_EQ(all[1].second->node, NodeId{2});
  EXPECT_FALSE(all[2].second);
  EXPECT_EQ(client->leader_status()->node, NodeId{1});
}

}  // namespace
}  // namespace tailrace::rpc
