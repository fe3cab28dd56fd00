// Server and client together, over loopback: what commands do, and which are refused.

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "statemachine/command/command_table.h"
#include "tests/rpc/fake_node.h"
#include "tests/rpc/service/clients.h"

namespace tailrace::rpc {
namespace {

using statemachine::Outcome;
using testing::client_of;
using testing::FakeNode;

TEST(Service, EveryCommandIsAnsweredByItsApplication) {
  FakeNode node;
  auto client = client_of({node.address()});
  const auto put = client->put(as_bytes("k"), as_bytes("v"));
  ASSERT_TRUE(put) << put.error().message;
  EXPECT_EQ(put->answer.outcome, Outcome::kDone);
  EXPECT_EQ(put->epoch, Epoch{1});
  auto got = client->get(as_bytes("k"), {});
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(got->found);
  EXPECT_EQ(got->value, "v");
  EXPECT_GE(got->applied, put->range.end);
  EXPECT_EQ(client->add(as_bytes("n"), 5)->answer.value, "5");
  EXPECT_EQ(client->add(as_bytes("n"), -7)->answer.value, "-2");
  const auto lost = client->cas(as_bytes("k"), as_bytes("x"), as_bytes("y"));
  EXPECT_EQ(lost->answer.outcome, Outcome::kCasMismatch);
  EXPECT_EQ(lost->answer.value, "v");
  EXPECT_EQ(client->cas(as_bytes("k"), as_bytes("v"), as_bytes("w"))->answer.outcome,
            Outcome::kDone);
  EXPECT_EQ(client->erase(as_bytes("k"))->answer.outcome, Outcome::kDone);
  EXPECT_EQ(client->erase(as_bytes("k"))->answer.outcome, Outcome::kAbsent);
  EXPECT_FALSE(client->get(as_bytes("k"), {})->found);
}

TEST(Service, ACasAgainstAbsentCreatesAKeyOnceAndTellsTheLoserThePresentValue) {
  FakeNode node;
  auto client = client_of({node.address()});
  const auto created = client->cas(as_bytes("k"), std::nullopt, as_bytes("mine"));
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(created->answer.outcome, Outcome::kDone);
  const auto lost = client->cas(as_bytes("k"), std::nullopt, as_bytes("yours"));
  ASSERT_TRUE(lost) << lost.error().message;
  EXPECT_EQ(lost->answer.outcome, Outcome::kCasMismatch);
  EXPECT_EQ(lost->answer.value, "mine");
  // To expect the empty value is another thing.
  EXPECT_EQ(client->cas(as_bytes("n"), as_bytes(""), as_bytes("v"))->answer.outcome,
            Outcome::kCasMismatch);
  EXPECT_FALSE(client->get(as_bytes("n"), {})->found);
}

// A member that does not know the command would stop where it meets it.
TEST(Service, ACasAgainstAbsentEntersNoLogBeforeAllMembersKnowIt) {
  FakeNode node;
  replication::NodeStatus status = *node.node.status();
  status.cluster_version = statemachine::info_of(statemachine::Operation::kInsert).since - 1;
  node.node.set(status);
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->put(as_bytes("other"), as_bytes("v")));
  const size_t before = node.log.count();
  const auto refused = client->cas(as_bytes("k"), std::nullopt, as_bytes("v"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition);
  for (const char* part : {"needs cluster version 4", "is of version 3", "been upgraded"})
    EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
  EXPECT_EQ(node.log.count(), before);
  EXPECT_EQ(client->cas(as_bytes("other"), as_bytes("v"), as_bytes("w"))->answer.outcome,
            Outcome::kDone);
  status.cluster_version = statemachine::info_of(statemachine::Operation::kInsert).since;
  node.node.set(status);
  EXPECT_EQ(client->cas(as_bytes("k"), std::nullopt, as_bytes("v"))->answer.outcome,
            Outcome::kDone);
}

statemachine::Command last_command(FakeNode& node) {
  static std::string payload;
  payload = node.log.last_payload();
  const auto command = statemachine::decode(as_bytes(payload));
  EXPECT_TRUE(command) << command.error().message;
  return command.value_or(statemachine::Command{});
}

// So its events are found by their stream, and sent again it is applied once.
TEST(Service, AnAppendIsATransactionOnceTheClusterKnowsThem) {
  FakeNode node;
  {
    auto client = client_of({node.address()});
    ASSERT_TRUE(client->append("s", {as_bytes("a"), as_bytes("b")}));
    EXPECT_EQ(last_command(node).operation, statemachine::Operation::kEvent);
    const auto refused = client->txn({});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition) << refused.error().message;
  }
  replication::NodeStatus status = *node.node.status();
  status.cluster_version = tailrace::since(Feature::kTxn);
  node.node.set(status);
  auto client = client_of({node.address()});
  const uint64_t before_ns = system_clock().unix_time_ns();
  const auto appended = client->append("s", {as_bytes("a"), as_bytes("b")});
  ASSERT_TRUE(appended) << appended.error().message;
  const statemachine::Command command = last_command(node);
  ASSERT_EQ(command.operation, statemachine::Operation::kTxn);
  EXPECT_TRUE(command.session);
  statemachine::Txn txn;
  ASSERT_TRUE(statemachine::decode(command.value, txn));
  EXPECT_GE(txn.time_ns, before_ns);
  ASSERT_EQ(txn.then.size(), 1u);
  EXPECT_EQ(as_text(txn.then[0].name), "s");
  EXPECT_EQ(txn.events.size(), 2u);
  const size_t count = node.log.count();
  const std::vector<ByteSpan> many(statemachine::kMaxTxnItems, as_bytes("e"));
  EXPECT_EQ(client->append("s", many).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(node.log.count(), count);
}

// What only clients of other make could send: nothing of it enters the log.
TEST(Service, ATransactionThatIsNoneIsTheClientsMistake) {
  FakeNode node;
  replication::NodeStatus status = *node.node.status();
  status.cluster_version = tailrace::since(Feature::kTxn);
  node.node.set(status);
  auto client = client_of({node.address()});
  const auto refused = client->write(
      {.operation = statemachine::Operation::kTxn, .value = as_bytes("no transaction")});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().code, ErrorCode::kCorruption);
  const auto keyed = client->mget({as_bytes("a"), as_bytes("")}, {});
  ASSERT_FALSE(keyed);
  EXPECT_EQ(keyed.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(client->mget({}, {}).error().code, ErrorCode::kInvalidArgument);
  const auto many = client->mget(std::vector<ByteSpan>(1025, as_bytes("a")), {});
  ASSERT_FALSE(many);
  EXPECT_EQ(many.error().code, ErrorCode::kInvalidArgument);
  for (const char* part : {"1025 keys", "1 to 1024"})
    EXPECT_NE(many.error().message.find(part), std::string::npos) << many.error().message;
  EXPECT_EQ(client->read_stream("", {}, [](const auto&) { return true; }).error().code,
            ErrorCode::kInvalidArgument);
  std::promise<ErrorCode> told;
  client->async_read_stream(
      "", {}, [](const auto&) { return true; },
      [&](const Result<StreamEnd>& end) {
        told.set_value(end ? ErrorCode::kCancelled : end.error().code);
      });
  EXPECT_EQ(told.get_future().get(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(node.log.count(), 0u);
  ASSERT_TRUE(client->put(as_bytes("a"), as_bytes("1")));
  const auto several = client->mget({as_bytes("a"), as_bytes("b")}, {});
  ASSERT_TRUE(several) << several.error().message;
  EXPECT_EQ(several->values[0].value, "1");
  EXPECT_FALSE(several->values[1].found);
}

// The leader's clock is asked once: the command carries the moment.
TEST(Service, ATimeToLiveBecomesAMomentInTheLog) {
  FakeNode node;
  auto client = client_of({node.address()});
  const uint64_t before_ns = system_clock().unix_time_ns();
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes("v"), std::chrono::seconds(30)));
  const uint64_t after_ns = system_clock().unix_time_ns();
  EXPECT_GE(node.machine.last_expiry_ns, before_ns + 30'000'000'000);
  EXPECT_LE(node.machine.last_expiry_ns, after_ns + 30'000'000'000);
  EXPECT_EQ(client->expire(as_bytes("k"), std::chrono::hours(1))->answer.outcome, Outcome::kDone);
  EXPECT_GE(node.machine.last_expiry_ns, before_ns + 3'600'000'000'000);
  EXPECT_EQ(client->expire(as_bytes("none"), std::chrono::hours(1))->answer.outcome,
            Outcome::kAbsent);
  ASSERT_TRUE(client->cas(as_bytes("lock"), std::nullopt, as_bytes("me"), std::chrono::hours(2)));
  EXPECT_GE(node.machine.last_expiry_ns, before_ns + 7'200'000'000'000);
  EXPECT_EQ(
      client->cas(as_bytes("k"), as_bytes("v"), as_bytes("w"), std::chrono::hours(2)).error().code,
      ErrorCode::kInvalidArgument);
  // Longer than time itself.
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes("v"), std::chrono::milliseconds::max()));
  EXPECT_EQ(node.machine.last_expiry_ns, UINT64_MAX);
}

TEST(Service, ManyRequestsInFlightAreAllAnsweredOnce) {
  FakeNode node;
  auto client = client_of({node.address()});
  node.log.block_next(3);  // a full buffer holds the connection for a while, and loses nothing
  constexpr int kRequests = 20000;
  std::atomic<int> done{0}, failed{0};
  std::promise<void> all;
  for (int i = 0; i < kRequests; ++i) {
    client->async_put(as_bytes("k"), as_bytes(std::to_string(i)),
                      [&](Result<CommandAnswer> answer) {
                        if (!answer) ++failed;
                        if (++done == kRequests) all.set_value();
                      });
  }
  all.get_future().wait();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(node.log.count(), static_cast<size_t>(kRequests));
  EXPECT_EQ(client->get(as_bytes("k"), {})->value, std::to_string(kRequests - 1));
}

// A large value is sent from where it is, in whole words: whatever its length, beside others in one
// write, and with an expected value behind it, what arrives is the value and nothing more.
TEST(Service, ValuesOfAnyLengthArriveAsTheyAre) {
  FakeNode node;
  auto client = client_of({node.address()});
  std::vector<std::string> values;
  for (const size_t bytes : {16'383u, 16'384u, 16'385u, 16'391u, 100'001u, 65'536u, 1u << 20}) {
    values.emplace_back(bytes, static_cast<char>('a' + values.size()));
    values.emplace_back(3, static_cast<char>('A' + values.size()));
  }
  std::atomic<int> failed{0}, done{0};
  std::promise<void> all;
  for (size_t i = 0; i < values.size(); ++i)
    client->async_put(as_bytes(std::to_string(i)), as_bytes(values[i]), [&](const auto& answer) {
      if (!answer) ++failed;
      if (++done == static_cast<int>(values.size())) all.set_value();
    });
  all.get_future().wait();
  EXPECT_EQ(failed, 0);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto got = client->get(as_bytes(std::to_string(i)), {});
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_TRUE(got->value == values[i])
        << values[i].size() << " bytes came as " << got->value.size();
    const std::string next = values[i] + "n";
    const auto swapped = client->cas(as_bytes(std::to_string(i)), as_bytes(values[i]),
                                     as_bytes(std::string_view(next).substr(0, 1u << 20)));
    ASSERT_TRUE(swapped) << swapped.error().message;
    EXPECT_EQ(swapped->answer.outcome, Outcome::kDone) << values[i].size();
  }
}

TEST(Service, AnOversizedValueIsRefusedAndTheSessionGoesOn) {
  FakeNode node;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes("v")));
  const std::string huge((1u << 20) + 1, 'x');
  const auto refused = client->put(as_bytes("k"), as_bytes(huge));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  const auto after = client->put(as_bytes("k"), as_bytes("w"));
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(after->answer.outcome, Outcome::kDone);
  EXPECT_EQ(client->get(as_bytes("k"), {})->value, "w");
}

