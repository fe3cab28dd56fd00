// Exactly once: what a client's session remembers, also through a checkpoint, a crash and a replay.

#include <gtest/gtest.h>

#include "harness.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

using testing::CrashPolicy;

const Answer kGap{Outcome::kSerialGap, false, {}};
const Answer kForgotten{Outcome::kAnswerForgotten, false, {}};

class Sessions : public ::testing::Test {
 protected:
  void SetUp() override { reopen(); }

  void reopen() {
    auto opened = Node::open(disk_, options_);
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
    ASSERT_TRUE(node_->settle());
  }
  void crash() {
    node_.reset();
    disk_.crash(CrashPolicy::kLoseUnsynced);
    reopen();
  }
  Answer answer(const OwnedCommand& command) { return node_->answer(command); }
  std::string read(const std::string& key) {
    std::string value;
    return node_->machine().read(as_bytes(key), value) ? value : "absent";
  }

  testing::FaultFileSystem disk_{1};
  Node::Options options_;
  std::unique_ptr<Node> node_;
};

TEST_F(Sessions, AReplayedSerialIsNotAppliedTwiceAndHearsTheSameAnswer) {
  Model model;
  const OwnedCommand commands[] = {
      in_session(7, 1, add("n", 5)),          in_session(7, 2, put("k", "v")),
      in_session(7, 3, cas("k", "x", "y")),   in_session(7, 4, erase("nothing")),
      in_session(7, 5, cas("none", "", "y")), in_session(7, 6, event("stream", "e")),
      in_session(7, 7, erase("k")),
  };
  std::vector<Answer> first;
  for (const OwnedCommand& command : commands) {
    first.push_back(answer(command));
    EXPECT_EQ(first.back(), model.apply(command));
    EXPECT_EQ(answer(command), first.back()) << "sent twice at once";
  }
  for (size_t i = 0; i < std::size(commands); ++i)
    EXPECT_EQ(answer(commands[i]), first[i]) << "serial " << i + 1;
  // The replay is known by its serial, not by what it says.
  EXPECT_EQ(answer(in_session(7, 1, put("n", "other"))), first[0]);
  EXPECT_EQ(node_->replica().pairs(), model.pairs());
}

TEST_F(Sessions, AGapIsRefusedAndDoesNothing) {
  EXPECT_EQ(answer(in_session(7, 1, add("n", 1))), (Answer{Outcome::kDone, true, "1"}));
  EXPECT_EQ(answer(in_session(7, 3, add("n", 1))), kGap);
  EXPECT_EQ(read("n"), "1");
  EXPECT_EQ(answer(in_session(7, 2, add("n", 1))), (Answer{Outcome::kDone, true, "2"}));
  EXPECT_EQ(answer(in_session(7, 3, add("n", 1))), (Answer{Outcome::kDone, true, "3"}));
}

TEST_F(Sessions, AnUnknownSessionBeginsAtSerialOne) {
  EXPECT_EQ(answer(in_session(7, 2, add("n", 1))), kExpired);
  EXPECT_EQ(read("n"), "absent");
  EXPECT_EQ(node_->machine().session_count(), 0u);
  EXPECT_EQ(answer(in_session(7, 1, add("n", 1))), (Answer{Outcome::kDone, true, "1"}));
  EXPECT_EQ(node_->machine().session_count(), 1u);
}

TEST_F(Sessions, ClientsDoNotDisturbEachOther) {
  const SessionSerial high{{1, 0}, 1}, low{{0, 1}, 1};
  OwnedCommand command = add("n", 1);
  command.session = high;
  EXPECT_EQ(answer(command), (Answer{Outcome::kDone, true, "1"}));
  command.session = low;
  EXPECT_EQ(answer(command), (Answer{Outcome::kDone, true, "2"}));
  command.session = high;
  EXPECT_EQ(answer(command), (Answer{Outcome::kDone, true, "1"}));
  EXPECT_EQ(node_->machine().session_count(), 2u);
}

TEST_F(Sessions, ADigestInASessionIsAppliedOnceAndComputedEachTime) {
  const auto first = node_->run(in_session(7, 1, digest()));
  const auto again = node_->run(in_session(7, 1, digest()));
  ASSERT_TRUE(first && again);
  EXPECT_EQ(first->second, kDone);
  EXPECT_EQ(again->second, kDone);
  EXPECT_TRUE(node_->machine().digest_at(first->first.end));
  EXPECT_TRUE(node_->machine().digest_at(again->first.end));
}

