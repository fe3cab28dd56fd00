#include <algorithm>
#include <thread>

#include <gtest/gtest.h>

#include "core/mutex.h"
#include "rpc/peer/codec.h"
#include "rpc/peer/transport.h"
#include "rpc/server/server.h"
#include "rpc/wire/message.h"
#include "tests/rpc/loopback.h"

namespace tailrace::rpc {
namespace {

using namespace std::chrono_literals;

struct Recorder : replication::TransportHandler {
  replication::Introduction introduction() const override {
    replication::Introduction said;
    said.version = 4;
    said.life.run = run;
    said.life.incarnation = own_disk;
    said.identity = identity;
    return said;
  }
  replication::Acquaintance acquaintance(NodeId,
                                         const replication::Introduction& said) const override {
    const bool known = disk == 0 || said.life.incarnation == disk;
    return known ? replication::Acquaintance::kDisk : replication::Acquaintance::kMember;
  }
  bool may_send_batches(NodeId) const override { return true; }
  void on_connected(NodeId, const replication::Introduction& said) override {
    const MutexLock lock(mutex);
    told = said;
    ++connected;
    changed.notify_all();
  }
  void on_disconnected(NodeId, const std::string& why) override {
    const MutexLock lock(mutex);
    ++disconnected;
    reason = why;
    changed.notify_all();
  }
  void on_message(NodeId, replication::Message message) override {
    const MutexLock lock(mutex);
    messages.push_back(std::move(message));
    changed.notify_all();
  }
  template <typename There>
  bool wait(There there) {
    MutexLock lock(mutex);
    return changed.wait_for(lock, 20s, there);
  }
  struct Seen {
    int connected, disconnected;
    std::string reason;
  };
  /// How often until now; outside of wait() nothing else may be read while the transport runs.
  Seen seen() {
    const MutexLock lock(mutex);
    return {connected, disconnected, reason};
  }
  Mutex mutex;
  Condition changed;
  int connected = 0, disconnected = 0;
  std::string reason;
  std::vector<replication::Message> messages;
  // Set before the transport runs; 0: not told.
  uint64_t run = 0;
  ClusterIdentity identity;
  uint64_t own_disk = 0, disk = 0;  // the other side's, as this one knows it; 0: any is known
  replication::Introduction told;
};

struct Side {
  /// Of number 9, which the other side does not know.
  static std::unique_ptr<Side> stranger(const std::string& other) {
    return std::make_unique<Side>(9, "c", 0, other);
  }
  Side(uint32_t id, std::string cluster, int port, std::string other,
       std::chrono::milliseconds patience = 1500ms, uint64_t run = 0, ClusterIdentity identity = {},
       uint64_t own_disk = 0, uint64_t disk = 0) {
    recorder.own_disk = own_disk;
    recorder.disk = disk;
    recorder.run = run;
    recorder.identity = identity;
    PeerTransportOptions options;
    options.dial_patience = patience;
    options.self = NodeId{id};
    options.cluster = std::move(cluster);
    options.listen = "127.0.0.1:" + std::to_string(port);
    options.members = {{NodeId{id}, true, options.listen, ""},
                       {NodeId{id < 3 ? 3 - id : 1}, true, std::move(other), ""}};
    transport = PeerTransport::create(options).value();
    transport->start(10ms, [] {});
    handle(recorder);
  }
  ~Side() { transport->stop(); }
  std::string address() const { return "127.0.0.1:" + std::to_string(transport->port()); }
  void handle(Recorder& to) {
    transport->post([this, &to] { transport->set_handler(&to); });
  }
  void reset(uint32_t id) {
    transport->post([this, id] { transport->reset(NodeId{id}); });
  }
  /// A record of the members says that the other one is at `address`.
  void moved(uint32_t id, const std::string& address) {
    transport->post([this, id, address] {
      transport->set_members(
          {{NodeId{3 - id}, true, this->address(), ""}, {NodeId{id}, true, address, ""}});
    });
  }
  void send(uint32_t id, replication::Message message) {
    transport->post([this, id, message] { transport->send(NodeId{id}, message); });
  }
  Recorder recorder;
  std::unique_ptr<PeerTransport> transport;
};

TEST(PeerTransport, MessagesArriveInOrderBothWays) {
  Side leader(1, "c", 0, "127.0.0.1:1");
  Side follower(2, "c", 0, leader.address());
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.connected == 1; }));
  ASSERT_TRUE(leader.recorder.wait([&] { return leader.recorder.connected == 1; }));
  const auto bytes = std::make_shared<const std::vector<std::byte>>(1 << 20, std::byte{7});
  for (uint64_t i = 0; i < 50; ++i) {
    leader.send(2, replication::Data{Epoch{1}, Address{i}, bytes, {}, {}, 0});
    follower.send(1, replication::Acknowledge{Epoch{1}, Address{i}, {}});
  }
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.messages.size() == 50; }));
  ASSERT_TRUE(leader.recorder.wait([&] { return leader.recorder.messages.size() == 50; }));
  for (uint64_t i = 0; i < 50; ++i) {
    const auto& data = std::get<replication::Data>(follower.recorder.messages[i]);
    EXPECT_EQ(data.from, Address{i});
    EXPECT_EQ(*data.bytes, *bytes);
    EXPECT_EQ(std::get<replication::Acknowledge>(leader.recorder.messages[i]).durable, Address{i});
  }
}

