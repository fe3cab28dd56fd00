// Many clients on the threads of a runtime: each goes on whatever the others wait for, and ends
// when it is ended.

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <asio/post.hpp>
#include <gtest/gtest.h>

#include "rpc/client/client.h"
#include "rpc/client/loop.h"
#include "tests/rpc/fake_node.h"
#include "tests/rpc/relay.h"
#include "tests/rpc/served_node.h"

namespace tailrace::rpc {
namespace {

using namespace std::chrono_literals;
using testing::FakeNode;
using testing::Relay;

std::shared_ptr<Runtime> one_thread() {
  return Runtime::create().value();
}

std::unique_ptr<Client> client_on(const std::shared_ptr<Runtime>& runtime, std::string server,
                                  std::chrono::milliseconds timeout = 10s, bool share = false) {
  ClientOptions options;
  options.servers = {std::move(server)};
  options.timeout = timeout;
  options.runtime = runtime;
  options.share_connection = share;
  return Client::create(std::move(options)).value();
}

/// Takes connections and says nothing, as a machine that is frozen.
class SilentServer {
 public:
  SilentServer() : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&at), size), 0);
    EXPECT_EQ(::listen(listener_, 64), 0);
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size), 0);
    address_ = "127.0.0.1:" + std::to_string(ntohs(at.sin_port));
  }
  ~SilentServer() { ::close(listener_); }
  const std::string& address() const { return address_; }

 private:
  const int listener_;
  std::string address_;
};

/// What came of a call without waiting.
struct Outcome {
  std::promise<Result<CommandAnswer>> promise;
  std::future<Result<CommandAnswer>> future = promise.get_future();
  Client::CommandCallback callback() {
    return [this](Result<CommandAnswer> answer) { promise.set_value(std::move(answer)); };
  }
  bool there() const { return future.wait_for(0s) == std::future_status::ready; }
};

Client::Write add_one(std::string_view key) {
  return {.operation = statemachine::Operation::kAdd, .key = as_bytes(key), .delta = 1};
}

// Clients of one thread do not wait for each other: while one looks for a server that does not
// answer, and one for a name that there is not, the calls of another are answered.
TEST(Runtime, AClientThatWaitsHoldsUpNoOther) {
  FakeNode node;
  SilentServer silent;
  Outcome first, second;  // the ends of the clients are told to them
  const auto runtime = one_thread();
  const auto waits = client_on(runtime, silent.address(), 60s);
  const auto lost = client_on(runtime, "no-such-host.invalid:7100", 60s);
  const auto works = client_on(runtime, node.address());
  waits->async_put(as_bytes("k"), as_bytes("v"), first.callback());
  lost->async_put(as_bytes("k"), as_bytes("v"), second.callback());
  for (int i = 0; i < 50; ++i)
    ASSERT_TRUE(works->add(as_bytes("n"), 1));
  EXPECT_EQ(works->get(as_bytes("n"), {})->value, "50");
  EXPECT_FALSE(first.there());
  EXPECT_FALSE(second.there());
}

// Each client has a session of its own: commands of several that are in flight together are all
// applied, each once.
TEST(Runtime, EachClientHasASessionOfItsOwn) {
  FakeNode node;
  std::vector<Outcome> outcomes(64);
  const auto runtime = one_thread();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 16; ++i)
    clients.push_back(client_on(runtime, node.address()));
  for (size_t i = 0; i < outcomes.size(); ++i)
    clients[i % clients.size()]->async_write(add_one("n"), outcomes[i].callback());
  for (Outcome& outcome : outcomes) {
    const auto answer = outcome.future.get();
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->answer.outcome, statemachine::Outcome::kDone);
  }
  EXPECT_EQ(clients[0]->get(as_bytes("n"), {})->value, std::to_string(outcomes.size()));
}

