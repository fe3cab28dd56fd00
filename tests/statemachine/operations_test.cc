// What each operation does and answers, on a real log and a real store.

#include <gtest/gtest.h>

#include "core/random.h"
#include "harness.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

class Operations : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Node::open(disk_, {});
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
  }
  std::string read(const std::string& key) {
    std::string value;
    const auto found = node_->machine().read(as_bytes(key), value);
    return found ? value : std::string("absent: ") + std::string(name_of(found.error().code));
  }
  Answer answer(const OwnedCommand& command) { return node_->answer(command); }

  testing::FaultFileSystem disk_{1};
  std::unique_ptr<Node> node_;
};

TEST_F(Operations, PutSetsAndOverwrites) {
  EXPECT_EQ(read("k"), "absent: not_found");
  EXPECT_EQ(answer(put("k", "one")), kDone);
  EXPECT_EQ(read("k"), "one");
  EXPECT_EQ(answer(put("k", std::string(5000, 'x'))), kDone);
  EXPECT_EQ(read("k"), std::string(5000, 'x'));
  EXPECT_EQ(answer(put("k", "")), kDone);
  EXPECT_EQ(read("k"), "");
}

TEST_F(Operations, DeleteSaysWhetherTheKeyWasThere) {
  const Answer absent{Outcome::kAbsent, false, {}};
  EXPECT_EQ(answer(erase("k")), absent);
  EXPECT_EQ(answer(put("k", "v")), kDone);
  EXPECT_EQ(answer(erase("k")), kDone);
  EXPECT_EQ(read("k"), "absent: not_found");
  EXPECT_EQ(answer(erase("k")), absent);
}

TEST_F(Operations, AddAnswersTheSumAndCountsAnAbsentKeyAsZero) {
  EXPECT_EQ(answer(add("n", -7)), (Answer{Outcome::kDone, true, "-7"}));
  EXPECT_EQ(answer(add("n", 10)), (Answer{Outcome::kDone, true, "3"}));
  EXPECT_EQ(read("n"), "3");
  EXPECT_EQ(answer(add("n", 0)), (Answer{Outcome::kDone, true, "3"}));
}

TEST_F(Operations, AddRefusesWhatIsNoIntegerOrWouldOverflowAndChangesNothing) {
  const Answer refused{Outcome::kNotAnInteger, false, {}};
  const std::string most = std::to_string(INT64_MAX);
  const std::string least = std::to_string(INT64_MIN);
  for (const std::string text :
       {"", "x", "1x", " 1", "+1", "1.0", "0x10", "9223372036854775808", "-9223372036854775809"}) {
    SCOPED_TRACE("'" + text + "'");
    EXPECT_EQ(answer(put("n", text)), kDone);
    EXPECT_EQ(answer(add("n", 1)), refused);
    EXPECT_EQ(read("n"), text);
  }
  EXPECT_EQ(answer(put("n", most)), kDone);
  EXPECT_EQ(answer(add("n", 1)), refused);
  EXPECT_EQ(read("n"), most);
  EXPECT_EQ(answer(add("n", INT64_MIN)), (Answer{Outcome::kDone, true, "-1"}));
  EXPECT_EQ(answer(put("n", least)), kDone);
  EXPECT_EQ(answer(add("n", -1)), refused);
  EXPECT_EQ(read("n"), least);
  EXPECT_EQ(answer(add("n", INT64_MAX)), (Answer{Outcome::kDone, true, "-1"}));
}

TEST_F(Operations, CasSetsOnlyWhatEqualsAndElseTellsThePresentValue) {
  EXPECT_EQ(answer(cas("k", "", "new")), (Answer{Outcome::kCasMismatch, false, {}}));
  EXPECT_EQ(read("k"), "absent: not_found");
  EXPECT_EQ(answer(put("k", "old")), kDone);
  EXPECT_EQ(answer(cas("k", "ol", "new")), (Answer{Outcome::kCasMismatch, true, "old"}));
  EXPECT_EQ(read("k"), "old");
  EXPECT_EQ(answer(cas("k", "old", "new")), kDone);
  EXPECT_EQ(read("k"), "new");
  EXPECT_EQ(answer(put("k", "")), kDone);
  EXPECT_EQ(answer(cas("k", "x", "y")), (Answer{Outcome::kCasMismatch, true, ""}));
  EXPECT_EQ(answer(cas("k", "", "y")), kDone);
  EXPECT_EQ(read("k"), "y");
}

// An empty value is a value: only a key that is not there is absent.
TEST_F(Operations, InsertSetsOnlyWhatIsAbsentAndElseTellsThePresentValue) {
  EXPECT_EQ(answer(insert("k", "first")), kDone);
  EXPECT_EQ(read("k"), "first");
  EXPECT_EQ(answer(insert("k", "second")), (Answer{Outcome::kCasMismatch, true, "first"}));
  EXPECT_EQ(read("k"), "first");
  EXPECT_EQ(answer(erase("k")), kDone);
  EXPECT_EQ(answer(insert("k", "")), kDone);
  EXPECT_EQ(answer(insert("k", "third")), (Answer{Outcome::kCasMismatch, true, ""}));
  EXPECT_EQ(read("k"), "");
}