/// One message of each kind, no field of which is the default or the same as another.
std::vector<replication::Message> one_of_each() {
  using namespace replication;
  return {
      Subscribe{Epoch{1}, Epoch{2}, Address{3}, Address{4}, 5, Vote::kFull},
      Accept{Epoch{1}, Address{2}, Address{3}},
      Refuse{RefusalReason::kLogDiverges, Epoch{1}, NodeId{2}, "because"},
      Data{Epoch{1}, Address{2}, std::make_shared<const std::vector<std::byte>>(9, std::byte{7}),
           Address{3}, Address{4}, 5, 6, 7ns, 8ns},
      Acknowledge{Epoch{1}, Address{2}, Address{3}, 4, 5ns, Vote::kProvisional},
      Seal{Epoch{1}, Address{2}},
      Sealed{Epoch{1}, Epoch{2}, Address{3}, Address{4}, 5, Vote::kProvisional},
      Leading{Epoch{1}, Address{2}},
      Diverges{Epoch{1}, Address{2}, Epoch{3}, Address{4}},
      GrantVote{Epoch{1}, 2, Vote::kFull},
      TakeOver{Epoch{1}},
      AskCheckpoint{1, Address{2}},
      OfferCheckpoint{{1,
                       2,
                       "c/1",
                       Address{4},
                       {Address{3}, Address{5}},
                       {{Epoch{6}, Address{7}}, {Epoch{8}, Address{9}}},
                       {{Address{12}, Address{13}, Epoch{14}, std::vector<std::byte>(3)}},
                       {{"log/a", 10}, {"checkpoints/b/MANIFEST", 11}}},
                      "not yet"},
      ReadCheckpoint{1, 2, 3},
      CheckpointPart{1, 2, 3, std::make_shared<const std::vector<std::byte>>(9, std::byte{7}),
                     "gone"},
      replication::CompareState{Epoch{1}, Address{2}, 3, 4, 5, true},
      replication::StateCompared{Epoch{1}, Address{2}, true, 3, 4, 5, true}};
}

