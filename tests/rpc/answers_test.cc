// Whose record stands at an address: nothing but a record of a command's own epoch answers it.
#include <future>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "fake_node.h"
#include "rpc/client/client.h"
#include "rpc/server/answer_desk.h"
#include "rpc/server/digest_table.h"
#include "rpc/server/scan_table.h"

namespace tailrace::rpc {
namespace {

using statemachine::Answer;
using statemachine::AppliedBatch;
using statemachine::LogPoint;
using statemachine::Outcome;
using testing::FakeNode;

constexpr AddressRange range(uint64_t first, uint64_t end) {
  return {Address{first}, Address{end}};
}

/// Reads that wait, by name.
class Waiters : public ::testing::Test {
 protected:
  using Told = std::vector<std::string>;
  void add(const std::string& name, uint64_t address, uint64_t epoch, int deadline_s) {
    waiters_.add(Address{address}, Epoch{epoch}, SteadyTime(std::chrono::seconds(deadline_s)),
                 [this, name](const Result<>& arrived) {
                   told_.push_back(name + (arrived ? "" : " too late"));
                 });
  }
  Told ready(uint64_t applied, uint64_t epoch) {
    waiters_.run_ready(Address{applied}, Epoch{epoch});
    return std::exchange(told_, {});
  }
  Told expired(int now_s) {
    waiters_.run_expired(SteadyTime(std::chrono::seconds(now_s)), Address{70});
    return std::exchange(told_, {});
  }
  AppliedWaiters waiters_;
  Told told_;
};

TEST_F(Waiters, EachWaitsForItsEpochAndItsAddressOrItsDeadline) {
  add("address", 100, 1, 10);
  add("epoch", 50, 3, 10);
  add("both", 200, 3, 5);
  add("neither", 10, 0, 20);
  EXPECT_EQ(ready(99, 2), Told{"neither"});
  EXPECT_EQ(ready(150, 2), Told{"address"});
  EXPECT_EQ(expired(4), Told{});
  EXPECT_EQ(ready(150, 3), Told{"epoch"});
  EXPECT_EQ(expired(5), Told{"both too late"});
  EXPECT_TRUE(waiters_.empty());
  EXPECT_EQ(ready(1000, 9), Told{});
}

TEST_F(Waiters, ACallbackMayWaitAgain) {
  waiters_.add(Address{10}, Epoch{}, SteadyTime::max(),
               [this](const Result<>&) { add("again", 20, 0, 10); });
  EXPECT_EQ(ready(15, 1), Told{});
  EXPECT_EQ(ready(20, 1), Told{"again"});
}

/// Questions to a table about digests; the state and the log say when theirs are there.
class Digests : public ::testing::Test {
 protected:
  using Told = std::shared_ptr<std::promise<Result<DigestTable::Answer>>>;
  Told ask(uint64_t address, std::shared_ptr<int> asker, int patience_s = 60) {
    auto told = std::make_shared<std::promise<Result<DigestTable::Answer>>>();
    table_.ask({Address{address}, Address{64}},
               {asker, std::chrono::steady_clock::now() + std::chrono::seconds(patience_s),
                [told](const Result<DigestTable::Answer>& answer) { told->set_value(answer); }});
    return told;
  }
  static bool wait(const std::function<bool()>& holds) {
    for (int i = 0; i < 10'000 && !holds(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return holds();
  }
  FakeNode node_;
  testing::FakeStateMachine& machine_ = node_.machine;
  DigestTable table_{node_.log, machine_};
  const std::shared_ptr<int> someone_ = std::make_shared<int>();
};

TEST_F(Digests, WhoAsksTheSameSharesOneReadingOfTheLog) {
  machine_.log_digests_wait = true;
  std::vector<Told> all;
  for (int i = 0; i < 100; ++i)
    all.push_back(ask(128, someone_));
  ASSERT_TRUE(wait([&] { return machine_.log_digests == 1; }));
  machine_.log_digests_wait = false;
  for (const Told& told : all)
    EXPECT_EQ(told->get_future().get()->log, std::pair(uint64_t{64}, uint64_t{128}));
  EXPECT_TRUE(ask(128, someone_)->get_future().get());
  EXPECT_EQ(machine_.log_digests, 1) << "the last answers are kept";
}

TEST_F(Digests, TheLogIsNotReadBeforeTheStateIsThereAndALateOneIsSaidToBeComputed) {
  machine_.digests_wait = true;
  auto late = ask(128, someone_, 0);
  EXPECT_EQ(late->get_future().get().error().code, ErrorCode::kWouldBlock);
  auto patient = ask(256, someone_);
  EXPECT_EQ(machine_.log_digests, 0);
  machine_.digests_wait = false;
  EXPECT_TRUE(patient->get_future().get());
}

TEST_F(Digests, WhoHasGoneIsWorkedForNoMore) {
  machine_.log_digests_wait = true;
  auto gone = std::make_shared<int>();
  (void)ask(128, gone);
  ASSERT_TRUE(wait([&] { return machine_.log_digests == 1; }));
  gone.reset();
  ASSERT_TRUE(wait([&] { return machine_.log_digests_given_up == 1; }));
  (void)ask(256, someone_);
  ASSERT_TRUE(wait([&] { return machine_.log_digests == 2; }));
  table_.stop();
  EXPECT_EQ(machine_.log_digests_given_up, 2) << "the end of the server waits for none";
}

TEST_F(Digests, NoMoreWaitThanThereIsRoomForAndWhoHasGoneTakesNone) {
  machine_.digests_wait = true;
  auto gone = std::make_shared<int>();
  for (size_t i = 0; i < DigestTable::kMostAskers; ++i)
    (void)ask(128 + 8 * i, gone);
  EXPECT_EQ(ask(64, someone_)->get_future().get().error().code, ErrorCode::kResourceExhausted);
  gone.reset();
  auto after = ask(64, someone_);
  machine_.digests_wait = false;
  EXPECT_TRUE(after->get_future().get());
}

/// What was told to whom, as text.
class Desk : public ::testing::Test {
 protected:
  void owe(uint64_t epoch, AddressRange where, std::string who) {
    desk_.expect();
    desk_.owe({Epoch{epoch}, where, where.first, std::move(who)});
  }
  bool applied(uint64_t epoch, AddressRange where,
               std::vector<std::pair<Address, Answer>> answers = {}) {
    return desk_.applied(std::make_shared<const AppliedBatch>(
        AppliedBatch{Epoch{epoch}, where, std::move(answers)}));
  }
  std::vector<std::string> take() {
    std::vector<std::string> told;
    desk_.take_applied(
        [&](const auto& owed, const Answer* answer) {
          told.push_back(owed.asker + " done" + (answer != nullptr ? " " + answer->value : ""));
        },
        [&](const auto& owed) { told.push_back(owed.asker + " unknown"); });
    return told;
  }
  std::vector<std::string> role(std::optional<Epoch> epoch, LogPoint point) {
    std::vector<std::string> told;
    desk_.role_changed(epoch, point,
                       [&](const auto& owed) { told.push_back(owed.asker + " unknown"); });
    return told;
  }
  using Told = std::vector<std::string>;