// The deadlines of all clients are kept by one timer: each call ends at its own, whatever the order
// in which they were made.
TEST(Runtime, EachCallEndsAtItsOwnDeadline) {
  SilentServer silent;
  std::mutex mutex;
  std::vector<int> order;
  Outcome outcomes[3];
  const auto runtime = one_thread();
  const auto late = client_on(runtime, silent.address(), 600ms);
  const auto early = client_on(runtime, silent.address(), 150ms);
  const auto last = client_on(runtime, silent.address(), 60s);
  const auto note = [&](int which) {
    return [&, which](Result<CommandAnswer> answer) {
      EXPECT_FALSE(answer);
      {
        const std::lock_guard lock(mutex);
        order.push_back(which);
      }
      outcomes[which].promise.set_value(std::move(answer));
    };
  };
  late->async_put(as_bytes("k"), as_bytes("v"), note(1));
  early->async_put(as_bytes("k"), as_bytes("v"), note(0));
  last->async_put(as_bytes("k"), as_bytes("v"), note(2));
  for (Outcome* outcome : {&outcomes[0], &outcomes[1]})
    EXPECT_EQ(outcome->future.get().error().code, ErrorCode::kUnavailable);
  const std::lock_guard lock(mutex);
  EXPECT_EQ(order, (std::vector<int>{0, 1}));
}

// Whatever order a callback and its thread make calls in, they are sent in that order, and a
// callback may make the next call.
TEST(Runtime, ACallbackMakesTheNextCall) {
  FakeNode node;
  constexpr int kCalls = 100;
  std::promise<void> over;
  std::vector<std::string> values;
  const auto runtime = one_thread();
  const auto client = client_on(runtime, node.address());
  std::function<void(Result<CommandAnswer>)> next = [&](Result<CommandAnswer> answer) {
    ASSERT_TRUE(answer);
    EXPECT_TRUE(runtime->own_thread());
    values.push_back(answer->answer.value);
    if (values.size() == kCalls) return over.set_value();
    client->async_write(add_one("n"), next);
  };
  client->async_write(add_one("n"), next);
  over.get_future().wait();
  for (int i = 0; i < kCalls; ++i)
    EXPECT_EQ(values[static_cast<size_t>(i)], std::to_string(i + 1));
}

// A call on the runtime's thread does not overtake what its client was given before.
TEST(Runtime, TheOrderOfCallsIsKeptAcrossThreads) {
  FakeNode node;
  Outcome own, other;
  const auto runtime = one_thread();
  const auto client = client_on(runtime, node.address());
  std::promise<void> given;
  auto gate = given.get_future();
  runtime->post(0, [&] {
    gate.wait();  // the other thread has made its call, and this one has not taken it up yet
    client->async_put(as_bytes("k"), as_bytes("second"), own.callback());
  });
  client->async_put(as_bytes("k"), as_bytes("first"), other.callback());
  given.set_value();
  ASSERT_TRUE(other.future.get());
  ASSERT_TRUE(own.future.get());
  EXPECT_EQ(client->get(as_bytes("k"), {})->value, "second");
}

// A call that waits would wait for its own thread: it is refused, and nothing hangs.
TEST(Runtime, ABlockingCallInACallbackIsRefused) {
  FakeNode node;
  std::promise<Error> refused;
  const auto runtime = one_thread();
  const auto client = client_on(runtime, node.address());
  client->async_put(as_bytes("k"), as_bytes("v"), [&](Result<CommandAnswer>) {
    EXPECT_EQ(client->tail({}, [](const TailRecord&) { return true; }).error().code,
              ErrorCode::kFailedPrecondition);
    EXPECT_EQ(client->status().front().second.error().code, ErrorCode::kFailedPrecondition);
    refused.set_value(client->get(as_bytes("k"), {}).error());
  });
  EXPECT_EQ(refused.get_future().get().code, ErrorCode::kFailedPrecondition);
  EXPECT_TRUE(client->get(as_bytes("k"), {})) << "another thread may wait";
}