/// All of a message's fields.
struct Show {
  static std::string join(std::initializer_list<uint64_t> fields) {
    std::string text;
    for (const uint64_t field : fields)
      text += std::to_string(field) + " ";
    return text;
  }
  static uint64_t of(Vote vote) { return static_cast<uint64_t>(vote); }
  static uint64_t of(std::chrono::nanoseconds time) { return static_cast<uint64_t>(time.count()); }
  std::string operator()(const replication::Subscribe& m) const {
    return join({m.promised.value, m.last_epoch.value, m.begin.value, m.durable.value,
                 m.incarnation, of(m.vote)});
  }
  std::string operator()(const replication::Accept& m) const {
    return join({m.epoch.value, m.start.value, m.committed.value});
  }
  std::string operator()(const replication::Refuse& m) const {
    return join({static_cast<uint64_t>(m.reason), m.epoch.value, m.leader.value}) + m.message;
  }
  std::string operator()(const replication::Data& m) const {
    std::string text = join({m.epoch.value, m.from.value, m.committed.value, m.leader_durable.value,
                             m.leader_unix_time_ns, m.round, of(m.echo), of(m.age)});
    return m.bytes ? text + to_string(ByteSpan(*m.bytes)) : text;
  }
  std::string operator()(const replication::Acknowledge& m) const {
    return join({m.epoch.value, m.durable.value, m.applied.value, m.round, of(m.sent), of(m.vote)});
  }
  std::string operator()(const replication::Sealed& m) const {
    return join({m.epoch.value, m.last_epoch.value, m.begin.value, m.durable.value, m.incarnation,
                 of(m.vote)});
  }
  std::string operator()(const replication::Diverges& m) const {
    return join({m.epoch.value, m.asked.value, m.last_epoch.value, m.end.value});
  }
  std::string operator()(const replication::GrantVote& m) const {
    return join({m.epoch.value, m.incarnation, of(m.vote)});
  }
  std::string operator()(const replication::Seal& m) const {
    return join({m.epoch.value, m.members.value});
  }
  std::string operator()(const replication::Leading& m) const {
    return join({m.epoch.value, m.members.value});
  }
  std::string operator()(const replication::TakeOver& m) const { return join({m.epoch.value}); }
  std::string operator()(const replication::AskCheckpoint& m) const {
    return join({m.token, m.at_least.value});
  }
  std::string operator()(const replication::OfferCheckpoint& m) const {
    const statemachine::StateCopyPlan& plan = m.plan;
    std::string text = join({plan.token, plan.fingerprint, plan.applied.value, plan.log.first.value,
                             plan.log.end.value}) +
                       plan.owner + " " + m.problem;
    for (const auto& epoch : plan.epochs)
      text += " " + join({epoch.epoch.value, epoch.start.value});
    for (const auto& each : plan.configurations)
      text += " " + join({each.start.value, each.end.value, each.epoch.value}) +
              to_string(ByteSpan(each.payload));
    for (const auto& file : plan.files)
      text += " " + file.name + " " + std::to_string(file.bytes);
    return text;
  }
  std::string operator()(const replication::ReadCheckpoint& m) const {
    return join({m.fingerprint, m.offset, m.bytes});
  }
  std::string operator()(const replication::CheckpointPart& m) const {
    return join({m.fingerprint, m.offset, m.checksum}) + to_string(ByteSpan(*m.bytes)) + m.problem;
  }
  std::string operator()(const replication::CompareState& m) const {
    return join({m.epoch.value, m.address.value, m.high, m.low, m.pairs, m.settled});
  }
  std::string operator()(const replication::StateCompared& m) const {
    return join({m.epoch.value, m.address.value, m.known, m.high, m.low, m.pairs, m.diverged});
  }
};

std::string show(const replication::Message& message) {
  return std::to_string(message.index()) + ": " + std::visit(Show{}, message);
}

TEST(PeerTransport, EveryKindOfMessageArrivesUnchangedBothWays) {
  const std::vector<replication::Message> kinds = one_of_each();
  ASSERT_EQ(kinds.size(), std::variant_size_v<replication::Message>);
  Side one(1, "c", 0, "127.0.0.1:1");
  Side two(2, "c", 0, one.address());
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 1; }));
  ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.connected == 1; }));
  for (const replication::Message& message : kinds) {
    one.send(2, message);
    two.send(1, message);
  }
  for (Side* side : {&one, &two}) {
    ASSERT_TRUE(
        side->recorder.wait([&] { return side->recorder.messages.size() == kinds.size(); }));
    for (size_t i = 0; i < kinds.size(); ++i) {
      EXPECT_EQ(kinds[i].index(), i);
      EXPECT_EQ(show(side->recorder.messages[i]), show(kinds[i]));
    }
  }
}

