// Server and client together, over loopback.
#include <future>
#include <map>

#include <gtest/gtest.h>

#include "core/random.h"
#include "fake_node.h"
#include "rpc/client/client.h"
#include "rpc/server/scan_table.h"
#include "statemachine/command/command_table.h"
#include "tests/rpc/loopback.h"

namespace tailrace::rpc {
namespace {

using statemachine::Outcome;
using testing::connect_to;
using testing::FakeNode;

std::unique_ptr<Client> client_of(std::vector<std::string> servers, bool exactly_once = true,
                                  int timeout_ms = 10000) {
  ClientOptions options;
  options.servers = std::move(servers);
  options.exactly_once = exactly_once;
  options.timeout = std::chrono::milliseconds(timeout_ms);
  return Client::create(options).value();
}

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

// A value that is on disk is brought by another thread, and the answer is the same.
TEST(Service, AColdReadIsAnsweredAsAnyOther) {
  FakeNode node;
  auto client = client_of({node.address()});
  const auto put = client->put(as_bytes("k"), as_bytes("v"));
  ASSERT_TRUE(put) << put.error().message;
  node.machine.cold = true;
  const auto got = client->get(as_bytes("k"), {});
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(got->found);
  EXPECT_EQ(got->value, "v");
  EXPECT_GE(got->applied, put->range.end);
  EXPECT_FALSE(client->get(as_bytes("none"), {})->found);
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

// A scan shows every pair with the prefix once, over as many answers as it takes, of one address.
TEST(Service, AScanShowsEachPairWithThePrefixOnce) {
  FakeNode node;
  auto client = client_of({node.address()});
  std::map<std::string, std::string> expected;
  std::promise<void> all;
  std::atomic<int> left{7000};
  for (int i = 0; i < 7000; ++i) {
    const std::string key = (i % 2 == 0 ? "a" : "b") + std::to_string(i);
    const std::string value(static_cast<size_t>(i % 700), 'v');
    if (i % 2 == 0) expected[key] = value;
    client->async_put(as_bytes(key), as_bytes(value), [&](const Result<CommandAnswer>& answer) {
      EXPECT_TRUE(answer);
      if (--left == 0) all.set_value();
    });
  }
  all.get_future().wait();
  std::map<std::string, std::string> seen;
  const auto end = client->scan(as_bytes("a"), {}, [&](ByteSpan key, ByteSpan value) {
    if (seen.empty()) {
      EXPECT_TRUE(client->erase(as_bytes("a6998"))) << "later than the scan";
    }
    EXPECT_TRUE(seen.emplace(to_string(key), to_string(value)).second) << "twice";
    return true;
  });
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_TRUE(end->complete);
  EXPECT_EQ(end->pairs, 3500u);
  EXPECT_GT(end->address, Address{0});
  EXPECT_EQ(seen, expected);
}

TEST(Service, AScanEndsAtItsLimitAndLetsGo) {
  FakeNode node;
  auto client = client_of({node.address()});
  for (int i = 0; i < 100; ++i)
    ASSERT_TRUE(client->put(as_bytes("k" + std::to_string(i)), as_bytes("v")));
  // More of them than may be open at a time.
  for (size_t i = 0; i < 3 * ScanTable::kMostScans; ++i) {
    uint64_t pairs = 0;
    const auto end = client->scan({}, {{}, 10}, [&](ByteSpan, ByteSpan) { return ++pairs < 11; });
    ASSERT_TRUE(end) << end.error().message;
    EXPECT_EQ(pairs, 10u);
    EXPECT_FALSE(end->complete);
  }
  EXPECT_EQ(client->scan(as_bytes("none"), {}, [](ByteSpan, ByteSpan) { return true; })->pairs, 0u);
}

// Whoever does not come back for the rest finds it gone, and is told so; the place is free again.
TEST(ScanTable, AnIdleScanIsClosed) {
  FakeNode node;
  auto client = client_of({node.address()});
  for (int i = 0; i < 20; ++i)
    ASSERT_TRUE(client->put(as_bytes("k" + std::to_string(i)), as_bytes("v")));
  ScanTable table(node.machine, 1u << 20, std::chrono::milliseconds(20), std::chrono::hours(1));
  const auto wait = [](auto start) {
    std::promise<Result<ScanTable::Slice>> done;
    start([&](Result<ScanTable::Slice> slice) { done.set_value(std::move(slice)); });
    return done.get_future().get();
  };
  std::vector<int> owners(10'000);
  size_t owner = 0;
  const auto open = [&] {
    return wait([&](auto done) { table.open(&owners.at(owner++), "k", 3, {}, done); });
  };
  std::vector<uint64_t> scans;
  for (size_t i = 0; i < ScanTable::kMostScans; ++i) {
    const auto slice = open();
    if (!slice) break;  // slow machine: it does not matter how many
    EXPECT_EQ(slice->pairs.size(), 3u);
    scans.push_back(slice->scan);
  }
  for (;;) {
    const auto slice = wait([&](auto done) { table.next(scans.front(), 9, 3, done); });
    ASSERT_FALSE(slice) << "a slice that is not the next one";
    EXPECT_EQ(slice.error().code, ErrorCode::kNotFound);
    if (open()) break;  // the others are gone as well
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// A scan holds back room of the store: nobody has all of them, none lasts for ever, and writes that
// find no room close the oldest one.
TEST(ScanTable, AScanGivesWayToOthersToTimeAndToWrites) {
  FakeNode node;
  auto client = client_of({node.address()});
  for (int i = 0; i < 20; ++i)
    ASSERT_TRUE(client->put(as_bytes("k" + std::to_string(i)), as_bytes("v")));
  const auto wait = [](auto start) {
    std::promise<Result<ScanTable::Slice>> done;
    start([&](Result<ScanTable::Slice> slice) { done.set_value(std::move(slice)); });
    return done.get_future().get();
  };
  int one = 0, other = 0;
  ScanTable table(node.machine, 1u << 20, std::chrono::hours(1), std::chrono::hours(1));
  const auto open = [&](ScanTable& at, const void* owner) {
    return wait([&](auto done) { at.open(owner, "k", 3, {}, done); });
  };
  std::vector<uint64_t> scans;
  for (size_t i = 0; i < ScanTable::kMostScansOfOne; ++i)
    scans.push_back(open(table, &one).value().scan);
  EXPECT_EQ(open(table, &one).error().code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(open(table, &other));
  table.give_way();
  table.give_way();
  const auto gone = wait([&](auto done) { table.next(scans[0], 1, 3, done); });
  ASSERT_FALSE(gone);
  EXPECT_NE(gone.error().message.find("writes needed"), std::string::npos) << gone.error().message;
  EXPECT_TRUE(wait([&](auto done) { table.next(scans[1], 1, 3, done); })) << "one at a time";
  const auto again = open(table, &other);
  ASSERT_FALSE(again) << "whoever begins again at once holds back the room for ever";
  EXPECT_EQ(again.error().code, ErrorCode::kResourceExhausted);

  ScanTable brief(node.machine, 1u << 20, std::chrono::milliseconds(40),
                  std::chrono::milliseconds(40));
  const uint64_t scan = open(brief, &one).value().scan;
  for (uint64_t slice = 1; wait([&](auto done) { brief.next(scan, slice, 1, done); }); ++slice) {
    ASSERT_LT(slice, 17u) << "it is read all the time, and lasts for ever";
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

TEST(Service, AnAppendIsOneRangeAndIsTailedInOrder) {
  FakeNode node;
  auto client = client_of({node.address()});
  std::vector<std::string> sent;
  for (int batch = 0; batch < 30; ++batch) {
    std::vector<ByteSpan> events;
    const size_t first = sent.size();
    for (int i = 0; i < 100; ++i)
      sent.push_back(std::string(400, 'x') + std::to_string(sent.size()));
    for (size_t i = first; i < sent.size(); ++i)
      events.push_back(as_bytes(sent[i]));
    const auto answer = client->append("s", events);
    ASSERT_TRUE(answer) << answer.error().message;
  }
  std::vector<std::string> seen;
  Client::TailOptions options;
  const auto end = client->tail(options, [&](const TailRecord& record) {
    seen.emplace_back(as_text(statemachine::decode(as_bytes(record.payload))->value));
    return true;
  });
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(seen, sent);
  EXPECT_EQ(*end, node.log.tail());
}

TEST(Service, AFollowingTailSeesWhatIsAppendedLaterAndEndsOnRequest) {
  FakeNode node;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->append("s", {as_bytes("old")}));
  std::promise<void> started;
  std::vector<std::string> seen;
  Client::TailOptions options;
  options.follow = true;
  std::thread writer([&] {
    started.get_future().wait();
    for (int i = 0; i < 10; ++i)
      ASSERT_TRUE(client->append("s", {as_bytes(std::to_string(i))}));
  });
  const auto end = client->tail(options, [&](const TailRecord& record) {
    if (seen.empty()) started.set_value();
    seen.emplace_back(as_text(statemachine::decode(as_bytes(record.payload))->value));
    return seen.size() < 11;
  });
  writer.join();
  ASSERT_TRUE(end);
  EXPECT_EQ(seen.front(), "old");
  EXPECT_EQ(seen.back(), "9");
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

TEST(Service, AClientOfAFollowerFindsTheLeader) {
  FakeNode leader, follower;
  replication::NodeStatus status;
  status.self = NodeId{2};
  status.role = replication::Role::kFollower;
  status.epoch = Epoch{1};
  status.leader = NodeId{1};
  status.leader_client_address = leader.address();
  follower.node.set(status);
  auto client = client_of({follower.address()});
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes("v")));
  EXPECT_EQ(leader.log.count(), 1u);
  EXPECT_EQ(follower.log.count(), 0u);
  // Local reads stay where they were sent.
  ReadOptions any;
  any.level = ReadOptions::Level::kAny;
  EXPECT_FALSE(client->get(as_bytes("k"), any)->found);
}

TEST(Service, AReadAtLeastWaitsForItsAddressAndTimesOut) {
  FakeNode node;
  auto client = client_of({node.address()}, true, 300);
  ReadOptions at_least;
  at_least.level = ReadOptions::Level::kAtLeast;
  at_least.address = Address{1 << 20};
  const auto late = client->get(as_bytes("k"), at_least);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kTimedOut);
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

TEST(Service, ACommandWhoseAnswerWasLostIsAppliedOnce) {
  FakeNode node;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->add(as_bytes("n"), 1));
  node.machine.hold(true);
  auto added = std::async(std::launch::async, [&] { return client->add(as_bytes("n"), 1); });
  auto appended =
      std::async(std::launch::async, [&] { return client->append("s", {as_bytes("event")}); });
  while (node.log.count() < 3)
    std::this_thread::yield();
  node.machine.set_applied_listener({});
  node.server->drain_and_stop(std::chrono::milliseconds(0));  // both answers are lost
  node.server.reset();
  node.serve({});
  node.machine.hold(false);
  const auto answer = added.get();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->answer.value, "2");
  EXPECT_EQ(client->get(as_bytes("n"), {})->value, "2");
  // An append carries no session: it is not sent again, and not called a success.
  const auto event = appended.get();
  ASSERT_FALSE(event);
  EXPECT_EQ(event.error().code, ErrorCode::kUnknownOutcome);
}

// What was applied, unanswered, in a session that was forgotten since is not applied again in
// another.
TEST(Service, ACommandSentAgainIntoAForgottenSessionIsUnknownAndAppliedOnce) {
  FakeNode node;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->add(as_bytes("n"), 1));
  node.machine.hold(true);
  auto added = std::async(std::launch::async, [&] { return client->add(as_bytes("n"), 1); });
  while (node.log.count() < 2)
    std::this_thread::yield();
  node.machine.set_applied_listener({});
  node.server->drain_and_stop(std::chrono::milliseconds(0));  // the answer is lost
  node.server.reset();
  node.machine.hold(false);
  while (node.marks.snapshot().applied < node.log.tail())
    std::this_thread::yield();
  node.machine.forget_sessions();
  node.serve({});
  const auto answer = added.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kUnknownOutcome) << answer.error().message;
  EXPECT_EQ(client->get(as_bytes("n"), {})->value, "2");
  // The client goes on, in another session.
  EXPECT_EQ(client->add(as_bytes("n"), 1)->answer.value, "3");
}

// The case of the audit: a first command is applied, its session ends, and its repeat comes.
TEST(Service, AFirstCommandSentAgainAfterItsSessionHasEndedIsNotAppliedAgain) {
  FakeNode node;
  node.machine.log_time = 1000;
  node.machine.session_ttl_ns = 500;
  node.machine.hold(true);
  auto client = client_of({node.address()});
  auto added = std::async(std::launch::async, [&] { return client->add(as_bytes("n"), 1); });
  while (node.log.count() < 1)
    std::this_thread::yield();
  node.machine.set_applied_listener({});
  node.server->drain_and_stop(std::chrono::milliseconds(0));  // the answer is lost
  node.server.reset();
  node.machine.hold(false);
  while (node.marks.snapshot().applied < node.log.tail())
    std::this_thread::yield();
  EXPECT_EQ(node.machine.last_bound_ns, 1500u);
  node.machine.forget_sessions();
  node.machine.log_time = 1501;
  node.serve({});
  const auto answer = added.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kUnknownOutcome) << answer.error().message;
  EXPECT_EQ(node.machine.last_bound_ns, 1500u) << "a repeat keeps its bound";
  EXPECT_EQ(client->get(as_bytes("n"), {})->value, "1");
  EXPECT_EQ(client->add(as_bytes("n"), 1)->answer.value, "2");
}

// Its hello is older than a session lives: nobody notices but that one command goes twice.
TEST(Service, AClientThatWasIdleForLongBeginsItsSessionAllTheSame) {
  FakeNode node;
  node.machine.log_time = 1000;
  node.machine.session_ttl_ns = 500;
  auto client = client_of({node.address()});
  // A read by the leader connects, and begins no session.
  ASSERT_TRUE(client->get(as_bytes("n"), {}));
  node.machine.log_time = 9000;
  const auto answer = client->add(as_bytes("n"), 1);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->answer.value, "1");
  EXPECT_EQ(node.machine.last_bound_ns, 9500u);
  EXPECT_EQ(node.log.count(), 2u);
}

// What clients are told is above every bound of a session that was evicted.
TEST(Service, AClientIsToldABoundAboveThoseOfSessionsThatWereEvicted) {
  FakeNode node;
  node.machine.log_time = 1000;
  node.machine.session_ttl_ns = 500;
  node.machine.floor_ns = 7000;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->get(as_bytes("n"), {}));  // it is told 7001
  node.machine.floor_ns = 9000;
  const auto answer = client->add(as_bytes("n"), 1);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->answer.value, "1");
  EXPECT_EQ(node.machine.last_bound_ns, 9001u);
  EXPECT_EQ(node.log.count(), 2u);
}