// The end of one client answers its calls and leaves the others alone.
TEST(Runtime, AClientEndsWhileOthersGoOn) {
  FakeNode node;
  SilentServer silent;
  const auto runtime = one_thread();
  const auto stays = client_on(runtime, node.address());
  ASSERT_TRUE(stays->add(as_bytes("n"), 1));
  for (int i = 0; i < 20; ++i) {
    auto ends = client_on(runtime, i % 2 == 0 ? silent.address() : node.address());
    Outcome outcome;
    ends->async_put(as_bytes("k"), as_bytes("v"), outcome.callback());
    Outcome goes_on;
    stays->async_write(add_one("n"), goes_on.callback());
    ends.reset();
    ASSERT_TRUE(outcome.there()) << "its calls are answered by then";
    if (i % 2 == 0) {
      EXPECT_EQ(outcome.future.get().error().code, ErrorCode::kClosed);
    }
    ASSERT_TRUE(goes_on.future.get());
  }
  EXPECT_EQ(stays->get(as_bytes("n"), {})->value, "21");
}

// A callback may end its own client, and one that has calls in flight and more to send; each call
// is answered once.
TEST(Runtime, ACallbackEndsClients) {
  FakeNode node;
  const auto runtime = one_thread();
  for (int round = 0; round < 20; ++round) {
    auto own = client_on(runtime, node.address());
    auto other = client_on(runtime, node.address());
    ASSERT_TRUE(other->put(as_bytes("k"), as_bytes("v")));
    Outcome last, of_other[8], of_own[8];
    own->async_put(as_bytes("k"), as_bytes("v"), [&](Result<CommandAnswer> answer) {
      for (Outcome& outcome : of_other)
        other->async_put(as_bytes("k"), as_bytes("v"), outcome.callback());
      for (Outcome& outcome : of_own)
        own->async_put(as_bytes("k"), as_bytes("v"), outcome.callback());
      other.reset();
      own.reset();
      for (int i = 0; i < 8; ++i)
        EXPECT_TRUE(of_other[i].there() && of_own[i].there());
      last.promise.set_value(std::move(answer));
    });
    EXPECT_TRUE(last.future.get());
    for (int i = 0; i < 8; ++i)
      EXPECT_EQ(of_own[i].future.get().error().code, ErrorCode::kClosed);
  }
}

// A call that an answer makes while its client ends is answered, too, and not for ever.
TEST(Runtime, ACallThatIsMadeWhileTheClientEndsIsClosed) {
  SilentServer silent;
  Outcome second;
  const auto runtime = one_thread();
  auto client = client_on(runtime, silent.address());
  Client* const raw = client.get();
  client->async_put(as_bytes("k"), as_bytes("v"), [&](const Result<CommandAnswer>&) {
    raw->async_put(as_bytes("k"), as_bytes("v"), second.callback());
    EXPECT_FALSE(second.there()) << "not within the call";
  });
  client.reset();
  ASSERT_TRUE(second.there());
  EXPECT_EQ(second.future.get().error().code, ErrorCode::kClosed);
}

// The last owner of a runtime may be a client that ends on the runtime's thread; so may a client
// that has a thread of its own.
TEST(Runtime, ItEndsOnItsOwnThread) {
  FakeNode node;
  for (const bool given : {true, false}) {
    auto runtime = given ? one_thread() : nullptr;
    auto client = client_on(runtime, node.address());
    runtime.reset();
    std::promise<void> over;
    client->async_put(as_bytes("k"), as_bytes("v"), [&](const Result<CommandAnswer>& answer) {
      EXPECT_TRUE(answer);
      client.reset();
      over.set_value();
    });
    over.get_future().wait();
  }
}

// A command whose answer was lost is sent again and applied once, beside clients of other servers
// on the same thread.
TEST(Runtime, ACommandIsAppliedOnceAcrossAReconnect) {
  FakeNode node;
  Relay relay(node.port);
  std::vector<Outcome> outcomes(4);
  const auto runtime = one_thread();
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    clients.push_back(client_on(runtime, "127.0.0.1:" + std::to_string(relay.port())));
    ASSERT_TRUE(clients.back()->add(as_bytes("n"), 1));
  }
  const auto untouched = client_on(runtime, node.address());
  ASSERT_TRUE(untouched->add(as_bytes("m"), 1));
  node.machine.hold(true);
  for (size_t i = 0; i < clients.size(); ++i)
    clients[i]->async_write(add_one("n"), outcomes[i].callback());
  while (node.log.count() < 5 + clients.size())
    std::this_thread::yield();
  relay.cut();
  std::this_thread::sleep_for(50ms);
  relay.mend();
  node.machine.hold(false);
  for (Outcome& outcome : outcomes) {
    const auto answer = outcome.future.get();
    ASSERT_TRUE(answer) << answer.error().message;
  }
  EXPECT_EQ(untouched->get(as_bytes("n"), {})->value, "8");
}