TEST(PeerTransport, AVoteThatThisVersionDoesNotKnowCountsForNone) {
  OutgoingMessage out;
  auto frame = out.init<wire::PeerFrame>();
  frame.initGrantVote().setVote(3);
  const auto decoded = decode_peer(frame.asReader());
  ASSERT_TRUE(decoded);
  EXPECT_EQ(std::get<replication::GrantVote>(*decoded).vote, Vote::kNone);
}

TEST(PeerTransport, ADroppedConnectionComesBackByItself) {
  Side one(1, "c", 0, "127.0.0.1:1");
  Side two(2, "c", 0, one.address());
  int connections = 0;
  for (Side* side : {&one, &two}) {  // whichever of them drops it
    ++connections;
    ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == connections; }));
    ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.connected == connections; }));
    side->reset(side == &one ? 2 : 1);
    ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.disconnected == connections; }));
    ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.disconnected == connections; }));
  }
  ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.connected == 3; }));
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 3; }));
  one.send(2, replication::Seal{Epoch{5}});
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.messages.size() == 1; }));
}

TEST(PeerTransport, AHandlerIsToldOfTheConnectionsThatAreUpAlready) {
  Side one(1, "c", 0, "127.0.0.1:1");
  Side two(2, "c", 0, one.address());
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 1; }));
  ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.connected == 1; }));
  Recorder later;
  one.handle(later);
  ASSERT_TRUE(later.wait([&] { return later.connected == 1; }));
  two.send(1, replication::Seal{Epoch{5}});
  ASSERT_TRUE(later.wait([&] { return later.messages.size() == 1; }));
  one.transport->stop();
  EXPECT_EQ(one.recorder.seen().connected, 1);
}

/// Once it has tried, and was refused.
bool fails_to_connect(Side& side) {
  observability::MetricRegistry metrics;
  side.transport->register_metrics(metrics);
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (std::chrono::steady_clock::now() < deadline) {
    if (metrics.expose().find("tailrace_peer_failures_total 0") == std::string::npos) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

TEST(PeerTransport, AnotherClusterIsRefusedByName) {
  ::testing::internal::CaptureStderr();  // the log is where an operator sees it
  Side leader(1, "east", 0, "127.0.0.1:1");
  Side follower(2, "west", 0, leader.address());
  EXPECT_TRUE(fails_to_connect(follower));
  follower.transport->stop();
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("cluster 'west'"), std::string::npos) << said;
  EXPECT_EQ(said.find("cluster 'east'"), std::string::npos) << "a stranger is told: " << said;
  EXPECT_EQ(follower.recorder.seen().connected, 0);
  EXPECT_EQ(leader.recorder.seen().connected, 0);
}

/// Who does not know it yet is let in, and learns it.
TEST(PeerTransport, AnotherClusterOfTheSameNameIsRefused) {
  Side first(1, "c", 0, "127.0.0.1:1", 1500ms, 5, {1, 1});
  {
    Side stranger(2, "c", 0, first.address(), 1500ms, 6, {1, 2});
    EXPECT_TRUE(fails_to_connect(stranger));
    stranger.transport->stop();
    EXPECT_EQ(stranger.recorder.seen().connected, 0);
  }
  EXPECT_EQ(first.recorder.seen().connected, 0);
  Side fresh(2, "c", 0, first.address(), 1500ms, 7, {});
  EXPECT_TRUE(fresh.recorder.wait([&] { return fresh.recorder.connected == 1; }));
}

TEST(PeerTransport, TheNodeWithTheGreaterIdDialsUntilTheOtherIsBack) {
  auto leader = std::make_unique<Side>(1, "c", 0, "127.0.0.1:1");
  const int port = leader->transport->port();
  Side follower(2, "c", 0, leader->address());
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.connected == 1; }));
  leader.reset();
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.disconnected >= 1; }));
  leader = std::make_unique<Side>(1, "c", port, "127.0.0.1:1");
  ASSERT_TRUE(follower.recorder.wait([&] { return follower.recorder.connected == 2; }));
}

