// What one read of a stream may cost, and in whose turn it is done.

#include "rpc/server/streams/stream_reads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "rpc/server/streams/turns.h"
#include "statemachine/txn/txn.h"
#include "tests/rpc/bare_client.h"
#include "tests/rpc/fake_node.h"

namespace tailrace::rpc {
namespace {

using statemachine::Direction;
using testing::BareClient;
using testing::FakeNode;

constexpr uint64_t kEvents = 40;
constexpr uint64_t kApart = 64u << 20;  // so far are the records from each other

/// A command of a transaction with one event.
std::string record_with_an_event() {
  statemachine::Txn txn;
  statemachine::TxnEffect append{.kind = statemachine::TxnEffectKind::kAppend,
                                 .name = as_bytes("s")};
  statemachine::TxnEvent event;
  event.data = as_bytes("e");
  txn.add_event(append, event, {});
  txn.then.push_back(append);
  std::string body(statemachine::encoded_bytes(txn), '\0');
  statemachine::encode_at(txn, reinterpret_cast<std::byte*>(body.data()));
  statemachine::Command command;
  command.operation = statemachine::Operation::kTxn;
  command.value = as_bytes(body);
  std::vector<std::byte> bytes;
  statemachine::encode(command, bytes);
  return to_string(bytes);
}

/// Each event of its stream is in a record of that length, most of which nobody looks at.
class LongRecords : public testing::FakeLog {
 public:
  explicit LongRecords(uint64_t bytes) : bytes_(bytes) {}
  Result<> read_batch(std::span<const Address> addresses,
                      const std::function<bool(const Record&)>& visit) override {
    for (const Address address : addresses) {
      ++read;
      Record record{address, address + bytes_, Epoch{1}, fasterlog::RecordKind::kData,
                    as_bytes(payload_)};
      if (!visit(record)) return {};
    }
    return {};
  }
  size_t read = 0;