// It has said hello before the log had rules: it is told when there are some.
TEST(Service, AClientThatWasThereBeforeTheRulesBoundsItsSessionToo) {
  FakeNode node;
  auto early = client_of({node.address()});
  ASSERT_TRUE(early->get(as_bytes("n"), {}));
  node.machine.log_time = 1000;
  node.machine.session_ttl_ns = 500;
  ASSERT_TRUE(client_of({node.address()})->add(as_bytes("n"), 1));
  ASSERT_TRUE(early->get(as_bytes("n"), {}));  // what it is told comes before the answer
  node.machine.last_bound_ns = 0;
  node.machine.log_time = 1100;
  ASSERT_TRUE(early->add(as_bytes("n"), 1));
  EXPECT_EQ(node.machine.last_bound_ns, 1500u);
}

// An older member of the cluster would not know a bound: none is written before the log has rules.
TEST(Service, WithoutRulesInTheLogNoBoundIsWritten) {
  FakeNode node;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->add(as_bytes("n"), 1));
  EXPECT_EQ(node.machine.last_bound_ns, 0u);
}

TEST(Service, AWriteThatWasSentAndNotAnsweredInTimeIsUnknown) {
  FakeNode node;
  node.machine.hold(true);
  for (const bool exactly_once : {true, false}) {
    auto client = client_of({node.address()}, exactly_once, 200);
    const auto late = client->put(as_bytes("k"), as_bytes("v"));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ErrorCode::kUnknownOutcome) << late.error().message;
  }
  EXPECT_EQ(node.log.count(), 2u);  // it is in the log, and will be applied
  node.machine.hold(false);
}

