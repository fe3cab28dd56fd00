// By which status a request is judged: that of the pass over frames in which it is taken.
#include <string>

#include <gtest/gtest.h>

#include "bare_client.h"
#include "fake_node.h"

namespace tailrace::rpc {
namespace {

using testing::BareClient;
using testing::FakeNode;

// A push to a client that does not read leaves a write under way for long. What the push looked at
// is of its own moment: a read that comes later is judged by the role of then.
TEST(StaleStatus, APushLeavesNoStatusForTheRequestsBehindIt) {
  FakeNode node;
  BareClient tailing(node.port), writing(node.port);
  tailing.ask(1, [](wire::Request::Builder request) {
    auto tail = request.initTail();
    tail.setFollow(true);
    tail.setCreditBytes(256u << 20);
  });
  ASSERT_TRUE(tailing.read_until([](wire::Response::Reader r) { return r.isTailStart(); }));
  // More than the sockets hold.
  constexpr uint64_t kEvents = 80;
  const std::string event(500'000, 'x');
  for (uint64_t id = 1; id <= kEvents; ++id) {
    writing.append(id, event);
    ASSERT_TRUE(writing.read_until([&](wire::Response::Reader r) { return r.getId() == id; }));
  }
  auto status = *node.node.status();
  status.role = replication::Role::kFollower;
  status.serving = status.alone = false;
  node.node.set(status);
  tailing.ask(2, [](wire::Request::Builder request) {
    request.initGet().setKey(to_data(std::string_view("k")));
  });
  std::string code;
  ASSERT_TRUE(tailing.read_until([&](wire::Response::Reader r) {
    if (r.getId() != 2) return false;
    code = r.isError() ? to_string(r.getError().getCode()) : "answered";
    return true;
  }));
  EXPECT_EQ(code, "not_leader");
}

// Lost and won again behind the status that let the command in: it is refused, and is in no log.
TEST(StaleStatus, ACommandIsTakenInTheEpochOfItsStatusOrNotAtAll) {
  FakeNode node;
  BareClient client(node.port);
  ASSERT_TRUE(node.log.become_writer(Epoch{2}));
  std::string code;
  const auto answer = [&](wire::Response::Reader response) {
    if (response.getId() == 0) return false;  // the hello
    code = response.isError() ? to_string(response.getError().getCode()) : "answered";
    return true;
  };
  client.append(1);
  ASSERT_TRUE(client.read_until(answer));
  EXPECT_EQ(code, "not_leader");
  EXPECT_EQ(node.log.count(), 0u);
  auto status = *node.node.status();
  status.epoch = Epoch{2};
  node.node.set(status);
  client.append(2);
  ASSERT_TRUE(client.read_until(answer));
  EXPECT_EQ(code, "answered");
}

}  // namespace
}  // namespace tailrace::rpc
