// A node's state copied to another node (statemachine/state_copy.h): what arrives is the state, and
// a crash at any operation of the receiver's disk leaves what the header says.

#include "statemachine/state_copy.h"

#include <gtest/gtest.h>

#include "harness.h"
#include "storage/atomic_file.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

constexpr const char* kRoot = "/other";

Node::Options receiver_node() {
  Node::Options options;
  options.root = kRoot;
  options.log.owner = options.store.owner = "test/2";
  return options;
}

StateCopyOptions receiver() {
  Node::Options node = receiver_node();
  node.log.directory = node.root / "log";
  node.store.directory = node.root / "kv";
  return {node.root, node.log, node.store};
}

void fill(Node& node, int from, int until) {
  for (int i = from; i < until; ++i)
    (void)node.answer(
        in_session(7, static_cast<uint64_t>(i) + 1,
                   put("k" + std::to_string(i % 40), std::to_string(i) + std::string(200, 'v'))));
}

void configure(Node& node, const std::string& text) {
  EXPECT_TRUE(node.log().enqueue(fasterlog::RecordKind::kConfiguration, as_bytes(text)));
}

/// Some history, a checkpoint that truncates, and what came after it; each with a configuration.
std::unique_ptr<Node> source_node(storage::FileSystem& disk) {
  auto node = Node::open(disk, {});
  EXPECT_TRUE(node.has_value()) << node.error().message;
  if (!node) return nullptr;
  configure(**node, "of old");
  fill(**node, 0, 300);
  configure(**node, "in force");
  fill(**node, 300, 600);
  const auto taken = (*node)->checkpoint();
  EXPECT_TRUE(taken.has_value());
  EXPECT_GT((*node)->log().begin(), fasterlog::kFirstAddress);
  fill(**node, 600, 610);
  configure(**node, "later");
  fill(**node, 610, 620);
  EXPECT_TRUE((*node)->settle().has_value());
  return std::move(*node);
}

/// Takes what is still to be taken, `part` bytes at a time, saving after each.
Result<> receive(const StateCopySource& source, IncomingState& incoming, size_t part = 50'000) {
  std::vector<std::byte> bytes;
  while (incoming.received() < source.plan().bytes()) {
    bytes.resize(std::min<uint64_t>(part, source.plan().bytes() - incoming.received()));
    TAILRACE_RETURN_IF_ERROR(source.read(incoming.received(), bytes));
    TAILRACE_RETURN_IF_ERROR(incoming.write(bytes));
    TAILRACE_RETURN_IF_ERROR(incoming.save());
  }
  TAILRACE_RETURN_IF_ERROR(incoming.check());
  return incoming.commit();
}

/// The node that was installed has the state of the source's checkpoint, and comes to the source's
/// state by the source's log.
void expect_is_copy(storage::FileSystem& disk, Node& source, const StateCopyPlan& plan) {
  Node::Options options = receiver_node();
  options.log.directory = options.root / "log";
  options.store.directory = options.root / "kv";
  auto log = fasterlog::Log::open(disk, options.log);
  ASSERT_TRUE(log.has_value()) << log.error().message;
  EXPECT_EQ((*log)->begin(), plan.log.first);
  EXPECT_EQ((*log)->durable(), plan.log.end);
  EXPECT_EQ(*(*log)->configurations(), plan.configurations);
  auto replica = Replica::open(disk, **log, options.store, options.machine);
  ASSERT_TRUE(replica.has_value()) << replica.error().message;
  EXPECT_EQ((*replica)->watermarks.applied(), plan.applied);
  (*replica)->machine().start();
  ASSERT_TRUE((*log)->become_copy().has_value());
  std::vector<std::byte> bytes;
  ASSERT_TRUE(source.log().read_raw(plan.log.end, 1u << 20, bytes).has_value());
  ASSERT_TRUE((*log)->try_append_raw(plan.log.end, bytes).has_value());
  ASSERT_TRUE((*log)->wait_durable(source.log().durable()).has_value());
  ASSERT_TRUE((*replica)->apply_to(source.log().durable()).has_value());
  EXPECT_EQ((*replica)->pairs(), source.replica().pairs());
  const StateDigest one = (*replica)->state_digest(), other = source.replica().state_digest();
  EXPECT_EQ(one.high, other.high) << "sessions and answers included";
  EXPECT_EQ(one.low, other.low);
  EXPECT_EQ((*log)->configurations()->back(), source.log().configurations()->back());
}

