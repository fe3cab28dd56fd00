// How a server ends: who was answered gets the answer, whatever else he has sent since.
#include <atomic>
#include <future>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "bare_client.h"
#include "fake_node.h"
#include "tests/rpc/loopback.h"

namespace tailrace::rpc {
namespace {

using testing::BareClient;
using testing::FakeNode;

bool accepts(int port) {
  const int fd = testing::connect_to(port);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

// A client that writes to a socket that is closed already gets an error, and may throw away with
// the connection the answers that it has not read yet. So a server that ends reads what it will not
// answer, until the client has seen its end: every request that it took is answered, and the
// answers arrive at a client that goes on sending and reads late.
TEST(Drain, WhatWasTakenIsAnsweredToWhoGoesOnSending) {
  FakeNode node;
  BareClient client(node.port);
  node.machine.hold(true);
  constexpr uint64_t kTaken = 50;
  for (uint64_t id = 1; id <= kTaken; ++id)
    client.append(id);
  while (node.log.count() < kTaken)
    std::this_thread::yield();
  auto drained = std::async(std::launch::async,
                            [&] { node.server->drain_and_stop(std::chrono::seconds(10)); });
  while (accepts(node.port))
    std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // it has stopped reading, too
  // More than a read that is under way takes in: the rest stays in the server's socket.
  for (uint64_t id = kTaken + 1; id <= kTaken + 2000; ++id)
    client.append(id);
  node.machine.hold(false);
  for (uint64_t id = kTaken + 2001; id <= kTaken + 2300; ++id) {
    client.append(id);  // which finds no closed socket
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const std::set<uint64_t> answered = client.answers_to_the_end();
  EXPECT_EQ(answered.size(), node.log.count()) << "what it took it answers, and nothing else";
}

// A client to which nothing comes asks for a sign of life by that (rpc/client/tail.cc).
TEST(Hello, IsAnsweredAgain) {
  FakeNode node;
  BareClient client(node.port);
  client.ask(7, [](wire::Request::Builder request) {
    request.initHello().setProtocolVersion(kProtocolVersion);
  });
  EXPECT_TRUE(client.read_until(
      [](wire::Response::Reader response) { return response.getId() == 7 && response.isHello(); }));
}

// It does not wait for ever for clients that stay.
TEST(Drain, AClientThatStaysHoldsItUpNoLongerThanASecondOrTwo) {
  FakeNode node;
  BareClient client(node.port);
  client.append(1);
  while (node.log.count() < 1)
    std::this_thread::yield();
  const auto began = std::chrono::steady_clock::now();
  node.server->drain_and_stop(std::chrono::seconds(60));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
  EXPECT_EQ(client.answers_to_the_end().size(), 1u);
}

}  // namespace
}  // namespace tailrace::rpc