// Only answers that say more than "done" take room; the oldest of them go first.
TEST_F(Sessions, AnAnswerThatIsNoMoreKeptIsForgottenAndNotInvented) {
  options_.machine.session_answers = 2;
  node_.reset();
  reopen();
  EXPECT_EQ(answer(in_session(7, 1, add("n", 1))), (Answer{Outcome::kDone, true, "1"}));
  EXPECT_EQ(answer(in_session(7, 2, put("k", "v"))), kDone);
  EXPECT_EQ(answer(in_session(7, 3, add("n", 1))), (Answer{Outcome::kDone, true, "2"}));
  EXPECT_EQ(answer(in_session(7, 1, add("n", 1))), (Answer{Outcome::kDone, true, "1"}));
  EXPECT_EQ(answer(in_session(7, 4, add("n", 1))), (Answer{Outcome::kDone, true, "3"}));
  const auto check = [&] {
    EXPECT_EQ(answer(in_session(7, 1, add("n", 1))), kForgotten);
    EXPECT_EQ(answer(in_session(7, 2, put("k", "v"))), kDone);
    EXPECT_EQ(answer(in_session(7, 3, add("n", 1))), (Answer{Outcome::kDone, true, "2"}));
    EXPECT_EQ(answer(in_session(7, 4, add("n", 1))), (Answer{Outcome::kDone, true, "3"}));
    EXPECT_EQ(read("n"), "3");
  };
  check();
  ASSERT_TRUE(node_->checkpoint());
  crash();
  check();
}

TEST_F(Sessions, AnswersOfOneSessionTakeABoundedRoom) {
  const std::string large(20'000, 'x');
  EXPECT_EQ(answer(put("k", large)), kDone);
  const Answer mismatch{Outcome::kCasMismatch, true, large};
  for (uint64_t serial = 1; serial <= 5; ++serial)
    EXPECT_EQ(answer(in_session(7, serial, cas("k", "no", "yes"))), mismatch);
  // Three of these fit in 64 KiB.
  EXPECT_EQ(answer(in_session(7, 2, cas("k", "no", "yes"))), kForgotten);
  EXPECT_EQ(answer(in_session(7, 3, cas("k", "no", "yes"))), mismatch);
  // A large one pushes out as many as it takes.
  ASSERT_EQ(answer(put("k", std::string(40'000, 'y'))), kDone);
  EXPECT_EQ(answer(in_session(7, 6, cas("k", "no", "yes"))).value.size(), 40'000u);
  EXPECT_EQ(answer(in_session(7, 5, cas("k", "no", "yes"))), mismatch);
  EXPECT_EQ(answer(in_session(7, 4, cas("k", "no", "yes"))), kForgotten);
}

// The table is part of the checkpoint: of the same address as the data that it guards.
TEST_F(Sessions, SurviveACheckpointACrashAndTheReplayOfTheRest) {
  Model model;
  std::vector<OwnedCommand> sent;
  uint64_t serials[4] = {};
  const auto send = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const uint64_t client = static_cast<uint64_t>(i % 4);
      const uint64_t serial = ++serials[client];
      const std::string key = "k" + std::to_string(i % 7);
      sent.push_back(in_session(client, serial,
                                i % 3 == 0   ? add("n", i)
                                : i % 3 == 1 ? erase(key)
                                             : put(key, "v")));
      ASSERT_EQ(answer(sent.back()), model.apply(sent.back()));
    }
  };
  const auto replay_all = [&] {
    for (const OwnedCommand& command : sent)
      ASSERT_EQ(answer(command), model.apply(command)) << "serial " << command.session->serial;
    ASSERT_EQ(node_->replica().pairs(), model.pairs());
    ASSERT_EQ(node_->machine().session_count(), 4u);
  };
  send(40);
  crash();  // no checkpoint: all of it is replayed
  replay_all();
  send(40);
  ASSERT_TRUE(node_->checkpoint());
  crash();  // nothing is replayed
  replay_all();
  send(40);
  crash();  // a part is replayed
  replay_all();
}

}  // namespace
}  // namespace tailrace::statemachine