TEST(StateCopy, WhatArrivesIsTheStateAndGoesOnByTheLog) {
  FaultFileSystem disk(1);
  const auto source = source_node(disk);
  ASSERT_NE(source, nullptr);
  const auto copy = source->machine().open_copy("test/1", 0);
  ASSERT_TRUE(copy.has_value()) << copy.error().message;
  const StateCopyPlan& plan = (*copy)->plan();
  EXPECT_LE(plan.log.first, plan.applied);
  EXPECT_LE(plan.applied, plan.log.end);
  ASSERT_EQ(plan.configurations.size(), 1u);
  EXPECT_EQ(to_string(plan.configurations[0].payload), "in force");
  ASSERT_TRUE(disk.make_directory(kRoot).has_value());
  {
    IncomingState incoming(disk, receiver());
    ASSERT_TRUE(incoming.begin(plan).has_value());
    const auto received = receive(**copy, incoming);
    ASSERT_TRUE(received.has_value()) << received.error().message;
  }
  const auto installed = install_state_copy(disk, receiver());
  ASSERT_TRUE(installed.has_value()) << installed.error().message;
  EXPECT_TRUE(*installed);
  expect_is_copy(disk, *source, plan);
  EXPECT_FALSE(install_state_copy(disk, receiver()).value()) << "once";
}