TEST(Service, LosingTheLeadershipMakesPendingAnswersUnknown) {
  FakeNode node;
  auto client = client_of({node.address()}, false);
  node.machine.hold(true);
  auto put =
      std::async(std::launch::async, [&] { return client->put(as_bytes("k"), as_bytes("v")); });
  while (node.log.count() < 1)
    std::this_thread::yield();
  replication::NodeStatus status;
  status.self = NodeId{1};
  status.role = replication::Role::kFollower;
  status.epoch = Epoch{2};
  node.node.set(status);
  node.server->on_role(status);
  const auto answer = put.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kUnknownOutcome);
}

// One that knows of nothing newer than it has promised to be is asked, and then the next.
TEST(Service, ABoundedReadGoesOnToAServerWhoseStateIsFreshEnough) {
  FakeNode stale, fresh;
  replication::NodeStatus status;
  status.self = NodeId{2};
  status.role = replication::Role::kFollower;
  status.epoch = Epoch{1};
  stale.node.set(status);
  ASSERT_TRUE(client_of({fresh.address()})->put(as_bytes("k"), as_bytes("v")));
  ReadOptions bounded;
  bounded.level = ReadOptions::Level::kBounded;
  bounded.staleness_ms = 1000;
  const auto got = client_of({stale.address(), fresh.address()})->get(as_bytes("k"), bounded);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->value, "v");
  // With nobody who could, it is told why.
  const auto refused = client_of({stale.address()})->get(as_bytes("k"), bounded);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("of any age"), std::string::npos);
  const auto late =
      client_of({stale.address(), stale.address()}, true, 200)->get(as_bytes("k"), bounded);
  ASSERT_FALSE(late);
  EXPECT_NE(late.error().message.find("of any age"), std::string::npos) << late.error().message;
}