  AnswerDesk<std::string> desk_;
};

TEST_F(Desk, AnAppliedStretchAnswersTheCommandsOfItsEpoch) {
  owe(2, range(100, 150), "a");
  owe(2, range(150, 200), "b");
  owe(2, range(250, 300), "c");
  EXPECT_TRUE(applied(2, range(64, 200), {{Address{150}, {Outcome::kDone, true, "7"}}}));
  EXPECT_FALSE(applied(2, range(200, 220))) << "one call takes all";
  EXPECT_EQ(take(), (Told{"a done", "b done 7"}));
  EXPECT_TRUE(applied(2, range(220, 300)));
  EXPECT_EQ(take(), Told{"c done"});
  EXPECT_FALSE(desk_.owes());
}

// The role's end is told late: the other leader's records come first.
TEST_F(Desk, ARecordOfAnotherEpochAtTheSameAddressAnswersNothing) {
  owe(1, range(100, 150), "cut");
  applied(1, range(64, 100));
  applied(2, range(100, 400), {{Address{100}, {Outcome::kDone, true, "another's"}}});
  EXPECT_EQ(take(), Told{"cut unknown"});
  EXPECT_EQ(role(std::nullopt, {Epoch{2}, Address{400}}), Told{});
}

// And told before them: it is the same.
TEST_F(Desk, ALostLeadMakesUnknownOnlyWhatWasNotApplied) {
  owe(1, range(100, 150), "applied");
  owe(1, range(150, 200), "not");
  applied(1, range(64, 150));
  EXPECT_EQ(role(std::nullopt, {Epoch{1}, Address{150}}), Told{"not unknown"});
  applied(2, range(150, 400));
  EXPECT_EQ(take(), Told{"applied done"});
}

TEST_F(Desk, AnEpochThatEndedLongAgoIsAnsweredBeforeALaterOnesStretch) {
  owe(1, range(100, 150), "applied");
  owe(1, range(150, 200), "cut");
  applied(1, range(64, 150));
  applied(3, range(150, 400));
  EXPECT_EQ(role(Epoch{4}, {Epoch{3}, Address{400}}), Told{}) << "the stretches say it";
  EXPECT_EQ(take(), (Told{"applied done", "cut unknown"}));
}

// The lead was lost and won again while one thread took its frames: it enqueues below what it had.
TEST_F(Desk, ALeadThatIsLostAndWonAgainStandsBeforeTheOldOne) {
  owe(1, range(500, 550), "old");
  owe(3, range(200, 250), "new");
  applied(2, range(64, 180));
  EXPECT_EQ(take(), Told{"old unknown"});
  applied(3, range(180, 250), {{Address{200}, {Outcome::kDone, true, "5"}}});
  EXPECT_EQ(take(), Told{"new done 5"});
}

TEST_F(Desk, APresentLeadsCommandsAreNotTouchedByTheOneBefore) {
  owe(1, range(500, 550), "old");
  owe(3, range(200, 250), "new");
  EXPECT_EQ(role(Epoch{3}, {Epoch{2}, Address{180}}), Told{"old unknown"});
  applied(2, range(180, 300));  // cannot be, and yet answers nothing
  EXPECT_EQ(take(), Told{});
  EXPECT_TRUE(desk_.owes());
}

TEST_F(Desk, NothingIsKeptForWhoWaitsForNothing) {
  EXPECT_FALSE(applied(1, range(64, 100)));
  desk_.expect();
  EXPECT_TRUE(applied(1, range(100, 150)));
  desk_.rest();
  EXPECT_FALSE(applied(1, range(150, 200)));
  owe(1, range(200, 250), "a");
  desk_.rest();
  EXPECT_FALSE(applied(1, range(200, 250))) << "told already, and not taken";
  EXPECT_EQ(take(), Told{"a done"});
}

using DeskDeathTest = Desk;
TEST_F(DeskDeathTest, AnOrderThatNoLogGivesStopsTheProcess) {
  owe(3, range(100, 150), "a");
  EXPECT_DEATH(owe(3, range(140, 150), "b"), "must ascend");
  EXPECT_DEATH(owe(2, range(200, 250), "b"), "must ascend");
}

// ---- The whole server. -------------------------------------------------------------------------

std::unique_ptr<Client> client_of(const FakeNode& node) {
  ClientOptions options;
  options.servers = {node.address()};
  options.exactly_once = false;
  return Client::create(options).value();
}

/// A put that is in the log and not applied.
std::future<Result<CommandAnswer>> held_put(FakeNode& node, Client& client) {
  node.machine.hold(true);
  const size_t before = node.log.count();
  auto told = std::make_shared<std::promise<Result<CommandAnswer>>>();
  client.async_put(as_bytes("x"), as_bytes("v"),
                   [told](Result<CommandAnswer> answer) { told->set_value(std::move(answer)); });
  while (node.log.count() == before)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return told->get_future();
}

Address append_another(FakeNode& node, Epoch epoch) {
  statemachine::Command command;
  command.operation = statemachine::Operation::kPut;
  command.key = as_bytes("y");
  command.value = as_bytes("w");
  std::vector<std::byte> payload;
  statemachine::encode(command, payload);
  const fasterlog::RecordView record{statemachine::kCommandRecord, ByteSpan(payload)};
  return node.log.try_enqueue_in(epoch, {&record, 1})->end;
}

// The io thread has not heard yet that the lead is lost when another leader's records are applied.
TEST(AnswersOfEpochs, APutThatWasCutOffIsNotAnsweredDone) {
  FakeNode node;
  auto client = client_of(node);
  auto told = held_put(node, *client);
  node.log.cut(fasterlog::kFirstAddress);
  ASSERT_TRUE(node.log.become_writer(Epoch{2}));
  append_another(node, Epoch{2});
  node.machine.hold(false);
  const Result<CommandAnswer> answer = told.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kUnknownOutcome) << answer.error().message;
}

// Its client goes on from a node that had more committed. What stood here instead is cut off.
TEST(AnswersOfEpochs, ATailThatIsAheadOfItsNodeOutlivesACut) {
  FakeNode node;
  auto client = client_of(node);
  const Address first = client->put(as_bytes("x"), as_bytes("v"))->range.end;
  auto told = held_put(node, *client);
  const Address ahead = node.log.tail();
  std::promise<TailRecord> shown;
  std::thread tailing([&] {
    Client::TailOptions options;
    options.from = ahead;
    options.follow = true;
    const auto end = client->tail(options, [&](const TailRecord& record) {
      shown.set_value(record);
      return false;
    });
    EXPECT_TRUE(end) << end.error().message;
    if (!end) shown.set_value({});
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // later it would meet no cut
  node.log.cut(first);
  ASSERT_TRUE(node.log.become_writer(Epoch{2}));
  ASSERT_EQ(append_another(node, Epoch{2}), ahead);
  const Address end = append_another(node, Epoch{2});
  node.machine.hold(false);
  const TailRecord record = shown.get_future().get();
  tailing.join();
  EXPECT_EQ(record.address, ahead);
  EXPECT_EQ(record.end, end);
  EXPECT_EQ(record.epoch, Epoch{2});
  EXPECT_EQ(told.get().error().code, ErrorCode::kUnknownOutcome);
}

// What another leader wrote at the address is not what the client has heard of.
TEST(AnswersOfEpochs, AReadThatNamesARecordWhichIsGoneIsRefused) {
  FakeNode node;
  auto client = client_of(node);
  const Address first = client->put(as_bytes("x"), as_bytes("v"))->range.end;
  ASSERT_TRUE(node.log.become_writer(Epoch{3}));
  const Address second = append_another(node, Epoch{3});
  auto status = *node.node.status();
  status.epoch = Epoch{3};
  node.node.set(status);
  const auto read = [&](uint64_t epoch, Address address) {
    ReadOptions options;
    options.level = ReadOptions::Level::kAtLeast;
    options.epoch = Epoch{epoch};
    options.address = address;
    return client->get(as_bytes("y"), options);
  };
  const auto newest = read(3, second);
  ASSERT_TRUE(newest) << newest.error().message;
  EXPECT_EQ(newest->epoch, Epoch{3});
  EXPECT_EQ(newest->applied, second);
  EXPECT_TRUE(read(1, first)) << "it is below, and stands there";
  EXPECT_TRUE(read(0, second)) << "no epoch was named";
  for (const uint64_t gone : {1, 2}) {
    const auto refused = read(gone, second);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition) << refused.error().message;
  }
}

// A read names the epoch of the record that it ends with, not the node's: those who name it later
// are to find it.
TEST(AnswersOfEpochs, AReadNamesTheEpochOfTheRecordAtItsAddress) {
  FakeNode node;
  auto client = client_of(node);
  const Address end = client->put(as_bytes("x"), as_bytes("v"))->range.end;
  auto status = *node.node.status();
  status.epoch = Epoch{7};  // it has adopted an epoch of which it has nothing yet
  node.node.set(status);
  for (const bool cold : {false, true}) {
    node.machine.cold = cold;
    ReadOptions options;
    options.level = ReadOptions::Level::kAny;
    const auto answer = client->get(as_bytes("x"), options);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->epoch, Epoch{1});
    EXPECT_EQ(answer->applied, end);
  }
}

// A node that has just started has not applied yet what was acknowledged before.
TEST(AnswersOfEpochs, AnOnlyVoterCallsItsStateFreshOnceAllOfEarlierLeadsIsApplied) {
  FakeNode node;
  auto client = client_of(node);
  const Address end = client->put(as_bytes("x"), as_bytes("v"))->range.end;
  auto status = *node.node.status();
  ASSERT_TRUE(status.alone);
  ReadOptions options;
  options.level = ReadOptions::Level::kBounded;
  options.staleness_ms = 1000;
  for (const bool applied : {false, true}) {
    status.lead_begins = applied ? end : end + 8;
    node.node.set(status);
    const auto answer = client->get(as_bytes("x"), options);
    ASSERT_EQ(answer.has_value(), applied);
    if (applied) {
      EXPECT_EQ(answer->staleness_bound_ms, 0u);
    } else {
      EXPECT_EQ(answer.error().code, ErrorCode::kUnavailable);
    }
  }
}

// The disk is slow: what the node learns meanwhile is not in the value that was read before.
TEST(AnswersOfEpochs, AColdReadIsAsOldAsWhenItWasRead) {
  FakeNode node;
  auto client = client_of(node);
  ASSERT_TRUE(client->put(as_bytes("x"), as_bytes("v")));
  const auto fresh_as_of = [&](Nanoseconds moment) {
    auto status = *node.node.status();
    status.alone = false;
    status.fresh_at = moment;
    node.node.set(status);
  };
  fresh_as_of(system_clock().elapsed() - std::chrono::milliseconds(40));
  node.machine.cold = true;
  node.machine.after_cold_read = [&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    fresh_as_of(system_clock().elapsed());
  };
  ReadOptions options;
  options.level = ReadOptions::Level::kAny;
  const auto answer = client->get(as_bytes("x"), options);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_GE(answer->staleness_bound_ms, 60u);
}

// Every slice shows the state of the first, however long ago that was.
TEST(AnswersOfEpochs, AScanStaysAsOldAsWhenItWasOpened) {
  FakeNode node;
  auto client = client_of(node);
  for (int i = 0; i < 4; ++i)
    ASSERT_TRUE(client->put(as_bytes("k" + std::to_string(i)), as_bytes("v")));
  const Address opened_at = node.marks.applied();
  ScanTable table(node.machine, 1u << 20, std::chrono::seconds(10), std::chrono::hours(1));
  const SteadyTime asked = std::chrono::steady_clock::now();
  const auto slice_of = [](auto start) {
    std::promise<Result<ScanTable::Slice>> done;
    start([&](Result<ScanTable::Slice> slice) { done.set_value(std::move(slice)); });
    return done.get_future().get().value();
  };
  const auto expect_shown = [&](const ShownState& shown) {
    EXPECT_EQ(shown.point, (LogPoint{Epoch{1}, opened_at}));
    EXPECT_EQ(shown.bound_ms, 5u);
    EXPECT_EQ(shown.at, asked);
  };
  const auto first = slice_of([&](auto done) { table.open(&node, "k", 3, {{}, 5, asked}, done); });
  expect_shown(first.shown);
  ASSERT_TRUE(client->put(as_bytes("k9"), as_bytes("v")));
  expect_shown(slice_of([&](auto done) { table.next(first.scan, 1, 3, done); }).shown);
}

}  // namespace
}  // namespace tailrace::rpc