// What the receiver had is not touched before the copy is complete, and is given up as a whole
// afterwards, whatever the disk forgets and wherever the power goes.
TEST(StateCopy, ACrashAnywhereLeavesTheOldStateOrTheNew) {
  FaultFileSystem source_disk(1);
  const auto source = source_node(source_disk);
  ASSERT_NE(source, nullptr);
  const auto copy = source->machine().open_copy("test/1", 0);
  ASSERT_TRUE(copy.has_value());
  const StateCopyPlan& plan = (*copy)->plan();

  const auto prepare = [&](FaultFileSystem& disk) {
    auto node = Node::open(disk, receiver_node());
    ASSERT_TRUE(node.has_value());
    (void)(*node)->answer(put("old", "state"));
    ASSERT_TRUE((*node)->settle().has_value());
  };
  const auto transfer = [&](FaultFileSystem& disk) -> Result<> {
    TAILRACE_RETURN_IF_ERROR(install_state_copy(disk, receiver()).map([](bool) {}));
    IncomingState incoming(disk, receiver());
    TAILRACE_RETURN_IF_ERROR(incoming.load());
    if (incoming.plan() != plan) TAILRACE_RETURN_IF_ERROR(incoming.begin(plan));
    TAILRACE_RETURN_IF_ERROR(receive(**copy, incoming, 300'000));
    return install_state_copy(disk, receiver()).map([](bool) {});
  };
  uint64_t first = 0, last = 0;
  {
    FaultFileSystem disk(2);
    prepare(disk);
    first = disk.operations();
    ASSERT_TRUE(transfer(disk).has_value());
    last = disk.operations();
  }
  ASSERT_GT(last, first + 20);
  const uint64_t step = kSanitized ? 7 : 1;
  size_t old_state = 0, resumed = 0;
  for (const CrashPolicy policy : {CrashPolicy::kLoseUnsynced, CrashPolicy::kRandom}) {
    for (uint64_t at = first; at < last; at += step) {
      SCOPED_TRACE("power cut at operation " + std::to_string(at - first) + " of " +
                   std::to_string(last - first));
      FaultFileSystem disk(at);
      prepare(disk);
      disk.fail_at(at, FaultKind::kPowerCut);
      const auto cut = transfer(disk);
      disk.crash(policy);
      const auto installed = install_state_copy(disk, receiver());
      ASSERT_TRUE(installed.has_value()) << installed.error().message;
      IncomingState left(disk, receiver());
      ASSERT_TRUE(left.load().has_value());
      if (left.received() > 0) ++resumed;
      bool is_old = false;
      if (!*installed) {
        auto node = Node::open(disk, receiver_node());
        ASSERT_TRUE(node.has_value()) << node.error().message;
        is_old = (*node)->log().begin() == fasterlog::kFirstAddress;
        if (is_old) {
          ASSERT_TRUE((*node)->settle().has_value());
          EXPECT_EQ((*node)->replica().pairs(), (Pairs{{"old", "state"}}));
        }
      }
      if (is_old) {
        ++old_state;
        const auto again = transfer(disk);
        ASSERT_TRUE(again.has_value()) << again.error().message;
        expect_is_copy(disk, *source, plan);
      } else if (*installed) {
        expect_is_copy(disk, *source, plan);
      }
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_GT(old_state, 0u);
  EXPECT_GT(resumed, 0u) << "no crash left anything to go on with";
}

// No bit that is not as it was at the source becomes a node's state.
TEST(StateCopy, ADamagedCopyIsNotInstalled) {
  FaultFileSystem disk(1);
  const auto source = source_node(disk);
  ASSERT_NE(source, nullptr);
  const auto copy = source->machine().open_copy("test/1", 0);
  ASSERT_TRUE(copy.has_value());
  const StateCopyPlan& plan = (*copy)->plan();
  ASSERT_TRUE(disk.make_directory(kRoot).has_value());
  Random random(from_environment("TAILRACE_SEED", 5));
  for (int i = 0; i < 25; ++i) {
    // The last one is in the log's part.
    const uint64_t at = i == 24 ? plan.bytes() - 1 : random.below(plan.bytes());
    SCOPED_TRACE("byte " + std::to_string(at) + " of " + std::to_string(plan.bytes()));
    IncomingState incoming(disk, receiver());
    ASSERT_TRUE(incoming.begin(plan).has_value());
    std::vector<std::byte> bytes(plan.bytes());
    ASSERT_TRUE((*copy)->read(0, bytes).has_value());
    bytes[at] ^= std::byte{1};
    ASSERT_TRUE(incoming.write(bytes).has_value());
    EXPECT_FALSE(incoming.check().has_value());
    EXPECT_FALSE(incoming.commit().has_value()) << "what was not found good";
    EXPECT_FALSE(install_state_copy(disk, receiver()).value());
  }
}

StateCopyPlan good_plan() {
  StateCopyPlan good;
  good.token = 1;
  good.applied = Address{4096};
  good.log = {Address{4000}, Address{4104}};
  good.epochs = {{Epoch{1}, Address{64}}};
  good.configurations = {{Address{64}, Address{88}, Epoch{1}, {}},
                         {Address{3968}, Address{4000}, Epoch{1}, std::vector<std::byte>(3)}};
  good.files = {{"checkpoints/1/MANIFEST", 10}};
  return good;
}

TEST(StateCopy, NoPlanLeadsOutOfTheDirectoryOrBeyondWhatCanBe) {
  const StateCopyPlan good = good_plan();
  ASSERT_TRUE(check_plan(good).has_value());
  const auto refused = [&](auto change) {
    StateCopyPlan plan = good;
    change(plan);
    const auto checked = check_plan(plan);
    return !checked && checked.error().code == ErrorCode::kCorruption;
  };
  for (const char* name : {"", "/etc/passwd", "../log/x", "a/../../b", "./a"}) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(refused([&](StateCopyPlan& plan) { plan.files[0].name = name; }));
  }
  EXPECT_TRUE(refused([](StateCopyPlan& plan) { plan.token = 0; }));
  EXPECT_TRUE(refused([](StateCopyPlan& plan) { plan.files.clear(); }));
  EXPECT_TRUE(refused([](StateCopyPlan& plan) { plan.files[0].bytes = ~uint64_t{0}; }));
  EXPECT_TRUE(refused([](StateCopyPlan& plan) { plan.applied = Address{3000}; }));
  EXPECT_TRUE(refused([](StateCopyPlan& plan) { plan.log.end = Address{4088}; }));
  EXPECT_TRUE(refused([](StateCopyPlan& plan) { plan.epochs[0].start = Address{4000}; }));
  EXPECT_TRUE(refused([](StateCopyPlan& plan) {
    plan.epochs.push_back({Epoch{1}, Address{128}});
  }));
  EXPECT_TRUE(refused([](StateCopyPlan& plan) {
    plan.configurations[1].start = Address{3976};
    plan.configurations[1].end = Address{4008};
  })) << "one that is not in force where the log begins";
  EXPECT_TRUE(refused(
      [](StateCopyPlan& plan) { std::swap(plan.configurations[0], plan.configurations[1]); }));
  EXPECT_TRUE(refused([](StateCopyPlan& plan) { plan.configurations[1].payload.resize(9); }));
  EXPECT_TRUE(refused([](StateCopyPlan& plan) {
    plan.applied = plan.log.first = Address{1u << 20};
    plan.log.end = plan.log.first + 8;
    plan.configurations[1].payload.resize(fasterlog::kMostConfigurationBytes + 1);
    plan.configurations[1].end =
        plan.configurations[1].start + 24 + fasterlog::kMostConfigurationBytes + 8;
  }));
}

// What is copied has the configuration in it: who has a part of a copy with another one, or from a
// source that told none, does not go on with this one.
TEST(StateCopy, TheFingerprintCoversTheConfiguration) {
  FaultFileSystem disk(1);
  const auto source = source_node(disk);
  ASSERT_NE(source, nullptr);
  const auto copy = source->machine().open_copy("test/1", 0);
  ASSERT_TRUE(copy.has_value());
  const auto files = source->replica().store().open_checkpoint_source((*copy)->plan().token);
  ASSERT_TRUE(files.has_value());
  EXPECT_NE((*copy)->plan().fingerprint, (*files)->fingerprint());
}

// A plan that is gone on with after a restart has its configurations; without any it is one that
// an older program can go on with too.
TEST(StateCopy, APlanIsTheSameAfterARestart) {
  constexpr uint32_t kKind = storage::four_letters("COPY");
  FaultFileSystem disk(1);
  ASSERT_TRUE(disk.make_directory(kRoot).has_value());
  StateCopyPlan plan = good_plan();
  for (const uint32_t version : {2u, 1u}) {
    SCOPED_TRACE(version);
    if (version == 1) plan.configurations.clear();
    {
      IncomingState incoming(disk, receiver());
      ASSERT_TRUE(incoming.begin(plan).has_value());
      ASSERT_TRUE(incoming.save().has_value());
    }
    IncomingState again(disk, receiver());
    ASSERT_TRUE(again.load().has_value());
    EXPECT_EQ(again.plan(), plan);
    const storage::Path path = storage::Path(kRoot) / "STATE-COPY";
    const auto saved = storage::read_atomic_file(disk, path, {kKind, 2});
    ASSERT_TRUE(saved.has_value());
    EXPECT_EQ(saved->version, version);
    // And one that says less than it is to, or more, installs nothing.
    for (const size_t bytes : {saved->bytes.size() - 1, saved->bytes.size() + 1}) {
      auto changed = saved->bytes;
      changed.resize(bytes);
      ASSERT_TRUE(storage::replace_atomic_file(disk, path, {kKind, version}, changed).has_value());
      EXPECT_EQ(again.load().error().code, ErrorCode::kCorruption);
      EXPECT_EQ(install_state_copy(disk, receiver()).error().code, ErrorCode::kCorruption);
    }
    ASSERT_TRUE(storage::replace_atomic_file(disk, path, {kKind, 3}, saved->bytes).has_value());
    EXPECT_EQ(install_state_copy(disk, receiver()).error().code, ErrorCode::kUnsupported);
  }
}

TEST(StateCopy, AFullDiskIsToldBeforeAnythingIsCopied) {
  FaultFileSystem disk(1);
  const auto source = source_node(disk);
  ASSERT_NE(source, nullptr);
  const auto copy = source->machine().open_copy("test/1", 0);
  ASSERT_TRUE(copy.has_value());
  FaultFileSystem small(2);
  ASSERT_TRUE(small.make_directory(kRoot).has_value());
  small.set_capacity(64u << 10);
  IncomingState incoming(small, receiver());
  const auto refused = incoming.begin((*copy)->plan());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_FALSE(incoming.has_plan());
}

// What is complete is said so, and installed, also where nothing more fits.
TEST(StateCopy, AFullDiskStillTakesTheWordThatTheCopyIsComplete) {
  FaultFileSystem source_disk(1);
  const auto source = source_node(source_disk);
  ASSERT_NE(source, nullptr);
  const auto copy = source->machine().open_copy("test/1", 0);
  ASSERT_TRUE(copy.has_value());
  FaultFileSystem disk(2);
  ASSERT_TRUE(disk.make_directory(kRoot).has_value());
  IncomingState incoming(disk, receiver());
  ASSERT_TRUE(incoming.begin((*copy)->plan()).has_value());
  std::vector<std::byte> bytes((*copy)->plan().bytes());
  ASSERT_TRUE((*copy)->read(0, bytes).has_value());
  ASSERT_TRUE(incoming.write(bytes).has_value() && incoming.save().has_value());
  ASSERT_TRUE(incoming.check().has_value());
  disk.fill();
  const auto committed = incoming.commit();
  ASSERT_TRUE(committed.has_value()) << committed.error().message;
  disk.crash(CrashPolicy::kLoseUnsynced);
  EXPECT_TRUE(install_state_copy(disk, receiver()).value());
}

}  // namespace
}  // namespace tailrace::statemachine
