#include <condition_variable>
#include <mutex>

#include <gtest/gtest.h>

#include "rpc/server.h"

namespace tailrace::rpc {
namespace {

using namespace std::chrono_literals;

struct Recorder : replication::TransportHandler {
  void on_connected(NodeId) override {
    const std::lock_guard lock(mutex);
    ++connected;
    changed.notify_all();
  }
  void on_disconnected(NodeId, const std::string& why) override {
    const std::lock_guard lock(mutex);
    ++disconnected;
    reason = why;
    changed.notify_all();
  }
  void on_message(NodeId, replication::Message message) override {
    const std::lock_guard lock(mutex);
    messages.push_back(std::move(message));
    changed.notify_all();
  }
  template <typename Condition>
  bool wait(Condition condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 20s, condition);
  }
  std::mutex mutex;
  std::condition_variable changed;
  int connected = 0, disconnected = 0;
  std::string reason;
  std::vector<replication::Message> messages;
};

struct Side {
  Side(uint32_t id, std::string cluster, int port, std::string other) {
    PeerTransportOptions options;
    options.self = NodeId{id};
    options.cluster = std::move(cluster);
    options.listen = "127.0.0.1:" + std::to_string(port);
    options.members = {{NodeId{id}, true, options.listen, ""},
                       {NodeId{3 - id}, true, std::move(other), ""}};
    transport = PeerTransport::create(options).value();
    transport->set_handler(&recorder);
    transport->start(10ms, [] {});
  }
  ~Side() { transport->stop(); }
  std::string address() const { return "127.0.0.1:" + std::to_string(transport->port()); }
  void connect(uint32_t id) {
    transport->post([this, id] { transport->connect(NodeId{id}); });
  }
  void send(uint32_t id, replication::Message message) {
    transport->post([this, id, message] { transport->send(NodeId{id}, message); });
  }
  Recorder recorder;
  std::unique_ptr<PeerTransport> transport;
};

TEST(PeerTransport, MessagesArriveInOrderBothWays) {
  Side leader(1, "c", 0, "127.0.0.1:1");
  Side follower(2, "c", 0, leader.address());
  follower.connect(1);
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.connected == 1; }));
  ASSERT_TRUE(leader.recorder.wait([&] { return leader.recorder.connected == 1; }));
  const auto bytes = std::make_shared<const std::vector<std::byte>>(1 << 20, std::byte{7});
  for (uint64_t i = 0; i < 50; ++i) {
    leader.send(2, replication::Data{Epoch{1}, Address{i}, bytes, {}, {}, 0});
    follower.send(1, replication::Acknowledge{Epoch{1}, Address{i}, {}});
  }
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.messages.size() == 50; }));
  ASSERT_TRUE(leader.recorder.wait([&] { return leader.recorder.messages.size() == 50; }));
  for (uint64_t i = 0; i < 50; ++i) {
    const auto& data = std::get<replication::Data>(follower.recorder.messages[i]);
    EXPECT_EQ(data.from, Address{i});
    EXPECT_EQ(*data.bytes, *bytes);
    EXPECT_EQ(std::get<replication::Acknowledge>(leader.recorder.messages[i]).durable, Address{i});
  }
}

TEST(PeerTransport, AnotherClusterIsRefusedByName) {
  Side leader(1, "east", 0, "127.0.0.1:1");
  Side follower(2, "west", 0, leader.address());
  follower.connect(1);
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.disconnected > 0; }));
  EXPECT_NE(follower.recorder.reason.find("east"), std::string::npos) << follower.recorder.reason;
  EXPECT_NE(follower.recorder.reason.find("west"), std::string::npos);
  EXPECT_EQ(follower.recorder.connected, 0);
  EXPECT_EQ(leader.recorder.connected, 0);
}

TEST(PeerTransport, TheDialerComesBackWhenTheOtherSideDoes) {
  auto leader = std::make_unique<Side>(1, "c", 0, "127.0.0.1:1");
  const int port = leader->transport->port();
  Side follower(2, "c", 0, leader->address());
  follower.connect(1);
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.connected == 1; }));
  leader.reset();
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.disconnected >= 1; }));
  leader = std::make_unique<Side>(1, "c", port, "127.0.0.1:1");
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.connected == 2; }));
}

}  // namespace
}  // namespace tailrace::rpc