TEST(Service, StatusCheckpointAndDigestAreAnswered) {
  FakeNode node;
  auto client = client_of({node.address(), "127.0.0.1:1"});
  const auto status = client->status();
  ASSERT_EQ(status.size(), 2u);
  ASSERT_TRUE(status[0].second) << status[0].second.error().message;
  EXPECT_EQ(status[0].second->role, "leader");
  EXPECT_EQ(status[0].second->live_records, 7u);
  ASSERT_FALSE(status[1].second);
  EXPECT_EQ(status[1].second.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(client->checkpoint(node.address()), Address{4096});
  const auto at = client->request_digest();
  ASSERT_TRUE(at) << at.error().message;
  const auto digest = client->digest(node.address(), *at, Address{64});
  ASSERT_TRUE(digest) << digest.error().message;
  EXPECT_EQ(digest->pairs, 3u);
}

// Whoever says nothing, or begins with a frame as large as no hello is, is closed; the last place
// is free again then, and who has said hello keeps his.
TEST(Service, WhoeverSaysNoHelloGivesUpItsPlace) {
  ServerOptions options;
  options.hello_timeout = std::chrono::milliseconds(300);
  options.max_connections = 2;
  FakeNode node(options);
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes("v")));
  const auto ended = [](int fd) {
    std::byte byte{};
    const bool over = ::recv(fd, &byte, 1, 0) <= 0;  // waits
    ::close(fd);
    return over;
  };
  EXPECT_TRUE(ended(connect_to(node.port)));
  const int announces = connect_to(node.port);
  const uint32_t table[2] = {0, (1u << 20) / 8};  // one segment of 1 MiB, below max_frame_bytes
  ASSERT_EQ(::send(announces, table, sizeof table, MSG_NOSIGNAL), 8);
  EXPECT_TRUE(ended(announces));
  const std::string value(512u << 10, 'v');
  EXPECT_TRUE(client_of({node.address()})->put(as_bytes("l"), as_bytes(value)));
  EXPECT_EQ(client->get(as_bytes("l"), {})->value, value);
}

TEST(Service, RandomBytesCloseOnlyTheirOwnConnection) {
  FakeNode node;
  auto client = client_of({node.address()});
  ASSERT_TRUE(client->put(as_bytes("k"), as_bytes("v")));
  const uint64_t seed = random_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  for (int i = 0; i < 20; ++i) {
    const int fd = connect_to(node.port);
    ASSERT_GE(fd, 0);
    std::vector<std::byte> bytes(4096);
    random.fill(bytes);
    store(bytes.data(), static_cast<uint32_t>(random.between(16, 0xffffffff)));
    (void)!::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    while (::recv(fd, bytes.data(), bytes.size(), 0) > 0) {
    }
    ::close(fd);  // recv came to an end: the server closed
  }
  EXPECT_EQ(client->get(as_bytes("k"), {})->value, "v");
}

TEST(Service, APortInUseIsNamed) {
  FakeNode node;
  ServerOptions options;
  options.listen = node.address();
  const auto second =
      Server::create(options, {&node.log, &node.machine, &node.marks, &node.anchors, &node.node});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kInUse);
  EXPECT_NE(second.error().message.find(node.address()), std::string::npos);
}

}  // namespace
}  // namespace tailrace::rpc
