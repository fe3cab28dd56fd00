// One rule of the protocol a test; tests/simulation runs them all together.

#include "replication/core.h"

#include <string>

#include <gtest/gtest.h>

#include "replication/static_coordinator.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

constexpr NodeId kOne{1}, kTwo{2}, kThree{3}, kLearner{4};

/// A core, and the actions of its last step.
class Driven {
 public:
  explicit Driven(NodeId self, LogPosition log = {Address{64}, Address{64}, Epoch{0}},
                  Promise promise = {}, std::vector<fasterlog::EpochStart> epochs = {},
                  std::vector<CoreOptions::Peer> members = {{kOne, true},
                                                            {kTwo, true},
                                                            {kThree, true},
                                                            {kLearner, false}})
      : core_(options(self, std::move(members))) {
    feed(Started{log, std::move(epochs), promise, milliseconds(1000)});
    StaticCoordinator(self, kOne)
        .start(std::max(promise.epoch, log.last_epoch), [this](Grant grant) {
          feed(Granted{grant.leader, grant.epoch});
        });
  }

  /// Leads, with its epoch-start record durable at [from, from + 36).
  void lead() {
    const Promise promise = only<PersistPromise>()->promise;
    feed(PromisePersisted{promise});
    const Address from = state().log.durable;
    feed(WriterReady{{from, from + 36}});
    durable(from + 36, promise.epoch);
  }
  void follow(Epoch epoch) {
    feed(PeerConnected{kOne});
    receive(kOne, Accept{epoch, state().log.durable, Address{}});
    if (const auto* persist = only<PersistPromise>()) {
      const Promise promise = persist->promise;
      feed(PromisePersisted{promise});
    }
  }
  void feed(const Event& event) {
    actions_.clear();
    core_.step(event, actions_);
  }
  void receive(NodeId from, Message message) { feed(Received{from, std::move(message)}); }
  void durable(Address address, Epoch epoch) {
    feed(LogMoved{{state().log.begin, address, epoch}, Address{}});
  }
  void acknowledge(NodeId from, Address address) {
    receive(from, Acknowledge{state().epoch, address, Address{}});
  }
  void subscribe(NodeId from, Address address, Epoch last = Epoch{0}, Epoch promised = Epoch{0}) {
    feed(PeerConnected{from});
    receive(from, Subscribe{promised, last, Address{64}, address, 7});
  }

  const CoreState& state() const { return core_.state(); }
  /// The first action of this kind, or null.
  template <typename T>
  const T* only() const {
    for (const Action& action : actions_)
      if (const T* found = std::get_if<T>(&action)) return found;
    return nullptr;
  }
  /// The first message of this kind sent to `to`, or null.
  template <typename T>
  const T* sent(NodeId to) const {
    for (const Action& action : actions_)
      if (const auto* send = std::get_if<Send>(&action); send != nullptr && send->peer == to)
        if (const T* found = std::get_if<T>(&send->message)) return found;
    return nullptr;
  }

 private:
  static CoreOptions options(NodeId self, std::vector<CoreOptions::Peer> members) {
    CoreOptions result;
    result.self = self;
    result.members = std::move(members);
    result.window_bytes = 1000;
    result.batch_bytes = 400;
    result.follower_pin_bytes = 5000;
    result.check_invariants = true;
    return result;
  }
  Core core_;
  std::vector<Action> actions_;
};

std::shared_ptr<const std::vector<std::byte>> bytes(size_t count) {
  return std::make_shared<std::vector<std::byte>>(count);
}

// ---- Leader
// --------------------------------------------------------------------------------------

TEST(Leader, RaisesTheEpochAndPersistsItBeforeItWrites) {
  Driven leader(kOne, {Address{64}, Address{500}, Epoch{4}}, Promise{Epoch{6}, kOne, 9});
  ASSERT_NE(leader.only<PersistPromise>(), nullptr);
  EXPECT_EQ(leader.only<PersistPromise>()->promise, (Promise{Epoch{7}, kOne, 9}));
  EXPECT_EQ(leader.only<BecomeWriter>(), nullptr);
  leader.feed(PromisePersisted{Promise{Epoch{7}, kOne, 9}});
  ASSERT_NE(leader.only<BecomeWriter>(), nullptr);
  EXPECT_EQ(leader.only<BecomeWriter>()->epoch, Epoch{7});
}

