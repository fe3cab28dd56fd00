// What one node sends another one arrives, unchanged and in order.

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "rpc/peer/codec.h"
#include "rpc/wire/message.h"
#include "tests/rpc/peer/transport_side.h"

namespace tailrace::rpc {
namespace {

using namespace std::chrono_literals;
using testing::Side;

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
    EXPECT_TRUE(std::ranges::equal(*data.bytes, *bytes));
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

}  // namespace
}  // namespace tailrace::rpc
