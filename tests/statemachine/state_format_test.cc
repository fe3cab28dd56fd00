// State that an older version has left is read, and becomes what this version would have made of
// the same log; that of a newer one is refused.

#include <gtest/gtest.h>

#include "harness.h"
#include "statemachine/applier.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

TEST(StateValue, HasTheDocumentedLayout) {
  std::string stored;
  encode_state_value({as_bytes("ab")}, stored);
  EXPECT_EQ(stored, std::string("\0ab", 3));
  encode_state_value({as_bytes("ab"), 0x0102}, stored);
  EXPECT_EQ(stored, std::string("\1\2\1\0\0\0\0\0\0ab", 11));
  for (size_t length = 1; length < 9; ++length)
    EXPECT_FALSE(decode_state_value(as_bytes(stored).first(length)));
  encode_state_value({as_bytes("ab"), 0, 0x0304}, stored);
  EXPECT_EQ(stored, std::string("\2\4\3\0\0\0\0\0\0ab", 11));
  encode_state_value({as_bytes("ab"), 0x0102, 0x0304}, stored);
  EXPECT_EQ(stored, std::string("\3\2\1\0\0\0\0\0\0\4\3\0\0\0\0\0\0ab", 19));
  const auto both = decode_state_value(as_bytes(stored));
  ASSERT_TRUE(both);
  EXPECT_EQ(std::pair(both->expires_at_ns, both->modified_at),
            std::pair(uint64_t{0x0102}, uint64_t{0x0304}));
  for (size_t length = 1; length < kMostStateValueOverhead; ++length)
    EXPECT_FALSE(decode_state_value(as_bytes(stored).first(length)));
  EXPECT_FALSE(decode_state_value({}));
  EXPECT_FALSE(decode_state_value(as_bytes("\4ab")));
}

class StateFormat : public ::testing::Test {
 protected:
  void SetUp() override { options_.anchors = {{"transfer:test", Address{0}}}; }
  Result<> open() {
    node_.reset();
    auto opened = Node::open(disk_, options_);
    if (!opened) return tl::unexpected(opened.error());
    node_ = std::move(*opened);
    return node_->settle();
  }
  /// Changes the pairs of the newest checkpoint behind the state machine's back.
  void rewrite(const std::function<void(kv::Session&, kv::Serial, const Pairs&)>& change) {
    node_.reset();
    kv::StoreOptions options = options_.store;
    options.directory = options_.root / "kv";
    auto store = kv::Store::open(disk_, options);
    ASSERT_TRUE(store) << store.error().message;
    Pairs pairs;
    ASSERT_TRUE((*store)->for_each(
        [&](ByteSpan key, ByteSpan value) { pairs[to_string(key)] = to_string(value); }));
    auto session = (*store)->start_session(kApplierSession);
    ASSERT_TRUE(session);
    change(**session, (*session)->last_serial() + 1, pairs);
    session->reset();
    auto taken = std::make_shared<std::promise<bool>>();
    kv::CheckpointRequest request;
    request.hooks.done = [taken](const Result<kv::CheckpointInfo>& info) {
      taken->set_value(info.has_value());
    };
    ASSERT_TRUE((*store)->start_checkpoint(std::move(request)));
    ASSERT_TRUE(taken->get_future().get());
  }

  testing::FaultFileSystem disk_{1};
  Node::Options options_;
  std::unique_ptr<Node> node_;
};

template <typename T>
void append_number(std::string& to, T number) {
  to.append(reinterpret_cast<const char*>(&number), sizeof number);
}

TEST_F(StateFormat, StateOfTheFirstFormatBecomesThePresentOne) {
  ASSERT_TRUE(open());
  Model model;
  const OwnedCommand commands[] = {put("a", "1"),
                                   put("empty", ""),
                                   in_session(7, 1, add("n", 5)),
                                   in_session(7, 2, put("k", "v")),
                                   in_session(7, 3, cas("k", "x", "y")),
                                   in_session(8, 1, erase("nothing"))};
  std::vector<Answer> answers;
  for (const OwnedCommand& command : commands) {
    answers.push_back(node_->answer(command));
    ASSERT_EQ(answers.back(), model.apply(command));
  }
  ASSERT_TRUE(node_->settle());
  ASSERT_TRUE(node_->checkpoint());

  rewrite([](kv::Session& session, kv::Serial at, const Pairs& pairs) {
    std::map<std::string, std::string> answers_of;
    std::map<std::string, uint32_t> count_of;
    for (const auto& [key, value] : pairs) {
      if (key[0] != kAnswerKey) continue;
      const std::string client = key.substr(1, 16);
      std::string& list = answers_of[client];
      list += key.substr(17) + value.substr(0, 2);
      append_number(list, static_cast<uint32_t>(value.size() - 2));
      list += value.substr(2);
      ++count_of[client];
      ASSERT_TRUE(session.erase(as_bytes(key), at));
    }
    ASSERT_EQ(count_of.size(), 2u);
    for (const auto& [key, value] : pairs) {
      std::string old = value;
      if (key[0] == kUserKey) {
        old = value.substr(1);
      } else if (key[0] == kSessionKey) {
        append_number(old, count_of[key.substr(1)]);
        old += answers_of[key.substr(1)];
      } else {
        continue;
      }
      ASSERT_TRUE(session.upsert(as_bytes(key), as_bytes(old), at));
    }
    ASSERT_TRUE(session.erase(as_bytes("mformat"), at));
  });

  const auto opened = open();
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(node_->replica().pairs(), model.pairs());
  for (size_t i = 0; i < std::size(commands); ++i) {
    if (commands[i].session) {
      EXPECT_EQ(node_->answer(commands[i]), answers[i]);
    }
  }
  ASSERT_TRUE(node_->settle());
  const auto compare = [&](const char* where) {
    auto whole = Replica::open(disk_, node_->log(), small_store(where), quiet());
    ASSERT_TRUE(whole) << whole.error().message;
    (*whole)->machine().start();
    ASSERT_TRUE((*whole)->apply_to(node_->replica().watermarks.applied()));
    const StateDigest one = node_->replica().state_digest();
    const StateDigest other = (*whole)->state_digest();
    EXPECT_EQ(one.pairs, other.pairs);
    EXPECT_EQ(one.high, other.high);
    EXPECT_EQ(one.low, other.low);
  };
  compare("/whole");
  // And once more from a checkpoint of it.
  ASSERT_TRUE(node_->checkpoint());
  ASSERT_TRUE(open());
  EXPECT_EQ(node_->replica().pairs(), model.pairs());
  compare("/again");
}

TEST_F(StateFormat, StateOfANewerFormatIsRefused) {
  ASSERT_TRUE(open());
  ASSERT_TRUE(node_->run(put("a", "1")));
  ASSERT_TRUE(node_->checkpoint());
  rewrite([](kv::Session& session, kv::Serial at, const Pairs&) {
    std::string newer;
    append_number(newer, kStateFormat + 1);
    ASSERT_TRUE(session.upsert(as_bytes("mformat"), as_bytes(newer), at));
  });
  const auto opened = open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported) << opened.error().message;
}

}  // namespace
}  // namespace tailrace::statemachine
