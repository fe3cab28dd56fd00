// Which sockets are ready: told once for what comes, to the right object, in turns.
#include "net/readiness.h"

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "net/descriptor.h"

namespace tailrace::net {
namespace {

/// Two sockets that are connected.
struct Pair {
  Pair() {
    std::array<int, 2> made;
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, made.data()) != 0) std::abort();
    near = Descriptor(made[0]);
    far = Descriptor(made[1]);
  }
  void say(const std::string& what) const {
    ASSERT_EQ(::send(far.number(), what.data(), what.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(what.size()));
  }

  Descriptor near, far;
};

struct Listener : Readiness::Watched {
  void on_ready(Readiness::Ready ready) override {
    told.push_back(ready);
    if (then) then();
  }
  void on_turn() override {
    ++turns;
    if (then) then();
  }

  std::vector<Readiness::Ready> told;
  int turns = 0;
  std::function<void()> then;
};

class ReadinessTest : public ::testing::Test {
 protected:
  Readiness::Token add(const Descriptor& descriptor, const std::shared_ptr<Listener>& listener) {
    const auto token = readiness().add(descriptor.number(), listener);
    EXPECT_TRUE(token) << token.error().message;
    return token.value_or(Readiness::kNone);
  }
  Readiness& readiness() { return Readiness::of(io.get_executor()); }
  /// Runs what can run without waiting.
  void run() {
    while (io.poll() != 0) {
    }
    io.restart();
  }