// Sent, it would close the connection, and be sent again until its time is up.
TEST(Service, ARequestThatFitsInNoFrameIsRefusedAtOnce) {
  FakeNode node;
  auto client = client_of({node.address()});
  const std::string huge(size_t{20} << 20, 'x');
  const auto put = client->put(as_bytes("k"), as_bytes(huge));
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, ErrorCode::kInvalidArgument) << put.error().message;
  const auto append = client->append("s", {as_bytes(huge)});
  ASSERT_FALSE(append);
  EXPECT_EQ(append.error().code, ErrorCode::kInvalidArgument) << append.error().message;
  EXPECT_TRUE(client->put(as_bytes("k"), as_bytes("v")));
}

// The refused one leaves a gap in the session; those sent behind it are not lost by that.
TEST(Service, ARefusalInThePipelineDoesNotTakeItsNeighboursAlong) {
  FakeNode node;
  auto client = client_of({node.address()});
  const std::string huge((1u << 20) + 1, 'x');
  std::atomic<int> good{0}, bad{0}, done{0};
  std::promise<void> all;
  for (int i = 0; i < 100; ++i) {
    client->async_put(as_bytes("k"), as_bytes(i == 50 ? huge : std::to_string(i)),
                      [&](Result<CommandAnswer> answer) {
                        const bool ok = answer && answer->answer.outcome == Outcome::kDone;
                        ++(ok ? good : bad);
                        if (++done == 100) all.set_value();
                      });
  }
  all.get_future().wait();
  EXPECT_EQ(good, 99);
  EXPECT_EQ(bad, 1);
  EXPECT_EQ(client->get(as_bytes("k"), {})->value, "99");
}

}  // namespace
}  // namespace tailrace::rpc
