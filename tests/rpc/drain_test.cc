// How a server ends: who was answered gets the answer, whatever else he has sent since.
#include <atomic>
#include <future>
#include <set>
#include <vector>

#include <gtest/gtest.h>
#include <sys/time.h>

#include "fake_node.h"
#include "rpc/framing.h"
#include "rpc/hello.h"
#include "rpc/message.h"
#include "rpc/schema/client.capnp.h"
#include "tests/rpc/loopback.h"

namespace tailrace::rpc {
namespace {

using testing::FakeNode;

bool accepts(int port) {
  const int fd = testing::connect_to(port);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

/// A client of bare frames that reads only when it is told to.
class BareClient {
 public:
  explicit BareClient(int port) : fd_(testing::connect_to(port)), decoder_(1u << 20) {
    EXPECT_GE(fd_, 0);
    const timeval patience{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    OutgoingMessage message;
    message.init<wire::Request>().initHello().setProtocolVersion(kProtocolVersion);
    send(message);
  }
  ~BareClient() { ::close(fd_); }

  void append(uint64_t id) {
    OutgoingMessage message;
    auto request = message.init<wire::Request>();
    request.setId(id);
    auto append = request.initAppend();
    append.setStream("s");
    append.initEvents(1).set(0, to_data(std::string_view("event")));
    send(message);
  }

  /// The ids of the answers up to the end of the connection; an error is no end.
  std::set<uint64_t> answers_to_the_end() {
    std::set<uint64_t> ids;
    while (true) {
      const MutableByteSpan room = decoder_.room();
      const ssize_t got = ::recv(fd_, room.data(), room.size(), 0);
      EXPECT_GE(got, 0) << "after " << ids.size() << " answers: " << std::strerror(errno);
      if (got <= 0) return ids;
      decoder_.filled(static_cast<size_t>(got));
      while (const auto frame = decoder_.peek().value()) {
        capnp::FlatArrayMessageReader message(to_words(*frame));
        const auto response = message.getRoot<wire::Response>();
        if (response.isCommand()) ids.insert(response.getId());
        decoder_.consume();
      }
    }
  }

 private:
  void send(OutgoingMessage& message) {
    std::vector<std::byte> frame;
    append_frame(message.builder(), frame);
    EXPECT_EQ(::send(fd_, frame.data(), frame.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(frame.size()));
  }

  int fd_;
  FrameDecoder decoder_;
};

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