// A node that was down while the other one moved dials an old address for ever. The other one,
// which knows where it is, comes to it. And nothing cuts that connection off again.
TEST(PeerTransport, TheNodeWithTheSmallerIdDialsWhereTheGreaterCanNot) {
  Side was_down(2, "c", 0, "127.0.0.1:1", 100ms);
  Side leader(1, "c", 0, was_down.address(), 100ms);
  ASSERT_TRUE(was_down.recorder.wait([&] { return was_down.recorder.connected == 1; }));
  ASSERT_TRUE(leader.recorder.wait([&] { return leader.recorder.connected == 1; }));
  leader.send(2, replication::Seal{Epoch{5}});
  ASSERT_TRUE(was_down.recorder.wait([&] { return was_down.recorder.messages.size() == 1; }));
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(was_down.recorder.seen().disconnected, 0) << was_down.recorder.seen().reason;
  EXPECT_EQ(leader.recorder.seen().disconnected, 0) << leader.recorder.seen().reason;
  // Now that a record says where it is, it dials itself.
  was_down.moved(1, leader.address());
  leader.reset(2);
  ASSERT_TRUE(was_down.recorder.wait([&] { return was_down.recorder.connected == 2; }));
}

// The log may name addresses of before: the file's are tried as well.
TEST(PeerTransport, TheAddressesOfTheLogAndOfTheFileAreTriedInTurn) {
  Side one(1, "c", 0, "127.0.0.1:1");
  Side two(2, "c", 0, one.address());
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 1; }));
  two.moved(1, "127.0.0.1:1");
  one.reset(2);
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 2; }));
  // One that was removed is dialled at neither.
  two.transport->post([&] { two.transport->set_members({{NodeId{2}, true, two.address(), ""}}); });
  one.reset(2);
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.disconnected == 2; }));
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(two.recorder.seen().connected, 2);
}

// What the smaller one dials beside a connection that the greater one has just made was begun
// before that, and cuts nothing off. Later it is known better: it dials when it has none.
TEST(PeerTransport, AYoungConnectionOfTheGreaterIsNotReplacedByOneOfTheSmaller) {
  Side one(1, "c", 0, "127.0.0.1:1");
  Side two(2, "c", 0, one.address());
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 1; }));
  Side again(1, "c", 0, two.address(), 10ms);
  std::this_thread::sleep_for(400ms);
  EXPECT_EQ(two.recorder.seen().disconnected, 0) << two.recorder.seen().reason;
  EXPECT_EQ(again.recorder.seen().connected, 0);
  ASSERT_TRUE(again.recorder.wait([&] { return again.recorder.connected == 1; }));
  EXPECT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 2; }));
}

// Whoever comes as a node that is there cuts off nobody: it is told why, and gets in once that one
// has gone.
TEST(PeerTransport, AnotherProcessOfTheSameNumberWaitsUntilTheFirstHasGone) {
  Side one(1, "c", 0, "127.0.0.1:1", 1500ms, 11);
  auto first = std::make_unique<Side>(2, "c", 0, one.address(), 1500ms, 21);
  ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.connected == 1; }));
  Side second(2, "c", 0, one.address(), 1500ms, 22);
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(second.recorder.seen().connected, 0);
  EXPECT_EQ(one.recorder.seen().disconnected, 0) << one.recorder.seen().reason;
  first.reset();
  EXPECT_TRUE(second.recorder.wait([&] { return second.recorder.connected == 1; }));
}

