// Between two nodes there is one connection: who dials it, where, and which of two stays.

#include <chrono>
#include <memory>
#include <thread>

#include <gtest/gtest.h>

#include "core/mutex.h"
#include "tests/rpc/peer/transport_side.h"

namespace tailrace::rpc {
namespace {

using namespace std::chrono_literals;
using testing::Recorder;
using testing::Side;

TEST(PeerTransport, ADroppedConnectionComesBackByItself) {
  Side one(1, "c", 0, "127.0.0.1:1");
  Side two(2, "c", 0, one.address());
  int connections = 0;
  for (Side* side : {&one, &two}) {  // whichever of them drops it
    ++connections;
    ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == connections; }));
    ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.connected == connections; }));
    side->reset(side == &one ? 2 : 1);
    ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.disconnected == connections; }));
    ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.disconnected == connections; }));
  }
  ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.connected == 3; }));
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 3; }));
  one.send(2, replication::Seal{Epoch{5}});
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.messages.size() == 1; }));
}

TEST(PeerTransport, AHandlerIsToldOfTheConnectionsThatAreUpAlready) {
  Side one(1, "c", 0, "127.0.0.1:1");
  Side two(2, "c", 0, one.address());
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 1; }));
  ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.connected == 1; }));
  Recorder later;
  one.handle(later);
  ASSERT_TRUE(later.wait([&] { return later.connected == 1; }));
  two.send(1, replication::Seal{Epoch{5}});
  ASSERT_TRUE(later.wait([&] { return later.messages.size() == 1; }));
  one.transport->stop();
  EXPECT_EQ(one.recorder.seen().connected, 1);
}

TEST(PeerTransport, TheNodeWithTheGreaterIdDialsUntilTheOtherIsBack) {
  auto leader = std::make_unique<Side>(1, "c", 0, "127.0.0.1:1");
  const int port = leader->transport->port();
  Side follower(2, "c", 0, leader->address());
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.connected == 1; }));
  leader.reset();
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.disconnected >= 1; }));
  leader = std::make_unique<Side>(1, "c", port, "127.0.0.1:1");
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.connected == 2; }));
}

// A node that was down while the other one moved dials an old address for ever. The other one,
// which knows where it is, comes to it. And nothing cuts that connection off again.
TEST(PeerTransport, TheNodeWithTheSmallerIdDialsWhereTheGreaterCanNot) {
  Side was_down(2, "c", 0, "127.0.0.1:1", 100ms);
  Side leader(1, "c", 0, was_down.address(), 100ms);
  ASSERT_TRUE(was_down.recorder.wait([&] { return was_down.recorder.connected == 1; }));
  ASSERT_TRUE(leader.recorder.wait([&] { return leader.recorder.connected == 1; }));
  leader.send(2, replication::Seal{Epoch{5}});
  ASSERT_TRUE(was_down.recorder.wait([&] { return was_down.recorder.messages.size() == 1; }));
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(was_down.recorder.seen().disconnected, 0) << was_down.recorder.seen().reason;
  EXPECT_EQ(leader.recorder.seen().disconnected, 0) << leader.recorder.seen().reason;
  // Now that a record says where it is, it dials itself.
  was_down.moved(1, leader.address());
  leader.reset(2);
  ASSERT_TRUE(was_down.recorder.wait([&] { return was_down.recorder.connected == 2; }));
}

// The log may name addresses of before: the file's are tried as well.
TEST(PeerTransport, TheAddressesOfTheLogAndOfTheFileAreTriedInTurn) {
  Side one(1, "c", 0, "127.0.0.1:1");
  Side two(2, "c", 0, one.address());
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 1; }));
  two.moved(1, "127.0.0.1:1");
  one.reset(2);
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 2; }));
  // One that was removed is dialled at neither.
  two.transport->post([&] { two.transport->set_members({{NodeId{2}, true, two.address(), ""}}); });
  one.reset(2);
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.disconnected == 2; }));
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(two.recorder.seen().connected, 2);
}

// What the smaller one dials beside a connection that the greater one has just made was begun
// before that, and cuts nothing off. Later it is known better: it dials when it has none.
TEST(PeerTransport, AYoungConnectionOfTheGreaterIsNotReplacedByOneOfTheSmaller) {
  Side one(1, "c", 0, "127.0.0.1:1");
  Side two(2, "c", 0, one.address());
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 1; }));
  Side again(1, "c", 0, two.address(), 10ms);
  std::this_thread::sleep_for(400ms);
  EXPECT_EQ(two.recorder.seen().disconnected, 0) << two.recorder.seen().reason;
  EXPECT_EQ(again.recorder.seen().connected, 0);
  ASSERT_TRUE(again.recorder.wait([&] { return again.recorder.connected == 1; }));
  EXPECT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 2; }));
}

// Both dial at the same moment, again and again: both keep the same connection, and it stays.
TEST(PeerTransport, WhereTwoConnectionsMeetBothKeepTheSame) {
  Side one(1, "c", 0, "127.0.0.1:1", 50ms);
  Side two(2, "c", 0, one.address(), 50ms);
  one.moved(2, two.address());
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected > 0; }));
  ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.connected > 0; }));
  for (uint64_t round = 1; round <= 20; ++round) {
    (round % 2 == 0 ? one : two).reset(round % 2 == 0 ? 2 : 1);
    // A message may go with a connection that is given up; not all of many.
    const auto heard = [round](Recorder& recorder) {
      const MutexLock lock(recorder.mutex);
      for (const replication::Message& message : recorder.messages)
        if (std::get<replication::Seal>(message).epoch == Epoch{round}) return true;
      return false;
    };
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!heard(one.recorder) || !heard(two.recorder)) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "round " << round;
      one.send(2, replication::Seal{Epoch{round}});
      two.send(1, replication::Seal{Epoch{round}});
      std::this_thread::sleep_for(2ms);
    }
  }
  std::this_thread::sleep_for(200ms);
  const int connected = one.recorder.seen().connected;
  std::this_thread::sleep_for(500ms);
  EXPECT_EQ(one.recorder.seen().connected, connected)
      << "it comes and goes: " << one.recorder.seen().reason;
  for (Side* side : {&one, &two}) {
    const Recorder::Seen seen = side->recorder.seen();
    EXPECT_EQ(seen.connected, seen.disconnected + 1);
  }
}

}  // namespace
}  // namespace tailrace::rpc