 private:
  const uint64_t bytes_;
  const std::string payload_ = record_with_an_event();
};

class OneStream : public testing::FakeStateMachine {
 public:
  using FakeStateMachine::FakeStateMachine;
  Result<statemachine::StreamEntries> stream_entries(std::string_view, uint64_t from, size_t most,
                                                     Direction direction) const override {
    statemachine::StreamEntries found;
    found.head.emplace();
    found.head->next = kEvents;
    const bool forwards = direction == Direction::kForwards;
    uint64_t version = forwards ? from : std::min(from, kEvents - 1);
    for (; found.entries.size() < most && version < kEvents; version += forwards ? 1 : -1)
      found.entries.push_back({version, {(version + 1) * kApart, 0}});
    return found;
  }
};

class StreamReads : public ::testing::TestWithParam<bool> {
 protected:
  /// All events, page by page; how many there were on each.
  std::vector<size_t> read_all(LongRecords& log) {
    statemachine::Watermarks marks(log);
    const OneStream machine(log, marks);
    std::vector<size_t> pages;
    StreamQuery query;
    query.stream = "s";
    query.backwards = GetParam();
    uint64_t expected = query.backwards ? kEvents - 1 : 0;
    do {
      const auto page = read_stream(machine, {log}, query, [] { return true; });
      EXPECT_TRUE(page) << page.error().message;
      if (!page || page->events.empty()) return pages;
      for (const auto& event : page->events)
        EXPECT_EQ(event.version, query.backwards ? expected-- : expected++);
      pages.push_back(page->events.size());
      query.from = page->next;
    } while (query.from);
    return pages;
  }
};
INSTANTIATE_TEST_SUITE_P(Directions, StreamReads, ::testing::Bool());

// Short events in long records: the answer would have room for all of them.
TEST_P(StreamReads, APageReadsSoMuchOfTheLogAndSaysWhereToGoOn) {
  LongRecords log(3u << 20);
  const std::vector<size_t> pages = read_all(log);
  ASSERT_EQ(pages.size(), 7u);
  for (const size_t events : pages)
    EXPECT_LE(events, 6u) << "of 3 MiB each";
  EXPECT_EQ(log.read, kEvents) << "nothing was read for nothing";
}

TEST_P(StreamReads, APageHasAnEventHoweverLongItsRecordIs) {
  LongRecords log(kReadBytes + 1);
  EXPECT_EQ(read_all(log), std::vector<size_t>(kEvents, 1));
}

TEST_P(StreamReads, WhatIsReadBesideDistantRecordsIsLittle) {
  LongRecords log(100);
  EXPECT_EQ(read_all(log), std::vector<size_t>{kEvents});
}

TEST(StreamReadsGivenUp, EndsWithTheRecordAfterWhichNobodyWaits) {
  LongRecords log(100);
  statemachine::Watermarks marks(log);
  const OneStream machine(log, marks);
  StreamQuery query;
  query.stream = "s";
  const auto page = read_stream(machine, {log}, query, [&] { return log.read < 3; });
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(log.read, 3u);
}

template <typename Condition>
bool comes_true(Condition condition) {
  for (int i = 0; i < 1000 && !condition(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return condition();
}

void ask_mget(BareClient& client, uint64_t id, uint32_t timeout_ms) {
  client.ask(id, [&](wire::Request::Builder request) {
    auto mget = request.initMget();
    mget.setLevel(wire::ReadLevel::ANY);
    mget.setTimeoutMs(timeout_ms);
    mget.initKeys(1).set(0, to_data(std::string_view("k")));
  });
}

// Reads of other threads are of one connection one at a time, and go with it.
TEST(StreamReadsOfServer, ThoseOfAConnectionWaitForEachOtherAndEndWithIt) {
  FakeNode node;
  node.machine.together_waits = true;
  auto greedy = std::make_unique<BareClient>(node.port);
  for (uint64_t id = 1; id <= 4; ++id)
    ask_mget(*greedy, id, 20'000);
  ASSERT_TRUE(comes_true([&] { return node.machine.together_begun == 1; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(node.machine.together_begun, 1) << "it has more than one of the threads";
  greedy.reset();
  EXPECT_TRUE(comes_true([&] { return node.machine.together_given_up == 1; }));
  node.machine.together_waits = false;
  BareClient other(node.port);
  ask_mget(other, 1, 20'000);
  EXPECT_TRUE(other.read_until([](wire::Response::Reader response) { return response.isMget(); }));
  EXPECT_EQ(node.machine.together_begun, 2) << "what waited was read for nobody";
}

TEST(StreamReadsOfServer, OneWhoseTimeIsOverIsGivenUp) {
  FakeNode node;
  node.machine.together_waits = true;
  BareClient client(node.port);
  ask_mget(client, 1, 400);
  ask_mget(client, 2, 10);  // over while the first one waits, also on a slow machine
  int answers = 0;
  EXPECT_TRUE(client.read_until([&](wire::Response::Reader response) {
    if (response.isError()) ++answers;
    return answers == 2;
  }));
  EXPECT_EQ(node.machine.together_given_up, node.machine.together_begun);
  EXPECT_EQ(node.machine.together_begun, 1) << "the second one's time was over before its turn";
}

// Who has asked for much waits for itself, and nobody for it but for one piece.
TEST(Turns, AskersTakeTurnsAndDroppedWorkIsNotDone) {
  std::promise<void> begun, gate;
  std::string order;
  std::promise<void> over;
  Turns turns(1, "test turns");
  turns.add(1, [&] {
    begun.set_value();
    gate.get_future().wait();
  });
  begun.get_future().wait();
  for (int i = 0; i < 3; ++i)
    turns.add(1, [&] { order += 'a'; });
  for (int i = 0; i < 2; ++i)
    turns.add(2, [&] { order += 'b'; });
  const auto held = std::make_shared<int>(0);
  for (int i = 0; i < 2; ++i)
    turns.add(3, [&, held] { order += 'c'; });
  turns.add(4, [&] { order += 'd'; });
  turns.drop(3);
  EXPECT_EQ(held.use_count(), 1) << "what it holds goes with it";
  turns.add(1, [&] { over.set_value(); });
  gate.set_value();
  over.get_future().wait();
  EXPECT_EQ(order, "bdabaa");
}

TEST(Turns, OfOneAskerOnePieceRunsAtATime) {
  std::atomic<int> running{0}, most{0}, done{0};
  Turns turns(3, "test turns");
  for (int i = 0; i < 50; ++i)
    turns.add(1, [&] {
      most = std::max(most.load(), ++running);
      std::this_thread::yield();
      --running;
      ++done;
    });
  while (done < 50)
    std::this_thread::yield();
  EXPECT_EQ(most.load(), 1);
}

}  // namespace
}  // namespace tailrace::rpc