// A number alone keeps nobody out and is told nothing by which another could pass for this node.
TEST(PeerTransport, ADiskThatIsNotKnownIsToldLittleAndGivesWayToTheOneThatIs) {
  Side one(1, "c", 0, "127.0.0.1:1", 1500ms, 11, {}, 31, 32);
  Side other(2, "c", 0, one.address(), 1500ms, 21, {}, 33);
  ASSERT_TRUE(other.recorder.wait([&] { return other.recorder.connected == 1; }));
  EXPECT_EQ(other.recorder.told.life, replication::Life{});
  EXPECT_NE(other.recorder.told.version, 0u);
  Side voter(2, "c", 0, one.address(), 1500ms, 22, {}, 32);
  ASSERT_TRUE(voter.recorder.wait([&] { return voter.recorder.connected == 1; }));
  EXPECT_EQ(voter.recorder.told.life.run, 11u);
  EXPECT_TRUE(other.recorder.wait([&] { return other.recorder.disconnected == 1; }));
}

/// They come and go, also in each other's place, and nothing of them is kept.
TEST(PeerTransport, NumbersOfStrangersAreForgotten) {
  Side one(1, "c", 0, "127.0.0.1:1");
  for (int round = 0; round < 10; ++round) {
    std::vector<std::unique_ptr<Side>> strangers;
    for (int i = 0; i < 3; ++i) {
      strangers.push_back(Side::stranger(one.address()));
      ASSERT_TRUE(strangers.back()->recorder.wait(
          [&] { return strangers.back()->recorder.connected == 1; }));
    }
    one.reset(9);
  }
  Side two(2, "c", 0, one.address());
  EXPECT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 1; }));
}

// Strangers that say nothing take no place from a member, and write no log.
TEST(PeerTransport, SilentStrangersKeepNobodyOut) {
  ::testing::internal::CaptureStderr();
  Side one(1, "c", 0, "127.0.0.1:1");
  const int port = one.transport->port();
  std::vector<int> silent;
  for (int i = 0; i < 200; ++i)
    silent.push_back(testing::connect_to(port));
  Side two(2, "c", 0, one.address());
  EXPECT_TRUE(two.recorder.wait([&] { return two.recorder.connected == 1; }));
  for (const int fd : silent)
    ::close(fd);
  two.transport->stop();
  one.transport->stop();
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_LT(std::count(said.begin(), said.end(), '\n'), 20) << said;
}

// Both dial at the same moment, again and again: both keep the same connection, and it stays.
TEST(PeerTransport, WhereTwoConnectionsMeetBothKeepTheSame) {
  Side one(1, "c", 0, "127.0.0.1:1", 50ms);
  Side two(2, "c", 0, one.address(), 50ms);
  one.moved(2, two.address());
  ASSERT_TRUE(two.recorder.wait([&] { return two.recorder.connected > 0; }));
  ASSERT_TRUE(one.recorder.wait([&] { return one.recorder.connected > 0; }));
  for (uint64_t round = 1; round <= 20; ++round) {
    (round % 2 == 0 ? one : two).reset(round % 2 == 0 ? 2 : 1);
    // A message may go with a connection that is given up; not all of many.
    const auto heard = [round](Recorder& recorder) {
      const MutexLock lock(recorder.mutex);
      for (const replication::Message& message : recorder.messages)
        if (std::get<replication::Seal>(message).epoch == Epoch{round}) return true;
      return false;
    };
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!heard(one.recorder) || !heard(two.recorder)) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "round " << round;
      one.send(2, replication::Seal{Epoch{round}});
      two.send(1, replication::Seal{Epoch{round}});
      std::this_thread::sleep_for(2ms);
    }
  }
  std::this_thread::sleep_for(200ms);
  const int connected = one.recorder.seen().connected;
  std::this_thread::sleep_for(500ms);
  EXPECT_EQ(one.recorder.seen().connected, connected)
      << "it comes and goes: " << one.recorder.seen().reason;
  for (Side* side : {&one, &two}) {
    const Recorder::Seen seen = side->recorder.seen();
    EXPECT_EQ(seen.connected, seen.disconnected + 1);
  }
}

}  // namespace
}  // namespace tailrace::rpc
