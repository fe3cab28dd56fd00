// The end of a client in a callback, while other threads are in its calls and its callbacks ask for
// more: it comes to an end.
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "rpc/client/client.h"
#include "tests/rpc/fake_node.h"

namespace tailrace::rpc {
namespace {

using namespace std::chrono_literals;
using testing::FakeNode;

// Nobody listens there.
constexpr const char* kNowhere = "127.0.0.1:1";

std::unique_ptr<Client> client_of(const std::shared_ptr<Runtime>& runtime,
                                  const std::string& server,
                                  std::chrono::milliseconds timeout = 10s) {
  ClientOptions options;
  options.servers = {server};
  options.runtime = runtime;
  options.timeout = timeout;
  return Client::create(std::move(options)).value();
}

// A thread that turns to a server while the loop's thread waits in the client's end is refused at
// once: neither waits for the other.
TEST(ClientEnd, DoesNotWaitForACallThatTurnsToAnotherServer) {
  FakeNode node;
  const auto runtime = Runtime::create().value();
  auto client = client_of(runtime, node.address());
  Client* const raw = client.get();
  ASSERT_TRUE(raw->put(as_bytes("k"), as_bytes("v")));
  std::promise<void> scans, ends;
  auto ending = ends.get_future();
  std::vector<Client::ServerStatus> answers;
  std::thread other([&] {
    (void)raw->scan({}, {}, [&](ByteSpan, ByteSpan) {
      scans.set_value();
      ending.wait();  // the client's end has begun, and soon waits for this scan
      std::this_thread::sleep_for(100ms);
      answers = raw->status();
      return false;
    });
  });
  scans.get_future().wait();
  node.machine.hold(true);
  raw->async_put(as_bytes("k"), as_bytes("v"),
                 [&](const Result<CommandAnswer>&) { ends.set_value(); });
  std::promise<void> over;
  runtime->post(0, [&] {
    client.reset();
    over.set_value();
  });
  over.get_future().wait();
  other.join();
  node.machine.hold(false);
  ASSERT_EQ(answers.size(), 1u);
  ASSERT_FALSE(answers.front().second);
  EXPECT_EQ(answers.front().second.error().code, ErrorCode::kClosed);
}

// Calls that end together are told so one after the other. When the first one's callback ends the
// client, another thread's call that is still to be told does not hold up that end.
TEST(ClientEnd, DoesNotWaitForACallThatIsToldLater) {
  const auto runtime = Runtime::create().value();
  auto client = client_of(runtime, kNowhere, 100ms);
  Client* const raw = client.get();
  std::promise<void> opens, over;
  auto gate = opens.get_future();
  runtime->post(0, [&] { gate.wait(); });
  raw->async_put(as_bytes("k"), as_bytes("v"), [&](const Result<CommandAnswer>& answer) {
    EXPECT_FALSE(answer);
    client.reset();
    over.set_value();
  });
  Result<Client::ScanEnd> scanned;
  std::thread other([&] { scanned = raw->scan({}, {}, [](ByteSpan, ByteSpan) { return true; }); });
  std::this_thread::sleep_for(300ms);  // the time of both is over before the loop sees them
  opens.set_value();
  over.get_future().wait();
  other.join();
  EXPECT_FALSE(scanned);
}

// A callback that asks again whatever it is told does not keep its client for ever, with one kind
// of call or with two in turn. What is dropped in the end is let go of.
TEST(ClientEnd, ComesThoughCallbacksAlwaysAskAgain) {
  ReadOptions any;
  any.level = ReadOptions::Level::kAny;
  for (const bool in_turn : {false, true}) {
    auto client = client_of(Runtime::create().value(), kNowhere);
    Client* const raw = client.get();
    const auto kept = std::make_shared<int>();
    int told = 0;
    std::function<void()> get;
    const std::function<void()> put = [&] {
      raw->async_put(as_bytes("k"), as_bytes("v"), [&, kept](const Result<CommandAnswer>& answer) {
        ++told;
        EXPECT_EQ(answer.error().code, ErrorCode::kClosed);
        in_turn ? get() : put();
      });
    };
    get = [&] {
      raw->async_get(as_bytes("k"), any, [&, kept](const Result<ReadAnswer>& answer) {
        ++told;
        EXPECT_EQ(answer.error().code, ErrorCode::kClosed);
        put();
      });
    };
    put();
    client.reset();
    EXPECT_GE(told, 2) << "what the first answer asks for is answered, too";
    EXPECT_LE(told, 4);
    EXPECT_EQ(kept.use_count(), 1);
  }
}

}  // namespace
}  // namespace tailrace::rpc
