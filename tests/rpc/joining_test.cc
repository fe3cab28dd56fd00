// Who joins a connection that others have opened begins with what its server said last.
#include <gtest/gtest.h>

#include "rpc/client/client.h"
#include "tests/rpc/lying_server.h"

namespace tailrace::rpc {
namespace {

using testing::LyingServer;

constexpr uint64_t kLogTime = 1000, kSessionTtl = 500;

/// A hello that nobody asked for, as a server sends it when its log gets rules.
void add_news(uint64_t, std::vector<std::byte>& frames) {
  capnp::MallocMessageBuilder message;
  auto hello = message.initRoot<wire::Response>().initHello();
  hello.setProtocolVersion(kProtocolVersion);
  hello.setLeader(true);
  hello.setLogTimeNs(kLogTime);
  hello.setSessionTtlNs(kSessionTtl);
  append_frame(message, frames);
}

// A client that joins after the server has told the log's time has a bound for its session, though
// the server's first hello on that connection had none: its commands are applied once, too.
TEST(Joining, TheNewestHelloBoundsTheSession) {
  LyingServer server;
  ClientOptions options;
  options.servers = {server.address()};
  options.runtime = Runtime::create().value();
  options.share_connection = true;
  const auto first = Client::create(options).value();
  server.answer_with(false, add_news);
  ASSERT_TRUE(first->put(as_bytes("k"), as_bytes("v")));
  ASSERT_EQ(server.last_bound(), 0u) << "it was sent before the news";
  const auto joins = Client::create(options).value();
  ASSERT_TRUE(joins->put(as_bytes("k"), as_bytes("v")));
  EXPECT_EQ(server.last_bound(), kLogTime + kSessionTtl);
}

}  // namespace
}  // namespace tailrace::rpc