TEST(Leader, GoesAboveTheLogsEpochWhenThePromiseIsOlder) {
  Driven leader(kOne, {Address{64}, Address{500}, Epoch{8}}, Promise{Epoch{6}, kOne, 9});
  EXPECT_EQ(leader.only<PersistPromise>()->promise.epoch, Epoch{9});
}

TEST(Leader, AloneItCommitsWhatIsDurable) {
  Driven leader(kOne, {Address{64}, Address{64}, Epoch{0}}, {}, {}, {{kOne, true}});
  leader.lead();
  EXPECT_TRUE(leader.state().serving);
  EXPECT_EQ(leader.state().committed, Address{100});
  leader.durable(Address{300}, Epoch{1});
  EXPECT_EQ(leader.state().committed, Address{300});
}

TEST(Leader, ServesOnlyWhenAMajorityHasTheEpochStartRecord) {
  Driven leader(kOne);
  leader.lead();
  EXPECT_FALSE(leader.state().serving);
  leader.subscribe(kTwo, Address{64});
  leader.acknowledge(kTwo, Address{64});
  EXPECT_FALSE(leader.state().serving);
  leader.acknowledge(kTwo, Address{100});
  EXPECT_TRUE(leader.state().serving);
  EXPECT_EQ(leader.only<AdvanceCommitted>()->committed, Address{100});
}

TEST(Leader, RecordsOfEarlierEpochsCountOnlyWithItsOwnRecord) {
  Driven leader(kOne, {Address{64}, Address{500}, Epoch{1}}, Promise{Epoch{1}, kOne, 9},
                {{Epoch{1}, Address{64}}});
  leader.lead();  // its record is [500, 536)
  leader.subscribe(kTwo, Address{500}, Epoch{1});
  leader.acknowledge(kTwo, Address{500});
  EXPECT_EQ(leader.state().committed, Address{});
  leader.acknowledge(kTwo, Address{536});
  EXPECT_EQ(leader.state().committed, Address{536});
}

TEST(Leader, ALearnerGetsTheStreamAndHasNoVote) {
  Driven leader(kOne);
  leader.lead();
  leader.subscribe(kLearner, Address{64});
  EXPECT_NE(leader.sent<Accept>(kLearner), nullptr);
  EXPECT_NE(leader.only<ShipBytes>(), nullptr);
  leader.acknowledge(kLearner, Address{100});
  EXPECT_FALSE(leader.state().serving);
}

TEST(Leader, AnAcknowledgementOfAnEarlierEpochIsNoVote) {
  Driven leader(kOne, {Address{64}, Address{64}, Epoch{0}}, Promise{Epoch{3}, kOne, 9});
  leader.lead();
  leader.subscribe(kTwo, Address{64});
  leader.receive(kTwo, Acknowledge{Epoch{3}, Address{100}, Address{}});
  EXPECT_FALSE(leader.state().serving);
}

TEST(Leader, RefusesALogThatIsNoPrefixOfItsOwn) {
  Driven leader(kOne, {Address{64}, Address{500}, Epoch{3}}, Promise{Epoch{3}, kOne, 9},
                {{Epoch{1}, Address{64}}, {Epoch{3}, Address{300}}});
  leader.lead();  // epoch 4 from 500
  leader.subscribe(kTwo, Address{900}, Epoch{4});
  ASSERT_NE(leader.sent<Refuse>(kTwo), nullptr);
  EXPECT_EQ(leader.sent<Refuse>(kTwo)->reason, RefusalReason::kLogDiverges);
  leader.subscribe(kTwo, Address{400}, Epoch{2});  // there the leader has epoch 3
  ASSERT_NE(leader.sent<Refuse>(kTwo), nullptr);
  EXPECT_EQ(leader.sent<Refuse>(kTwo)->reason, RefusalReason::kLogDiverges);
  EXPECT_NE(leader.sent<Refuse>(kTwo)->message.find("400"), std::string::npos);
  leader.subscribe(kTwo, Address{300}, Epoch{1});
  EXPECT_NE(leader.sent<Accept>(kTwo), nullptr);
}