  asio::io_context io{1};
};

// Promise: what came before a socket is watched is told, later than add(); what comes is told once
// for each time that something comes.
TEST_F(ReadinessTest, WhatComesIsToldOnce) {
  const Pair pair;
  const auto listener = std::make_shared<Listener>();
  pair.say("before");
  add(pair.near, listener);
  EXPECT_TRUE(listener->told.empty());
  run();
  ASSERT_EQ(listener->told.size(), 1u);
  EXPECT_TRUE(listener->told[0].readable && !listener->told[0].until_nothing_comes);
  run();
  EXPECT_EQ(listener->told.size(), 1u);  // though nobody has read it
  pair.say("later");
  run();
  EXPECT_EQ(listener->told.size(), 2u);
}

// Promise: the end that comes with data is told with it, so that the reader goes on to the end.
TEST_F(ReadinessTest, TheEndIsToldWithTheDataBeforeIt) {
  Pair pair;
  const auto listener = std::make_shared<Listener>();
  add(pair.near, listener);
  pair.say("last words");
  pair.far.close();
  run();
  ASSERT_EQ(listener->told.size(), 1u);
  EXPECT_TRUE(listener->told[0].readable && listener->told[0].until_nothing_comes);
}

// Promise: an event that was fetched reaches neither a socket that was closed in the same round,
// nor the one that has its number, and its place, since.
TEST_F(ReadinessTest, AnEventDoesNotReachWhoeverHasTheNumberNext) {
  std::array<Pair, 2> pairs;
  std::array<std::shared_ptr<Listener>, 2> listeners;
  std::array<Readiness::Token, 2> tokens;
  const auto next = std::make_shared<Listener>();
  Pair later;
  int number = -1;
  for (size_t i = 0; i < 2; ++i) {
    listeners[i] = std::make_shared<Listener>();
    tokens[i] = add(pairs[i].near, listeners[i]);
    listeners[i]->then = [&, other = 1 - i] {  // whoever is told first closes the other one
      readiness().remove(tokens[other]);
      number = pairs[other].near.number();
      pairs[other].near.close();
      Descriptor same(::dup2(later.near.number(), number));
      later.near = std::move(same);
      add(later.near, next);
    };
  }
  pairs[0].say("one");
  pairs[1].say("two");
  run();
  EXPECT_EQ(listeners[0]->told.size() + listeners[1]->told.size(), 1u);
  EXPECT_TRUE(next->told.empty());
  EXPECT_EQ(later.near.number(), number);
  later.say("three");
  run();
  EXPECT_EQ(next->told.size(), 1u);
}

// Promise: who waits for room to write is told when there is some, and nobody else is.
TEST_F(ReadinessTest, RoomToWriteIsToldToWhoeverWaitsForIt) {
  const Pair pair;
  const auto listener = std::make_shared<Listener>();
  const auto token = add(pair.near, listener);
  run();
  EXPECT_TRUE(listener->told.empty());
  const std::string much(64 << 10, 'x');
  while (::send(pair.near.number(), much.data(), much.size(), MSG_NOSIGNAL) > 0) {
  }
  ASSERT_TRUE(readiness().watch_writing(token, pair.near.number()));
  run();
  EXPECT_TRUE(listener->told.empty());
  std::string read(much.size(), ' ');
  while (::recv(pair.far.number(), read.data(), read.size(), 0) > 0) {
  }
  run();
  ASSERT_FALSE(listener->told.empty());
  EXPECT_TRUE(listener->told.back().writable && !listener->told.back().readable);
}

// Promise: however many are ready, all are told, and what is posted has its turn after 128.
TEST_F(ReadinessTest, ManyAreToldInRounds) {
  std::vector<Pair> pairs(300);
  std::vector<std::shared_ptr<Listener>> listeners;
  size_t told = 0, before_posted = 0;
  for (const Pair& pair : pairs) {
    listeners.push_back(std::make_shared<Listener>());
    listeners.back()->then = [&] {
      if (told++ == 0) asio::post(io, [&] { before_posted = told; });
    };
    add(pair.near, listeners.back());
    pair.say("here");
  }
  run();
  EXPECT_EQ(told, 300u);
  EXPECT_EQ(before_posted, 128u);
  EXPECT_TRUE(
      std::ranges::all_of(listeners, [](const auto& one) { return one->told.size() == 1; }));
}

// Promise: a turn that is asked for comes later than the call, once for each, and not after the
// end.
TEST_F(ReadinessTest, TurnsComeLater) {
  const Pair one, two;
  const auto first = std::make_shared<Listener>(), second = std::make_shared<Listener>();
  const auto token = add(one.near, first), gone = add(two.near, second);
  first->then = [&] {
    if (first->turns < 3) readiness().ask_turn(token);
  };
  readiness().ask_turn(token);
  readiness().ask_turn(gone);
  EXPECT_EQ(first->turns, 0);
  readiness().remove(gone);
  run();
  EXPECT_EQ(first->turns, 3);
  EXPECT_EQ(second->turns, 0);
}

// Promise: a loop goes on while a socket is watched, and runs out of work when none is.
TEST_F(ReadinessTest, TheLoopEndsWithTheLastSocket) {
  const Pair first, second, third;
  const auto listener = std::make_shared<Listener>();
  Readiness::Token token = add(first.near, listener);
  listener->then = [&] { readiness().remove(token); };
  first.say("end");
  io.run();
  EXPECT_EQ(listener->told.size(), 1u);
  io.restart();
  // One that comes while the wait for the others is being cancelled is waited for.
  token = add(second.near, listener);
  readiness().remove(token);
  token = add(third.near, listener);
  third.say("end");
  io.run();
  EXPECT_EQ(listener->told.size(), 2u);
}

// Promise: it keeps an object until it is removed, or the loop is no more; then the object may
// still call.
TEST(Readiness, KeepsWhatItWatches) {
  struct Caller : Listener {
    ~Caller() override { readiness->remove(token); }
    Readiness* readiness = nullptr;
    Readiness::Token token = Readiness::kNone;
  };
  const Pair pair, other;
  std::weak_ptr<Caller> removed, left;
  {
    asio::io_context io;
    Readiness& readiness = Readiness::of(io.get_executor());
    const auto add = [&](const Pair& to) {
      const auto caller = std::make_shared<Caller>();
      caller->readiness = &readiness;
      caller->token = readiness.add(to.near.number(), caller).value();
      return std::weak_ptr(caller);
    };
    removed = add(pair);
    left = add(other);
    ASSERT_FALSE(removed.expired());
    readiness.remove(removed.lock()->token);
    EXPECT_TRUE(removed.expired());
    EXPECT_FALSE(left.expired());
  }
  EXPECT_TRUE(left.expired());
}

// Promise: what is no open descriptor is an error, and takes no place.
TEST_F(ReadinessTest, WhatIsNotOpenIsRefused) {
  EXPECT_FALSE(readiness().add(-1, std::make_shared<Listener>()));
  const Pair pair;
  const auto listener = std::make_shared<Listener>();
  pair.say("fine");
  add(pair.near, listener);
  run();
  EXPECT_EQ(listener->told.size(), 1u);
}

}  // namespace
}  // namespace tailrace::net
