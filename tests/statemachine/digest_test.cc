// Digests: what nodes compare to find out that they hold the same.

#include <gtest/gtest.h>

#include "harness.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::statemachine {
namespace {

bool always() {
  return true;
}

class DigestTest : public ::testing::Test {
 protected:
  void SetUp() override { open(); }
  void open() {
    node_.reset();
    auto opened = Node::open(disk_, options_);
    ASSERT_TRUE(opened) << opened.error().message;
    node_ = std::move(*opened);
    ASSERT_TRUE(node_->settle());
  }
  StateDigest digest_now() {
    const auto done = node_->run(digest());
    EXPECT_TRUE(done.has_value());
    const auto found = node_->machine().digest_at(done->first.end);
    EXPECT_TRUE(found.has_value());
    EXPECT_EQ(found->address, done->first.end);
    return *found;
  }

  testing::FaultFileSystem disk_{1};
  ManualClock clock_;
  Node::Options options_;
  std::unique_ptr<Node> node_;
};

TEST_F(DigestTest, AnotherNodeComputesTheSameAtTheSameAddress) {
  auto other = Replica::open(disk_, node_->log(), small_store("/other"), quiet());
  ASSERT_TRUE(other);
  (*other)->machine().start();
  std::vector<StateDigest> digests;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(node_->run(put("k" + std::to_string(i % 4), std::string(i, 'v'))));
    ASSERT_TRUE(node_->run(in_session(static_cast<uint64_t>(i), 1, add("n", 1))));
    digests.push_back(digest_now());
  }
  ASSERT_TRUE(node_->settle());
  ASSERT_TRUE((*other)->apply_to(node_->replica().watermarks.applied()));
  for (const StateDigest& digest : digests) {
    const auto same = (*other)->machine().digest_at(digest.address);
    ASSERT_TRUE(same);
    EXPECT_EQ(same->pairs, digest.pairs);
    EXPECT_EQ(same->high, digest.high);
    EXPECT_EQ(same->low, digest.low);
  }
}

// Whatever differs shows: a value, a key, a session, and bytes that moved from key to value.
TEST_F(DigestTest, DifferentStatesDiffer) {
  options_.clock =
      &clock_;  // it stands still: a state that differs by its log time alone is no test
  open();
  ASSERT_TRUE(node_->run(event("s", "e")));
  ASSERT_TRUE(node_->settle());
  std::set<std::pair<uint64_t, uint64_t>> seen;
  const auto expect_new = [&](const char* what) {
    const StateDigest digest = node_->replica().state_digest();
    EXPECT_TRUE(seen.emplace(digest.high, digest.low).second) << what;
  };
  expect_new("nothing");
  for (const OwnedCommand& command :
       {put("ab", "c"), put("a", "bc"), put("b", ""), put("b", std::string(1, '\0')),
        in_session(1, 1, event("s", "e")), in_session(1, 2, event("s", "e"))}) {
    ASSERT_TRUE(node_->run(command));
    ASSERT_TRUE(node_->settle());
    expect_new("after a command");
  }
}

TEST_F(DigestTest, OnlyTheAddressesOfRecentDigestsAreKnown) {
  const StateDigest first = digest_now();
  EXPECT_EQ(node_->machine().digest_at(first.address + 8).error().code, ErrorCode::kNotFound);
  const auto plain = node_->run(put("k", "v"));
  ASSERT_TRUE(plain);
  EXPECT_EQ(node_->machine().digest_at(plain->first.end).error().code, ErrorCode::kNotFound);
  for (int i = 0; i < 63; ++i)
    digest_now();
  EXPECT_TRUE(node_->machine().digest_at(first.address));
  digest_now();
  EXPECT_EQ(node_->machine().digest_at(first.address).error().code, ErrorCode::kNotFound);
}

// The digest is of the moment at which its record is applied, not of a later one.
TEST_F(DigestTest, IsOfItsOwnAddressAlsoAfterAReplay) {
  ASSERT_TRUE(node_->run(put("k", "v")));
  const StateDigest before = digest_now();
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE(node_->run(put("k" + std::to_string(i), "later")));
  open();
  const auto again = node_->machine().digest_at(before.address);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->pairs, before.pairs);
  EXPECT_EQ(again->high, before.high);
  EXPECT_EQ(again->low, before.low);
}

/// A log on the real disk whose bytes are those of another one.
class LogDigest : public DigestTest {
 protected:
  void SetUp() override {
    DigestTest::SetUp();
    for (int i = 0; i < 40; ++i)
      ASSERT_TRUE(node_->run(put("k" + std::to_string(i), std::string(8000, 'v'))));
    ASSERT_TRUE(node_->settle());
    end_ = node_->log().durable();
  }
  Address end_;
};

TEST_F(LogDigest, OfACopyIsTheSame) {
  testing::TemporaryDirectory directory;
  auto copy =
      fasterlog::Log::open(storage::posix_file_system(), small_log(directory.path() / "log"));
  ASSERT_TRUE(copy) << copy.error().message;
  ASSERT_TRUE((*copy)->become_copy());
  std::vector<std::byte> bytes;
  std::vector<Address> ends;
  while ((*copy)->tail() < end_) {
    const Address at = (*copy)->tail();
    ASSERT_TRUE(node_->log().read_raw(at, 20'000, bytes));
    ASSERT_TRUE((*copy)->try_append_raw(at, bytes));
    ASSERT_TRUE((*copy)->wait_durable((*copy)->tail(), soon()));
    ends.push_back((*copy)->tail());
  }
  auto replica = Replica::open(storage::posix_file_system(), **copy,
                               small_store(directory.path() / "kv"), quiet());
  ASSERT_TRUE(replica) << replica.error().message;
  std::set<std::pair<uint64_t, uint64_t>> seen;
  for (const Address end : ends) {
    const AddressRange range{fasterlog::kFirstAddress, end};
    const auto one = node_->machine().log_digest(range, always);
    const auto other = (*replica)->machine().log_digest(range, always);
    ASSERT_TRUE(one && other);
    EXPECT_EQ(*one, *other);
    EXPECT_TRUE(seen.insert(*one).second) << "another range has the same";
    const auto rest = node_->machine().log_digest({end, end_}, always);
    ASSERT_TRUE(rest);
    EXPECT_EQ(*rest, *(*replica)->machine().log_digest({end, end_}, always));
  }
}

TEST_F(LogDigest, RefusesWhatIsNotThere) {
  const auto code = [&](Address first, Address end) {
    const auto digest = node_->machine().log_digest({first, end}, always);
    return digest ? std::string("ok") : std::string(name_of(digest.error().code));
  };
  EXPECT_EQ(code(fasterlog::kFirstAddress, end_), "ok");
  EXPECT_EQ(code(end_, end_), "ok");
  EXPECT_EQ(code(fasterlog::kFirstAddress, end_ + 8), "out_of_range");
  EXPECT_EQ(code(end_, fasterlog::kFirstAddress), "invalid_argument");
  EXPECT_EQ(code(fasterlog::kFirstAddress + 8, end_), "corruption");
  ASSERT_TRUE(node_->checkpoint());
  EXPECT_EQ(code(fasterlog::kFirstAddress, end_), "truncated");
  EXPECT_EQ(code(node_->log().begin(), end_), "ok");
}

}  // namespace
}  // namespace tailrace::statemachine
