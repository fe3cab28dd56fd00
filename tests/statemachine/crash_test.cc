// A crash or a failing disk at every operation of the disk, while commands are applied, checkpoints
// are taken and the log is truncated.

#include <gtest/gtest.h>

#include "harness.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

struct Appended {
  AddressRange range;
  OwnedCommand command;
};

struct History {
  std::vector<Appended> appended;  // of all commands, in order
  size_t acknowledged = 0;         // so many answers were heard
  Address checkpoint;              // the newest that was reported
  Address begin;                   // of the log, after it
  uint64_t serial = 0;
  bool failed = false;
};

OwnedCommand command_number(History& history) {
  const size_t i = history.appended.size();
  const std::string key = "k" + std::to_string(i % 5);
  // Some are large, so that the log has segments to lose.
  const std::string value = std::to_string(i) + std::string(i % 3 == 0 ? 9000 : 10, 'v');
  switch (i % 6) {
    case 1:
      return in_session(1, ++history.serial, add("count", 1));
    case 3:
      return erase(key);
    case 4:
      return cas(key, "no", value);
    case 5:
      return in_session(1, ++history.serial, put(key, value));
    default:
      return put(key, value);
  }
}

/// Appends, waits for the answer, compares it. False when the node refuses.
bool run_commands(Node& node, History& history, Model& model, int count) {
  for (int i = 0; i < count; ++i) {
    const OwnedCommand command = command_number(history);
    const auto range = append(node.log(), command);
    if (!range) return false;
    history.appended.push_back({*range, command});
    const Answer expected = model.apply(command);
    if (!node.log().wait_durable(range->end, soon())) return false;
    if (!node.machine().wait_applied(range->end, soon())) return false;
    EXPECT_EQ(node.replica().heard.at(range->first), expected);
    history.acknowledged = history.appended.size();
  }
  return true;
}

/// Commands, a checkpoint and its truncation, commands, a restart, commands, a second checkpoint,
/// commands.
History run_scenario(FaultFileSystem& disk) {
  History history;
  Model model;
  const auto part = [&](int before, int after) {
    auto node = Node::open(disk, {});
    if (!node || !run_commands(**node, history, model, before)) return false;
    const auto taken = (*node)->checkpoint();
    if (!taken) {
      EXPECT_FALSE((*node)->machine().failure()) << "the applier is not to blame";
      return false;
    }
    history.checkpoint = *taken;
    history.begin = (*node)->log().begin();
    return run_commands(**node, history, model, after) && !(*node)->log().failure();
  };
  history.failed = !part(20, 6) || !part(14, 6);
  return history;
}

/// What is to be found after the crash.
void check_reopened(FaultFileSystem& disk, const History& history) {
  auto log = fasterlog::Log::open(disk, small_log("/node/log"));
  ASSERT_TRUE(log) << log.error().message;
  const Address end = (*log)->durable();
  auto opened = Replica::open(disk, **log, small_store("/node/kv"), quiet());
  ASSERT_TRUE(opened) << opened.error().message;
  Replica& replica = **opened;
  const Address point = replica.watermarks.applied();
  ASSERT_GE(point, history.checkpoint) << "a published checkpoint is missing";
  ASSERT_LE((*log)->begin(), point) << "the log does not reach back";

  // The checkpoint is a prefix: all commands that end at or below its point, and no other.
  Model model;
  size_t next = 0;
  for (; next < history.appended.size() && history.appended[next].range.end <= point; ++next)
    model.apply(history.appended[next].command);
  ASSERT_EQ(replica.pairs(), model.pairs()) << "at the checkpoint's point " << point.value;
  // And so is the state at each further address.
  replica.machine().start();
  for (; next < history.appended.size() && history.appended[next].range.end <= end; ++next) {
    const Appended& appended = history.appended[next];
    ASSERT_TRUE(replica.apply_to(appended.range.end));
    ASSERT_EQ(replica.heard.at(appended.range.first), model.apply(appended.command));
    ASSERT_EQ(replica.pairs(), model.pairs()) << "at address " << appended.range.end.value;
  }
  ASSERT_GE(next, history.acknowledged) << "what was acknowledged is lost";
  ASSERT_TRUE(replica.apply_to(end));
}

/// The node goes on afterwards, with another checkpoint.
void check_goes_on(FaultFileSystem& disk) {
  auto node = Node::open(disk, {});
  ASSERT_TRUE(node) << node.error().message;
  ASSERT_TRUE((*node)->run(put("after", "all")));
  const auto taken = (*node)->checkpoint();
  ASSERT_TRUE(taken) << taken.error().message;
  ASSERT_LE((*node)->log().begin(), *taken);
}

class CrashAtEveryOperation : public ::testing::TestWithParam<std::tuple<FaultKind, CrashPolicy>> {
};

TEST_P(CrashAtEveryOperation, TheStateIsThatOfTheLogAndNothingAcknowledgedIsLost) {
  const auto [kind, policy] = GetParam();
  uint64_t operations = 0;
  {
    FaultFileSystem disk(1);
    const History history = run_scenario(disk);
    ASSERT_FALSE(history.failed);
    ASSERT_GT(history.begin, Address{64u << 10}) << "nothing was truncated";
    operations = disk.operations();
    disk.crash(policy);
    check_reopened(disk, history);
  }
  const uint64_t step = kSanitized ? 3 : 1;
  const uint64_t first =
      kSanitized ? static_cast<uint64_t>(kind) * 3 + static_cast<uint64_t>(policy) : 0;
  for (uint64_t operation = first % step; operation < operations; operation += step) {
    SCOPED_TRACE("operation " + std::to_string(operation));
    FaultFileSystem disk(operation + 1);
    disk.fail_at(operation, kind);
    const History history = run_scenario(disk);
    disk.crash(policy);
    check_reopened(disk, history);
    if (!HasFatalFailure()) check_goes_on(disk);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Faults, CrashAtEveryOperation,
    ::testing::Combine(::testing::Values(FaultKind::kError, FaultKind::kPowerCut),
                       ::testing::Values(CrashPolicy::kLoseUnsynced, CrashPolicy::kKeepAll,
                                         CrashPolicy::kRandom)));
// A full disk is waited for, which takes its time: once is enough.
INSTANTIATE_TEST_SUITE_P(FullDisk, CrashAtEveryOperation,
                         ::testing::Values(std::tuple{FaultKind::kNoSpace, CrashPolicy::kRandom}));

}  // namespace
}  // namespace tailrace::statemachine