// Clients that share a connection keep their sessions apart, and there is one connection, however
// many begin at once.
TEST(Runtime, ClientsShareAConnection) {
  FakeNode node;
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  std::vector<Outcome> outcomes(60);
  const auto runtime = one_thread();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 20; ++i)
    clients.push_back(client_on(runtime, node.address(), 10s, true));
  for (size_t i = 0; i < outcomes.size(); ++i)
    clients[i % clients.size()]->async_write(add_one("n"), outcomes[i].callback());
  for (Outcome& outcome : outcomes)
    ASSERT_TRUE(outcome.future.get());
  EXPECT_EQ(clients[0]->get(as_bytes("n"), {})->value, std::to_string(outcomes.size()));
  EXPECT_EQ(testing::value_of(registry, "tailrace_rpc_connections"), 1);
}

// On a shared connection a read that waits, and the end of a client with calls in flight, leave the
// others alone; the connection ends with the last of its clients.
TEST(Runtime, ClientsOfOneConnectionGoOnWithoutEachOther) {
  FakeNode node;
  observability::MetricRegistry registry;
  node.server->register_metrics(registry);
  const auto runtime = one_thread();
  auto waits = client_on(runtime, node.address(), 60s, true);
  auto goes_on = client_on(runtime, node.address(), 10s, true);
  ASSERT_TRUE(goes_on->add(as_bytes("n"), 1));
  ASSERT_TRUE(waits->add(as_bytes("n"), 1));
  ASSERT_EQ(testing::value_of(registry, "tailrace_rpc_connections"), 1);
  std::promise<Error> ended;
  node.machine.hold(true);
  waits->async_put(as_bytes("k"), as_bytes("v"), [&](const Result<CommandAnswer>& answer) {
    ended.set_value(answer ? Error{} : answer.error());
  });
  while (node.log.count() < 3)
    std::this_thread::yield();
  waits.reset();
  EXPECT_EQ(ended.get_future().get().code, ErrorCode::kUnknownOutcome);
  node.machine.hold(false);
  for (int i = 0; i < 20; ++i)
    ASSERT_TRUE(goes_on->add(as_bytes("n"), 1));
  EXPECT_EQ(goes_on->get(as_bytes("n"), {})->value, "22");
  EXPECT_EQ(testing::value_of(registry, "tailrace_rpc_connections"), 1);
  goes_on.reset();
  EXPECT_TRUE(
      testing::soon([&] { return testing::value_of(registry, "tailrace_rpc_connections") == 0; }));
}

// When a shared connection breaks, each client's commands are sent again and applied once.
// Promise: who shares a connection with one that always has more to send has its turn soon.
TEST(Runtime, ABacklogOfOneClientHoldsUpNoOtherOfItsConnection) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr auto kSoon = 60s;
#else
  constexpr auto kSoon = 5s;  // a tenth of a second is usual
#endif
  constexpr int kInFlight = 64;
  const std::string value(512u << 10, 'v');
  FakeNode node;
  const auto runtime = one_thread();
  const auto busy = client_on(runtime, node.address(), 60s, true);
  const auto other = client_on(runtime, node.address(), kSoon, true);
  ASSERT_TRUE(busy->put(as_bytes("b"), as_bytes("v")));
  ASSERT_TRUE(other->put(as_bytes("o"), as_bytes("v")));
  std::atomic<bool> goes_on{true};
  std::atomic<int> ended{0};
  std::function<void()> put_again = [&] {
    busy->async_put(as_bytes("b"), as_bytes(value), [&](const Result<CommandAnswer>& answer) {
      if (answer && goes_on)
        put_again();
      else
        ++ended;
    });
  };
  for (int i = 0; i < kInFlight; ++i)
    put_again();
  EXPECT_TRUE(other->put(as_bytes("o"), as_bytes("w")));
  goes_on = false;
  EXPECT_TRUE(testing::soon([&] { return ended == kInFlight; }));
}

