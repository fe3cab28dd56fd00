// Server and client together, over loopback: a command is applied once, or its outcome is unknown.

#include <chrono>
#include <future>
#include <thread>

#include <gtest/gtest.h>

#include "tests/rpc/fake_node.h"
#include "tests/rpc/service/clients.h"

namespace tailrace::rpc {
namespace {

using testing::client_of;
using testing::FakeNode;

TEST(Service, ACommandWhoseAnswerWasLostIsAppliedOnce) {
  FakeNode node;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->add(as_bytes("n"), 1));
  node.machine.hold(true);
  auto added = std::async(std::launch::async, [&] { return client->add(as_bytes("n"), 1); });
  auto appended =
      std::async(std::launch::async, [&] { return client->append("s", {as_bytes("event")}); });
  while (node.log.count() < 3)
    std::this_thread::yield();
  node.machine.set_applied_listener({});
  node.server->drain_and_stop(std::chrono::milliseconds(0));  // both answers are lost
  node.server.reset();
  node.serve({});
  node.machine.hold(false);
  const auto answer = added.get();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->answer.value, "2");
  EXPECT_EQ(client->get(as_bytes("n"), {})->value, "2");
  // An append carries no session: it is not sent again, and not called a success.
  const auto event = appended.get();
  ASSERT_FALSE(event);
  EXPECT_EQ(event.error().code, ErrorCode::kUnknownOutcome);
}

// What was applied, unanswered, in a session that was forgotten since is not applied again in
// another.
TEST(Service, ACommandSentAgainIntoAForgottenSessionIsUnknownAndAppliedOnce) {
  FakeNode node;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->add(as_bytes("n"), 1));
  node.machine.hold(true);
  auto added = std::async(std::launch::async, [&] { return client->add(as_bytes("n"), 1); });
  while (node.log.count() < 2)
    std::this_thread::yield();
  node.machine.set_applied_listener({});
  node.server->drain_and_stop(std::chrono::milliseconds(0));  // the answer is lost
  node.server.reset();
  node.machine.hold(false);
  while (node.marks.snapshot().applied < node.log.tail())
    std::this_thread::yield();
  node.machine.forget_sessions();
  node.serve({});
  const auto answer = added.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kUnknownOutcome) << answer.error().message;
  EXPECT_EQ(client->get(as_bytes("n"), {})->value, "2");
  // The client goes on, in another session.
  EXPECT_EQ(client->add(as_bytes("n"), 1)->answer.value, "3");
}

// The case of the audit: a first command is applied, its session ends, and its repeat comes.
TEST(Service, AFirstCommandSentAgainAfterItsSessionHasEndedIsNotAppliedAgain) {
  FakeNode node;
  node.machine.log_time = 1000;
  node.machine.session_ttl_ns = 500;
  node.machine.hold(true);
  auto client = client_of({node.address()});
  auto added = std::async(std::launch::async, [&] { return client->add(as_bytes("n"), 1); });
  while (node.log.count() < 1)
    std::this_thread::yield();
  node.machine.set_applied_listener({});
  node.server->drain_and_stop(std::chrono::milliseconds(0));  // the answer is lost
  node.server.reset();
  node.machine.hold(false);
  while (node.marks.snapshot().applied < node.log.tail())
    std::this_thread::yield();
  EXPECT_EQ(node.machine.last_bound_ns, 1500u);
  node.machine.forget_sessions();
  node.machine.log_time = 1501;
  node.serve({});
  const auto answer = added.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kUnknownOutcome) << answer.error().message;
  EXPECT_EQ(node.machine.last_bound_ns, 1500u) << "a repeat keeps its bound";
  EXPECT_EQ(client->get(as_bytes("n"), {})->value, "1");
  EXPECT_EQ(client->add(as_bytes("n"), 1)->answer.value, "2");
}

// Its hello is older than a session lives: nobody notices but that one command goes twice.
TEST(Service, AClientThatWasIdleForLongBeginsItsSessionAllTheSame) {
  FakeNode node;
  node.machine.log_time = 1000;
  node.machine.session_ttl_ns = 500;
  auto client = client_of({node.address()});
  // A read by the leader connects, and begins no session.
  ASSERT_TRUE(client->get(as_bytes("n"), {}));
  node.machine.log_time = 9000;
  const auto answer = client->add(as_bytes("n"), 1);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->answer.value, "1");
  EXPECT_EQ(node.machine.last_bound_ns, 9500u);
  EXPECT_EQ(node.log.count(), 2u);
}

// What clients are told is above every bound of a session that was evicted.
TEST(Service, AClientIsToldABoundAboveThoseOfSessionsThatWereEvicted) {
  FakeNode node;
  node.machine.log_time = 1000;
  node.machine.session_ttl_ns = 500;
  node.machine.floor_ns = 7000;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->get(as_bytes("n"), {}));  // it is told 7001
  node.machine.floor_ns = 9000;
  const auto answer = client->add(as_bytes("n"), 1);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->answer.value, "1");
  EXPECT_EQ(node.machine.last_bound_ns, 9001u);
  EXPECT_EQ(node.log.count(), 2u);
}

// It has said hello before the log had rules: it is told when there are some.
TEST(Service, AClientThatWasThereBeforeTheRulesBoundsItsSessionToo) {
  FakeNode node;
  auto early = client_of({node.address()});
  ASSERT_TRUE(early->get(as_bytes("n"), {}));
  node.machine.log_time = 1000;
  node.machine.session_ttl_ns = 500;
  ASSERT_TRUE(client_of({node.address()})->add(as_bytes("n"), 1));
  ASSERT_TRUE(early->get(as_bytes("n"), {}));  // what it is told comes before the answer
  node.machine.last_bound_ns = 0;
  node.machine.log_time = 1100;
  ASSERT_TRUE(early->add(as_bytes("n"), 1));
  EXPECT_EQ(node.machine.last_bound_ns, 1500u);
}

// An older member of the cluster would not know a bound: none is written before the log has rules.
TEST(Service, WithoutRulesInTheLogNoBoundIsWritten) {
  FakeNode node;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->add(as_bytes("n"), 1));
  EXPECT_EQ(node.machine.last_bound_ns, 0u);
}

TEST(Service, AWriteThatWasSentAndNotAnsweredInTimeIsUnknown) {
  FakeNode node;
  node.machine.hold(true);
  for (const bool exactly_once : {true, false}) {
    auto client = client_of({node.address()}, exactly_once, 200);
    const auto late = client->put(as_bytes("k"), as_bytes("v"));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ErrorCode::kUnknownOutcome) << late.error().message;
  }
  EXPECT_EQ(node.log.count(), 2u);  // it is in the log, and will be applied
  node.machine.hold(false);
}

TEST(Service, LosingTheLeadershipMakesPendingAnswersUnknown) {
  FakeNode node;
  auto client = client_of({node.address()}, false);
  node.machine.hold(true);
  auto put =
      std::async(std::launch::async, [&] { return client->put(as_bytes("k"), as_bytes("v")); });
  while (node.log.count() < 1)
    std::this_thread::yield();
  replication::NodeStatus status;
  status.self = NodeId{1};
  status.role = replication::Role::kFollower;
  status.epoch = Epoch{2};
  node.node.set(status);
  node.server->on_role(status);
  const auto answer = put.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kUnknownOutcome);
}

}  // namespace
}  // namespace tailrace::rpc
