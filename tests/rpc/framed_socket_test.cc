// When a connection reads and writes: edge by edge, whatever comes together.
#include "rpc/wire/framed_socket.h"

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <asio/io_context.hpp>
#include <capnp/serialize.h>
#include <gtest/gtest.h>
#include <sys/time.h>

#include "rpc/wire/message.h"
#include "rpc/wire/schema/client.capnp.h"
#include "tests/rpc/loopback.h"

namespace tailrace::rpc {
namespace {

constexpr size_t kMostBytes = 16u << 20;

/// An append of one event with as many bytes as asked for.
std::vector<std::byte> frame_of(uint64_t id, size_t bytes = 0) {
  OutgoingMessage message;
  auto request = message.init<wire::Request>();
  request.setId(id);
  const std::string event(bytes, 'e');
  request.initAppend().initEvents(1).set(0, to_data(event));
  std::vector<std::byte> frame;
  append_frame(message.builder(), frame);
  return frame;
}

class Reader : public FramedSocket {
 public:
  explicit Reader(asio::ip::tcp::socket socket)
      : FramedSocket(std::move(socket), kMostBytes, traffic_of_all()) {
    take_large_frames();
  }
  static Traffic& traffic_of_all() {
    static Traffic traffic;
    return traffic;
  }

  std::vector<uint64_t> ids;
  std::string end;
  size_t hold_from = SIZE_MAX;  // so many frames are taken, and then none
  bool room = true;
  int refused = 0, written = 0;
  std::function<void()> then;  // after each frame

 private:
  Take on_frame(capnp::MessageReader& message) override {
    if (ids.size() >= hold_from) return Take::kHold;
    ids.push_back(message.getRoot<wire::Request>().getId());
    if (then) then();
    return Take::kDone;
  }
  void on_written() override { ++written; }
  void on_closed(const std::string& reason) override { end = reason; }
  bool may_buffer(size_t /*bytes*/) override {
    refused += room ? 0 : 1;
    return room;
  }
};

class FramedSocketTest : public ::testing::Test {
 protected:
  /// A connection, and the other end of it as a bare socket.
  struct Both {
    ~Both() { hang_up(); }
    void say(const std::vector<std::byte>& bytes, int flags = 0) const {
      ASSERT_EQ(::send(far, bytes.data(), bytes.size(), MSG_NOSIGNAL | flags),
                static_cast<ssize_t>(bytes.size()));
    }
    /// More than the system may have room for before it is read.
    std::jthread say_beside(const std::vector<std::byte>& bytes) const {
      return std::jthread([this, &bytes] { say(bytes); });
    }
    void hang_up() {
      if (far >= 0) ::close(std::exchange(far, -1));
    }
    void end_writing() const { ::shutdown(far, SHUT_WR); }