TEST(Runtime, CommandsOfASharedConnectionAreAppliedOnceAcrossAReconnect) {
  FakeNode node;
  Relay relay(node.port);
  std::vector<Outcome> outcomes(24);
  const auto runtime = one_thread();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(client_on(runtime, "127.0.0.1:" + std::to_string(relay.port()), 10s, true));
    ASSERT_TRUE(clients.back()->add(as_bytes("n"), 1));
  }
  node.machine.hold(true);
  for (size_t i = 0; i < outcomes.size(); ++i)
    clients[i % clients.size()]->async_write(add_one("n"), outcomes[i].callback());
  while (node.log.count() < clients.size() + outcomes.size())
    std::this_thread::yield();
  relay.cut();
  std::this_thread::sleep_for(50ms);
  relay.mend();
  node.machine.hold(false);
  for (Outcome& outcome : outcomes) {
    const auto answer = outcome.future.get();
    ASSERT_TRUE(answer) << answer.error().message;
  }
  EXPECT_EQ(clients[0]->get(as_bytes("n"), {})->value, "32");
}

// Work is done on the thread that was named, in the order of the calls, and not before its time.
TEST(Runtime, WorkIsDoneOnItsThread) {
  const auto runtime = Runtime::create({.threads = 3}).value();
  EXPECT_EQ(runtime->threads(), 3u);
  EXPECT_FALSE(runtime->own_thread());
  std::promise<std::vector<int>> done;
  std::vector<int> order;
  const SteadyTime later = std::chrono::steady_clock::now() + 20ms;
  runtime->post_at(2, later, [&] {
    EXPECT_GE(std::chrono::steady_clock::now(), later);
    EXPECT_EQ(runtime->own_thread(), 2u);
    order.push_back(3);
    done.set_value(order);
  });
  for (int i : {1, 2})
    runtime->post(2, [&, i] { order.push_back(i); });
  EXPECT_EQ(done.get_future().get(), (std::vector<int>{1, 2, 3}));
}

// What makes no sense is refused, and the message says what does.
// Promise: what parts objects that hold each other is done at the latest when the loop ends; else
// a tail that ends together with its client would leave its connection behind.
TEST(Runtime, WhatHasToBeDoneIsDoneWhenTheLoopEnds) {
  const std::shared_ptr<Loop> loop = Loop::start(nullptr, 0);
  std::promise<void> busy, go_on;
  asio::post(loop->io(), [&] {
    busy.set_value();
    go_on.get_future().wait();
  });
  busy.get_future().wait();
  bool posted = false, done = false;
  asio::post(loop->io(), [&] { posted = true; });
  loop->run_surely([&] { done = loop->on_thread(); });
  std::thread stops([&] { loop->stop(); });
  while (!loop->io().stopped())
    std::this_thread::yield();
  go_on.set_value();
  stops.join();
  EXPECT_FALSE(posted);
  EXPECT_TRUE(done);
}

// Promise: it is done after what was posted before it, and not earlier.
TEST(Runtime, WhatHasToBeDoneIsDoneInItsTurn) {
  const std::shared_ptr<Loop> loop = Loop::start(nullptr, 0);
  std::promise<void> go_on, done;
  std::string order;
  asio::post(loop->io(), [&] { go_on.get_future().wait(); });
  loop->run_surely([&] { order += 'a'; });
  asio::post(loop->io(), [&] { order += 'b'; });
  loop->run_surely([&] { order += 'c'; });
  asio::post(loop->io(), [&] { done.set_value(); });
  go_on.set_value();
  done.get_future().wait();
  loop->stop();
  EXPECT_EQ(order, "abc");
}

TEST(Runtime, RefusesWhatMakesNoSense) {
  EXPECT_EQ(Runtime::create({.threads = 0}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(Runtime::create({.threads = Runtime::kMostThreads + 1}).error().code,
            ErrorCode::kInvalidArgument);
  ClientOptions options;
  options.runtime = one_thread();
  options.runtime_thread = 1;
  const auto refused = Client::create(options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  options.runtime = nullptr;
  EXPECT_EQ(Client::create(options).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace tailrace::rpc