// A repeat after a lost answer is the first one's: it does not lose to itself.
TEST_F(Operations, ARepeatedInsertIsAnsweredAsTheFirstTime) {
  EXPECT_EQ(answer(in_session(7, 1, insert("k", "mine"))), kDone);
  EXPECT_EQ(answer(in_session(7, 1, insert("k", "mine"))), kDone);
  const Answer lost{Outcome::kCasMismatch, true, "mine"};
  EXPECT_EQ(answer(in_session(8, 1, insert("k", "yours"))), lost);
  EXPECT_EQ(answer(erase("k")), kDone);
  EXPECT_EQ(answer(in_session(8, 1, insert("k", "yours"))), lost);
  EXPECT_EQ(read("k"), "absent: not_found");
}

TEST_F(Operations, EventsDoNotTouchTheState) {
  EXPECT_EQ(answer(put("stream", "value of a key")), kDone);
  const Pairs before = node_->replica().pairs();
  EXPECT_EQ(answer(event("stream", "something happened")), kDone);
  EXPECT_EQ(answer(event("", "")), kDone);
  EXPECT_EQ(node_->replica().pairs(), before);
  EXPECT_EQ(read("stream"), "value of a key");
}

// A user's key cannot reach the sessions or the log time, whatever bytes it has.
TEST_F(Operations, UserKeysAreApartFromTheStateMachinesOwn) {
  const std::string session_key = "s" + std::string(16, '\0');
  for (const std::string& key : {std::string("mlog_time"), session_key, std::string("u")}) {
    EXPECT_EQ(answer(put(key, "mine")), kDone);
    EXPECT_EQ(read(key), "mine");
    EXPECT_EQ(answer(erase(key)), kDone);
  }
  EXPECT_EQ(answer(in_session(0, 1, put("k", "v"))), kDone);
  EXPECT_EQ(read(session_key), "absent: not_found");
  EXPECT_EQ(node_->machine().session_count(), 1u);
}

// Records of a stranger's kind stand between the commands: the state machine passes over them.
TEST_F(Operations, RecordsThatAreNoCommandsArePassedOver) {
  const auto other = static_cast<fasterlog::RecordKind>(40);
  ASSERT_TRUE(node_->log().enqueue(other, as_bytes("no command")));
  ASSERT_TRUE(node_->log().enqueue(fasterlog::RecordKind::kEpochStart, as_bytes("opaque")));
  ASSERT_TRUE(node_->log().enqueue(fasterlog::RecordKind::kConfiguration, as_bytes("members")));
  EXPECT_EQ(answer(put("k", "v")), kDone);
  EXPECT_EQ(read("k"), "v");
}

// Several commands in one stretch: each answer stands at its own record's address.
TEST_F(Operations, AnswersStandAtTheirRecordsInOrder) {
  Model model;
  std::vector<std::pair<Address, Answer>> expected;
  for (int round = 0; round < 200; ++round) {
    const std::string key = "k" + std::to_string(round % 3);
    for (const OwnedCommand& command :
         {add(key, round), cas(key, "no", "yes"), event(key, "e"), erase("k" + key)}) {
      const auto range = append(node_->log(), command);
      ASSERT_TRUE(range) << range.error().message;
      expected.emplace_back(range->first, model.apply(command));
    }
  }
  ASSERT_TRUE(node_->settle());
  for (const auto& [address, answer] : expected)
    EXPECT_EQ(node_->replica().heard.at(address), answer) << "address " << address.value;
  EXPECT_EQ(node_->replica().pairs(), model.pairs());
}

// A batch of the log is applied like the commands one by one.
TEST_F(Operations, ABatchIsAppliedRecordByRecord) {
  std::vector<std::byte> first, second;
  encode(add("n", 1).view(), first);
  encode(add("n", 2).view(), second);
  const fasterlog::RecordView batch[] = {{kCommandRecord, first}, {kCommandRecord, second}};
  std::vector<Address> addresses;
  ASSERT_TRUE(node_->log().try_enqueue_batch(batch, &addresses));
  ASSERT_TRUE(node_->settle());
  EXPECT_EQ(node_->replica().heard.at(addresses[0]), (Answer{Outcome::kDone, true, "1"}));
  EXPECT_EQ(node_->replica().heard.at(addresses[1]), (Answer{Outcome::kDone, true, "3"}));
}

// Records are read in groups ahead of being applied, short ones copied and long ones not: whatever
// the mixture, each is applied once, with its own bytes, in its order.
TEST_F(Operations, ShortAndLongOnesInOneStretchKeepTheirOrderAndTheirBytes) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  Model model;
  std::vector<std::pair<Address, Answer>> expected;
  for (int i = 0; i < 500; ++i) {
    const std::string key = "k" + std::to_string(random.below(20));
    const size_t bytes = random.below(3) == 0 ? 1000 + random.below(60) : random.below(5000);
    const OwnedCommand command =
        random.below(8) == 0 ? cas(key, "no", "yes")
                             : put(key, std::string(bytes, static_cast<char>('a' + i % 26)));
    const auto range = append(node_->log(), command);
    ASSERT_TRUE(range) << range.error().message;
    const Answer answer = model.apply(command);
    if (answer != kDone) expected.emplace_back(range->first, answer);
  }
  ASSERT_TRUE(node_->settle());
  for (const auto& [address, answer] : expected)
    EXPECT_EQ(node_->replica().heard.at(address), answer) << "address " << address.value;
  EXPECT_EQ(node_->replica().pairs(), model.pairs());
}

}  // namespace
}  // namespace tailrace::statemachine