TEST(Leader, TellsAFollowerBelowItsBeginThatItNeedsACheckpoint) {
  Driven leader(kOne, {Address{300}, Address{500}, Epoch{1}}, Promise{Epoch{1}, kOne, 9},
                {{Epoch{1}, Address{64}}});
  leader.lead();
  leader.subscribe(kTwo, Address{200}, Epoch{1});
  ASSERT_NE(leader.sent<Refuse>(kTwo), nullptr);
  EXPECT_EQ(leader.sent<Refuse>(kTwo)->reason, RefusalReason::kNeedsCheckpoint);
  EXPECT_TRUE(leader.state().followers.at(kTwo).needs_checkpoint);
}

TEST(Leader, RefusesANodeThatIsNotConfigured) {
  Driven leader(kOne);
  leader.lead();
  leader.subscribe(NodeId{9}, Address{64});
  ASSERT_NE(leader.sent<Refuse>(NodeId{9}), nullptr);
  EXPECT_EQ(leader.sent<Refuse>(NodeId{9})->reason, RefusalReason::kUnknownNode);
}

TEST(Leader, StopsAndRemembersWhenItHearsOfAHigherEpoch) {
  Driven leader(kOne);
  leader.lead();
  leader.subscribe(kTwo, Address{64}, Epoch{0}, Epoch{5});
  EXPECT_EQ(leader.sent<Refuse>(kTwo)->reason, RefusalReason::kStaleEpoch);
  EXPECT_EQ(leader.state().role, Role::kStopped);
  EXPECT_FALSE(leader.state().serving);
  EXPECT_NE(leader.state().problem.find("epoch 5"), std::string::npos);
  ASSERT_NE(leader.only<PersistPromise>(), nullptr);
  EXPECT_EQ(leader.only<PersistPromise>()->promise.epoch, Epoch{5});
}

TEST(Leader, ShipsNoFurtherThanTheWindowBeyondWhatIsAcknowledged) {
  Driven leader(kOne);
  leader.lead();
  leader.durable(Address{5000}, Epoch{1});
  leader.subscribe(kTwo, Address{64});
  size_t rounds = 0;
  Address from{64};
  while (const auto* ship = leader.only<ShipBytes>()) {
    EXPECT_EQ(ship->from, from);
    const Address end = from + ship->most_bytes;
    leader.feed(Shipped{kTwo, from, end, Address{5000}});
    from = end;
    ASSERT_LT(++rounds, 10u);
  }
  EXPECT_EQ(from, Address{1064});
  leader.acknowledge(kTwo, Address{464});
  ASSERT_NE(leader.only<ShipBytes>(), nullptr);
  EXPECT_EQ(leader.only<ShipBytes>()->from, Address{1064});
}

TEST(Leader, KeepsItsLogForAFollowerUpToTheCapAndNoFurther) {
  Driven leader(kOne);
  EXPECT_EQ(leader.state().followers.at(kTwo).pin, Address{64});  // never heard: all of the log
  leader.lead();
  leader.durable(Address{5064}, Epoch{1});
  leader.feed(Tick{milliseconds(1050), Address{}});
  EXPECT_EQ(leader.only<RemoveAnchor>(), nullptr);
  leader.durable(Address{5100}, Epoch{1});
  leader.feed(Tick{milliseconds(1100), Address{}});
  EXPECT_NE(leader.only<RemoveAnchor>(), nullptr);
  EXPECT_TRUE(leader.state().followers.at(kTwo).needs_checkpoint);
  EXPECT_FALSE(leader.state().followers.at(kTwo).pin);
}

TEST(Leader, SendsHeartbeatsAndGivesUpASilentFollower) {
  Driven leader(kOne);
  leader.lead();
  leader.subscribe(kTwo, Address{100}, Epoch{1});
  leader.feed(Tick{milliseconds(1250), Address{}});
  ASSERT_NE(leader.sent<Data>(kTwo), nullptr);
  EXPECT_EQ(leader.sent<Data>(kTwo)->bytes, nullptr);
  leader.feed(Tick{milliseconds(4100), Address{}});
  ASSERT_NE(leader.only<Disconnect>(), nullptr);
  EXPECT_FALSE(leader.state().followers.at(kTwo).connected);
}

