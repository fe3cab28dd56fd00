// A client whose server answers with what is no answer: every call returns all the same.
#include <atomic>
#include <future>

#include <gtest/gtest.h>

#include "rpc/client/client.h"
#include "tests/rpc/lying_server.h"

namespace tailrace::rpc {
namespace {

using testing::LyingServer;

/// A sound frame whose pointer to the answer leads nowhere.
void append_malformed(capnp::MessageBuilder& message, std::vector<std::byte>& frames) {
  append_frame(message, frames);
  // Behind the segment table and the root's pointer are the numbers, and then the pointers.
  const auto root = load<uint64_t>(frames.data() + 8);
  const size_t numbers = root >> 32 & 0xffff;
  std::byte* pointer = frames.data() + 16 + 8 * numbers;
  pointer[1] ^= std::byte{0xff};
}

void malformed_command(uint64_t id, std::vector<std::byte>& frames) {
  capnp::MallocMessageBuilder message;
  auto response = message.initRoot<wire::Response>();
  response.setId(id);
  response.initCommand().setValue(to_data(as_bytes("value")));
  append_malformed(message, frames);
}

void malformed_records(uint64_t id, std::vector<std::byte>& frames) {
  capnp::MallocMessageBuilder message;
  auto response = message.initRoot<wire::Response>();
  response.setId(id);
  response.initRecords(1)[0].setPayload(to_data(as_bytes("payload")));
  append_malformed(message, frames);
}

std::unique_ptr<Client> client_of(const LyingServer& server) {
  ClientOptions options;
  options.servers = {server.address()};
  return Client::create(options).value();
}

// The answer is taken for lost: a command with a session is sent again, on another connection.
TEST(MalformedAnswer, ToACommandIsALostOne) {
  LyingServer server;
  server.answer_with(false, malformed_command);
  const auto put = client_of(server)->put(as_bytes("k"), as_bytes("v"));
  ASSERT_TRUE(put) << put.error().message;
  EXPECT_EQ(put->range, (AddressRange{Address{64}, Address{128}}));
}

// Events are never sent again: whether they are in the log nobody can say.
TEST(MalformedAnswer, ToAnAppendIsAnUnknownOutcome) {
  LyingServer server;
  server.answer_with(false, malformed_command);
  const auto append = client_of(server)->append("stream", {as_bytes("event")});
  ASSERT_FALSE(append);
  EXPECT_EQ(append.error().code, ErrorCode::kUnknownOutcome);
}

// Also who does not wait is told what became of it.
TEST(MalformedAnswer, IsToldToACallback) {
  LyingServer server;
  server.answer_with(false, malformed_command);
  const auto client = client_of(server);
  std::promise<bool> told;
  client->async_put(as_bytes("k"), as_bytes("v"), [&](const Result<CommandAnswer>& answer) {
    told.set_value(answer.has_value());
  });
  EXPECT_TRUE(told.get_future().get());
}

// A server that never answers soundly is asked again with pauses, until the time is over.
TEST(MalformedAnswer, AlwaysIsNoReasonToHurry) {
  LyingServer server;
  std::atomic<int> lies = 0;
  server.always_answer_with(false, [&](uint64_t id, std::vector<std::byte>& frames) {
    ++lies;
    malformed_command(id, frames);
  });
  ClientOptions options;
  options.servers = {server.address()};
  options.timeout = std::chrono::milliseconds(1000);
  const auto client = Client::create(options).value();
  const auto put = client->put(as_bytes("k"), as_bytes("v"));
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, ErrorCode::kUnknownOutcome) << put.error().message;
  EXPECT_GT(lies, 1);
  EXPECT_LT(lies, 60) << "20 pauses fit into the time, and two attempts between them";
}

// A tail gives up as well, when every server that it comes to ends the connection.
TEST(MalformedAnswer, ToATailIsAnErrorInTime) {
  LyingServer server;
  server.always_answer_with(false, malformed_records);
  ClientOptions options;
  options.servers = {server.address()};
  options.timeout = std::chrono::milliseconds(300);
  const auto client = Client::create(options).value();
  const auto tail = client->tail({}, [](const TailRecord&) { return true; });
  ASSERT_FALSE(tail);
  EXPECT_NE(tail.error().message.find(server.address()), std::string::npos) << tail.error().message;
}

}  // namespace
}  // namespace tailrace::rpc