    std::shared_ptr<Reader> near;
    int far = -1;
  };
  void connect(Both& both) {
    both.far = testing::connect_to(acceptor.local_endpoint().port());
    const timeval patience{20, 0};
    ::setsockopt(both.far, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    both.near = std::make_shared<Reader>(acceptor.accept());
  }
  /// Runs what can run without waiting, as long as anything comes within a moment.
  void run() {
    io.restart();
    while (io.run_one_for(std::chrono::milliseconds(50)) != 0) {
    }
  }
  bool run_until(const std::function<bool()>& reached) {
    io.restart();
    while (!reached())
      if (io.run_one_for(std::chrono::seconds(20)) == 0) return false;
    return true;
  }

  asio::io_context io{1};
  asio::ip::tcp::acceptor acceptor{io, {asio::ip::address_v4::loopback(), 0}};
};

// Promise: start() and resume() take nothing that is still to be read: that is a turn of its own.
TEST_F(FramedSocketTest, ReadsInATurnOfTheLoop) {
  Both both;
  connect(both);
  both.say(frame_of(1));
  both.near->start();
  EXPECT_TRUE(both.near->ids.empty());
  ASSERT_TRUE(run_until([&] { return both.near->ids.size() == 1; }));
  EXPECT_EQ(both.near->end, "");
  both.near->close("done");
  EXPECT_EQ(both.near->end, "done");
}

// Promise: frames that come together with the end are all taken, and then the end is seen.
TEST_F(FramedSocketTest, DataThatComesWithTheEndIsTaken) {
  for (const bool before_start : {true, false}) {
    Both both;
    connect(both);
    if (!before_start) {
      both.near->start();
      run();
    }
    both.say(frame_of(1));
    both.say(frame_of(2, 40'000));
    both.hang_up();
    if (before_start) both.near->start();
    ASSERT_TRUE(run_until([&] { return both.near->closed(); }));
    EXPECT_EQ(both.near->ids, (std::vector<uint64_t>{1, 2}));
    EXPECT_EQ(both.near->end, "the other side closed the connection");
  }
}

// Promise: what comes while a frame is held, the end too, is there when it is resumed; nothing is
// taken before.
TEST_F(FramedSocketTest, WhatCameWhileAFrameWasHeldIsReadAfterwards) {
  Both both;
  connect(both);
  both.near->hold_from = 1;
  both.near->start();
  both.say(frame_of(1));
  both.say(frame_of(2));
  run();
  both.say(frame_of(3, 40'000));
  run();
  both.hang_up();
  run();
  EXPECT_EQ(both.near->ids, (std::vector<uint64_t>{1}));
  EXPECT_TRUE(both.near->other_side_closed());
  EXPECT_FALSE(both.near->closed());
  both.near->hold_from = SIZE_MAX;
  both.near->resume();
  EXPECT_EQ(both.near->ids, (std::vector<uint64_t>{1, 2}));  // what was read already
  ASSERT_TRUE(run_until([&] { return both.near->closed(); }));
  EXPECT_EQ(both.near->ids, (std::vector<uint64_t>{1, 2, 3}));
}

// Promise: where there is no memory for what comes nothing is read, and it is not asked again with
// each packet, until resume().
TEST_F(FramedSocketTest, WhatFindsNoMemoryWaitsForResume) {
  Both both;
  connect(both);
  both.near->room = false;
  both.near->start();
  for (uint64_t id = 1; id <= 3; ++id) {
    both.say(frame_of(id));
    run();
  }
  EXPECT_TRUE(both.near->ids.empty());
  EXPECT_EQ(both.near->refused, 1);
  both.near->room = true;
  both.near->resume();
  ASSERT_TRUE(run_until([&] { return both.near->ids.size() == 3; }));
  both.near->close("done");
}

// Promise: a read that was filled is gone on with, though no more comes.
TEST_F(FramedSocketTest, AReadThatWasFilledIsGoneOnWith) {
  Both both;
  connect(both);
  constexpr uint64_t kFrames = 3000;
  std::vector<std::byte> all;
  for (uint64_t id = 1; id <= kFrames; ++id) {
    const auto frame = frame_of(id, id % 300);
    all.insert(all.end(), frame.begin(), frame.end());
  }
  const std::jthread speaker = both.say_beside(all);
  both.near->start();
  ASSERT_TRUE(run_until([&] { return both.near->ids.size() == kFrames; }));
  both.near->close("done");
}

// Promise: who sends without a pause does not keep others from being read.
TEST_F(FramedSocketTest, AFloodLetsOthersBeRead) {
  Both flood, quiet;
  connect(flood);
  connect(quiet);
  std::vector<std::byte> all;
  const auto frame = frame_of(1, 1000);
  while (all.size() < (1u << 20))
    all.insert(all.end(), frame.begin(), frame.end());
  const std::jthread speaker = flood.say_beside(all);
  flood.near->start();
  size_t before = 0;
  // It comes while the flood is taken.
  flood.near->then = [&] {
    if (flood.near->ids.size() == 1) quiet.say(frame_of(2));
  };
  quiet.near->start();
  quiet.near->then = [&] { before = flood.near->ids.size(); };
  ASSERT_TRUE(run_until([&] { return quiet.near->ids.size() == 1; }));
  EXPECT_LT(before * frame.size(), all.size() / 2);
  ASSERT_TRUE(run_until([&] { return flood.near->ids.size() == all.size() / frame.size(); }));
  flood.near->close("done");
  quiet.near->close("done");
}

// Promise: urgent data, which cuts a read short, does not leave what is behind it unread.
TEST_F(FramedSocketTest, WhatStandsBehindUrgentDataIsRead) {
  Both both;
  connect(both);
  both.near->start();
  run();
  both.say(frame_of(1));
  both.say({std::byte{0}}, MSG_OOB);
  both.say(frame_of(2));
  ASSERT_TRUE(run_until([&] { return both.near->ids.size() == 2; }));
  both.near->close("done");
}

// Promise: what the system has no room for is written as the other side reads, and the end of it is
// told.
TEST_F(FramedSocketTest, WhatFindsNoRoomIsWrittenLater) {
  Both both;
  connect(both);
  both.near->start();
  constexpr int kMessages = 20;
  const std::string event(1u << 20, 'x');
  for (int i = 0; i < kMessages; ++i) {
    OutgoingMessage message;
    message.init<wire::Request>().initAppend().initEvents(1).set(0, to_data(event));
    both.near->send(message.builder());
    both.near->flush();
  }
  const uint64_t end = both.near->stream_end();
  EXPECT_GT(both.near->unsent_bytes(), 0u);
  EXPECT_TRUE(both.near->sending_progress().has_value());
  uint64_t read = 0;
  std::vector<std::byte> buffer(1u << 20);
  while (read < end) {
    const ssize_t got = ::recv(both.far, buffer.data(), buffer.size(), MSG_DONTWAIT);
    ASSERT_NE(got, 0);
    if (got > 0)
      read += static_cast<uint64_t>(got);
    else
      ASSERT_NE(io.run_one_for(std::chrono::seconds(20)), 0u);
  }
  EXPECT_EQ(read, end);
  ASSERT_TRUE(run_until([&] { return both.near->written > 0; }));
  EXPECT_EQ(both.near->unsent_bytes(), 0u);
  both.near->close("done");
}

// Promise: a connection that fails while a write waits ends, also when nothing is read.
TEST_F(FramedSocketTest, AConnectionThatFailsWhileAWriteWaitsEnds) {
  for (const bool held : {false, true}) {
    Both both;
    connect(both);
    both.near->start();
    if (held) {
      both.near->hold_from = 0;
      both.say(frame_of(1));
      run();
    }
    const std::string event(8u << 20, 'x');
    OutgoingMessage message;
    message.init<wire::Request>().initAppend().initEvents(1).set(0, to_data(event));
    both.near->send(message.builder());
    both.near->flush();
    ASSERT_GT(both.near->unsent_bytes(), 0u);
    both.hang_up();  // with unread bytes: a reset
    ASSERT_TRUE(run_until([&] { return both.near->closed(); }));
  }
}

// Promise: a connection that closes after it has sent reads on to the other side's end, which may
// have come before.
TEST_F(FramedSocketTest, ClosingAfterSendingWaitsForTheOtherSidesEnd) {
  for (const bool ended : {false, true}) {
    Both both;
    connect(both);
    both.near->start();
    both.say(frame_of(1));
    ASSERT_TRUE(run_until([&] { return both.near->ids.size() == 1; }));
    both.near->stop_reading();
    both.say(frame_of(2, 40'000));
    if (ended) both.end_writing();
    run();
    EXPECT_FALSE(both.near->closed());
    both.near->close_after_sending("over");
    run();
    EXPECT_EQ(both.near->closed(), ended);
    if (!ended) both.end_writing();
    ASSERT_TRUE(run_until([&] { return both.near->closed(); }));
    EXPECT_EQ(both.near->end, "the other side closed the connection");
    EXPECT_EQ(both.near->ids.size(), 1u);
  }
}

// Promise: whoever closes it may go on with it in the same turn, and then it is gone.
TEST_F(FramedSocketTest, LastsUntilTheTurnInWhichItIsClosedEnds) {
  Both both;
  connect(both);
  both.near->start();
  const std::weak_ptr<Reader> weak = both.near;
  Reader& reader = *both.near;
  both.near.reset();
  both.say(frame_of(1));
  ASSERT_TRUE(run_until([&] { return reader.ids.size() == 1; }));
  reader.close("done");
  EXPECT_EQ(reader.end, "done");
  run();
  EXPECT_TRUE(weak.expired());
}

}  // namespace
}  // namespace tailrace::rpc