TEST(Leader, ANodeWithAnotherDiskVotesOnlyByWhatItAcknowledgesAnew) {
  Driven leader(kOne);
  leader.lead();
  leader.subscribe(kTwo, Address{64});
  leader.acknowledge(kTwo, Address{100});
  leader.feed(PeerDisconnected{kTwo});
  leader.feed(PeerConnected{kTwo});
  leader.receive(kTwo, Subscribe{Epoch{0}, Epoch{0}, Address{64}, Address{64}, 8});
  EXPECT_EQ(leader.state().followers.at(kTwo).acknowledged, Address{});
  EXPECT_EQ(leader.state().committed, Address{100});  // never retreats
}

// ---- Follower
// ------------------------------------------------------------------------------------

TEST(Follower, SubscribesFromItsDurableEnd) {
  Driven follower(kTwo, {Address{100}, Address{500}, Epoch{2}}, Promise{Epoch{3}, kOne, 9});
  ASSERT_NE(follower.only<Connect>(), nullptr);
  follower.feed(PeerConnected{kOne});
  const auto* subscribe = follower.sent<Subscribe>(kOne);
  ASSERT_NE(subscribe, nullptr);
  EXPECT_EQ(subscribe->durable, Address{500});
  EXPECT_EQ(subscribe->last_epoch, Epoch{2});
  EXPECT_EQ(subscribe->promised, Epoch{3});
  EXPECT_EQ(subscribe->incarnation, 9u);
}

TEST(Follower, AcknowledgesNothingUnderAnEpochBeforeItsPromiseIsOnDisk) {
  Driven follower(kTwo);
  follower.feed(PeerConnected{kOne});
  follower.receive(kOne, Accept{Epoch{2}, Address{64}, Address{}});
  ASSERT_NE(follower.only<PersistPromise>(), nullptr);
  EXPECT_EQ(follower.sent<Acknowledge>(kOne), nullptr);
  const Promise promise = follower.only<PersistPromise>()->promise;
  follower.durable(Address{100}, Epoch{2});
  EXPECT_EQ(follower.sent<Acknowledge>(kOne), nullptr);
  follower.feed(PromisePersisted{promise});
  ASSERT_NE(follower.sent<Acknowledge>(kOne), nullptr);
  EXPECT_EQ(follower.sent<Acknowledge>(kOne)->durable, Address{100});
}

TEST(Follower, RejectsALowerEpochThanPromisedAndSaysSo) {
  Driven follower(kTwo, {Address{64}, Address{64}, Epoch{0}}, Promise{Epoch{5}, kOne, 9});
  follower.feed(PeerConnected{kOne});
  follower.receive(kOne, Accept{Epoch{4}, Address{64}, Address{}});
  ASSERT_NE(follower.sent<Refuse>(kOne), nullptr);
  EXPECT_EQ(follower.sent<Refuse>(kOne)->reason, RefusalReason::kStaleEpoch);
  EXPECT_EQ(follower.sent<Refuse>(kOne)->epoch, Epoch{5});
  follower.receive(kOne, Data{Epoch{4}, Address{64}, bytes(10), Address{74}, Address{74}, 0});
  EXPECT_EQ(follower.only<AppendRaw>(), nullptr);
  EXPECT_EQ(follower.only<AdvanceCommitted>(), nullptr);
}

TEST(Follower, ObeysOneLeaderAnEpoch) {
  Driven follower(kTwo, {Address{64}, Address{64}, Epoch{0}}, Promise{Epoch{5}, kThree, 9});
  follower.feed(PeerConnected{kOne});
  follower.receive(kOne, Accept{Epoch{5}, Address{64}, Address{}});
  EXPECT_FALSE(follower.state().streaming);
  EXPECT_NE(follower.state().problem.find("two leaders"), std::string::npos);
}

TEST(Follower, AppendsWhatIsNewAndSkipsWhatItHas) {
  Driven follower(kTwo);
  follower.follow(Epoch{2});
  follower.receive(kOne, Data{Epoch{2}, Address{64}, bytes(36), Address{64}, Address{200}, 0});
  ASSERT_NE(follower.only<AppendRaw>(), nullptr);
  follower.receive(kOne, Data{Epoch{2}, Address{64}, bytes(100), Address{64}, Address{200}, 0});
  ASSERT_NE(follower.only<AppendRaw>(), nullptr);
  EXPECT_EQ(follower.only<AppendRaw>()->at, Address{100});
  EXPECT_EQ(follower.only<AppendRaw>()->skip, 36u);
  follower.receive(kOne, Data{Epoch{2}, Address{64}, bytes(100), Address{64}, Address{200}, 0});
  EXPECT_EQ(follower.only<AppendRaw>(), nullptr);
}

TEST(Follower, SubscribesAnewAcrossAGap) {
  Driven follower(kTwo);
  follower.follow(Epoch{2});
  follower.receive(kOne, Data{Epoch{2}, Address{90}, bytes(36), Address{64}, Address{200}, 0});
  EXPECT_EQ(follower.only<AppendRaw>(), nullptr);
  ASSERT_NE(follower.sent<Subscribe>(kOne), nullptr);
  EXPECT_EQ(follower.sent<Subscribe>(kOne)->durable, Address{64});
}

TEST(Follower, AcknowledgesWhatIsDurableAtOnce) {
  Driven follower(kTwo);
  follower.follow(Epoch{2});
  follower.receive(kOne, Data{Epoch{2}, Address{64}, bytes(36), Address{64}, Address{200}, 0});
  EXPECT_EQ(follower.sent<Acknowledge>(kOne), nullptr);
  follower.durable(Address{100}, Epoch{2});
  ASSERT_NE(follower.sent<Acknowledge>(kOne), nullptr);
  EXPECT_EQ(follower.sent<Acknowledge>(kOne)->durable, Address{100});
}

TEST(Follower, CommittedComesWithTheStreamAndMayPassItsDurableEnd) {
  Driven follower(kTwo);
  follower.follow(Epoch{2});
  follower.receive(kOne, Data{Epoch{2}, Address{64}, bytes(36), Address{100}, Address{100}, 0});
  ASSERT_NE(follower.only<AdvanceCommitted>(), nullptr);
  EXPECT_EQ(follower.only<AdvanceCommitted>()->committed, Address{100});
  EXPECT_EQ(follower.state().log.durable, Address{64});
}

TEST(Follower, SaysWhyItsLogWasRefusedAndAsksAgain) {
  Driven follower(kTwo);
  follower.feed(PeerConnected{kOne});
  follower.receive(kOne, Refuse{RefusalReason::kLogDiverges, Epoch{2}, "ends beyond"});
  EXPECT_NE(follower.state().problem.find("log refused"), std::string::npos);
  EXPECT_NE(follower.state().problem.find("ends beyond"), std::string::npos);
  EXPECT_NE(follower.only<StateChanged>(), nullptr);
  follower.feed(Tick{milliseconds(1050), Address{}});
  EXPECT_EQ(follower.sent<Subscribe>(kOne), nullptr);
  follower.feed(Tick{milliseconds(2500), Address{}});
  EXPECT_NE(follower.sent<Subscribe>(kOne), nullptr);
}

TEST(Follower, DialsAnewWhenTheLeaderIsSilent) {
  Driven follower(kTwo);
  follower.follow(Epoch{2});
  follower.feed(Tick{milliseconds(4100), Address{}});
  EXPECT_NE(follower.only<Disconnect>(), nullptr);
  EXPECT_NE(follower.only<Connect>(), nullptr);
  EXPECT_FALSE(follower.state().streaming);
}

TEST(Follower, BytesThatItsLogRefusesStopItAndTheReasonIsKept) {
  Driven follower(kTwo);
  follower.follow(Epoch{2});
  follower.receive(kOne, Data{Epoch{2}, Address{64}, bytes(36), Address{64}, Address{200}, 0});
  follower.feed(AppendFailed{Address{64}, "bad checksum at 64"});
  EXPECT_FALSE(follower.state().streaming);
  EXPECT_EQ(follower.state().received, Address{64});
  EXPECT_NE(follower.state().problem.find("bad checksum at 64"), std::string::npos);
  EXPECT_NE(follower.sent<Refuse>(kOne), nullptr);
}

}  // namespace
}  // namespace tailrace::replication
